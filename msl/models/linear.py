"""Linear models by loss: margins for classes, and generalised linear regression."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError, PlanError
from msl.models.base import Model
from msl.models.losses import LOSSES, Huber, Loss, Poisson, Quantile
from msl.models.penalty import L2, check_l2, penalty
from msl.types import Layout, Vector

__all__ = ["Linear"]


@lru_cache(maxsize=64)
def _layout(n_features: int, n_outputs: int) -> Layout:
    return Layout((("weight", (n_outputs, n_features)), ("bias", (n_outputs,))))


@dataclass(frozen=True)
class Linear(Model):
    """z = w . x + b under a loss: a classifier by margins, or a regression of real targets.

    Two classes share one output, so d = p + 1; C > 2 classes have one each, that class against
    the rest, whose losses add up (so each output has the optimum it would have alone). The
    multinomial log loss is `softmax`. Rows may be a CSR matrix; they are never made dense.

    Parameters
    ----------
    n_features : int
        p >= 1.
    n_classes : int, optional
        C >= 2 for hinge and modified_huber; left out for a regression.
    criterion : {"squared", "huber", "quantile", "poisson", "hinge", "modified_huber"}
        (z - y)^2 / 2; the same up to epsilon from y and linear beyond; the pinball loss; half the
        Poisson deviance of the mean exp(z); max(0, 1 - tz) with t = -1 or 1; and its smooth
        square, linear below a margin of -1 (Zhang, ICML 2004).
    l2 : float or tuple of float
        Adds l2 / 2 times the squared norm of the weights (not the biases) to the loss, >= 0; a
        tuple has one factor per feature.
    epsilon : float
        Where huber turns linear, in units of y, > 0.
    quantile : float
        Which quantile of y given x is learned, in (0, 1).

    Examples
    --------
    >>> Linear(3, criterion="quantile", quantile=0.9).layout.size
    4
    """

    n_features: int
    n_classes: int | None = None
    criterion: str = "squared"
    l2: L2 = 0.0
    epsilon: float = 1.35
    quantile: float = 0.5
    name: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        if self.criterion not in LOSSES:
            raise PlanError(f"criterion must be one of {', '.join(LOSSES)}, got {self.criterion!r}")
        if LOSSES[self.criterion].classes != (self.n_classes is not None):
            raise PlanError(
                f"{self.criterion} learns real targets: leave n_classes out"
                if self.n_classes
                else f"{self.criterion} learns classes: set n_classes"
            )
        if self.n_features < 1 or (self.n_classes is not None and self.n_classes < 2):
            raise PlanError(
                f"linear needs n_features >= 1 and n_classes >= 2 (or none), "
                f"got {self.n_features} and {self.n_classes}"
            )
        check_l2(self.name, self.l2, self.n_features)
        if not (self.epsilon > 0 and 0 < self.quantile < 1):
            raise PlanError(
                "linear needs epsilon > 0 and quantile in (0, 1), "
                f"got {self.epsilon} and {self.quantile}"
            )

    @cached_property
    def _l2(self) -> NDArray[np.float32]:
        return np.asarray(self.l2, np.float32)

    @property
    def _loss(self) -> Loss:
        if self.criterion == "huber":
            return Huber(self.epsilon)
        if self.criterion == "quantile":
            return Quantile(self.quantile)
        return LOSSES[self.criterion]()

    @property
    def _outputs(self) -> int:
        return 1 if self.n_classes in (None, 2) else int(self.n_classes or 1)

    @property
    def layout(self) -> Layout:
        """Return ("weight", (C, p)), ("bias", (C,)); one row for two classes and regressions."""
        return _layout(self.n_features, self._outputs)

    def init(self, key: int) -> Vector:
        """Return zeros: the losses are convex, so no random start is needed."""
        return np.zeros(self.layout.size, np.float32)

    def _parts(self, vector: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return weight (C, p) and bias (C,) as views."""
        cut = self._outputs * self.n_features
        return vector[:cut].reshape(self._outputs, self.n_features), vector[cut:]

    def decision(self, params: Vector, X: Any) -> NDArray[np.float32]:
        """Return outputs z of shape (m, C), or (m, 1) for two classes and regressions."""
        weight, bias = self._parts(params)
        z: NDArray[np.float32] = X @ weight.T
        z += bias
        return z

    def _targets(self, y: NDArray[Any]) -> NDArray[np.float64]:
        """Return real targets (m, 1), or -1 and 1 of shape (m, C)."""
        if self.n_classes is None:
            if self.criterion == "poisson" and y.min() < 0:
                raise DataError(f"poisson needs targets >= 0, got {y.min()}")
            return y[:, None].astype(np.float64)
        if y.dtype.kind != "i" or y.max() >= self.n_classes or y.min() < 0:
            raise DataError(
                f"{self.criterion} with n_classes={self.n_classes} needs class numbers "
                f"0..{self.n_classes - 1}, got {y.dtype} in {y.min()}..{y.max()}"
            )
        classes = [1] if self.n_classes == 2 else range(self.n_classes)
        return np.where(y[:, None] == np.asarray(classes), 1.0, -1.0)

    def loss(
        self, params: Vector, X: Any, y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> float:
        """Return the mean loss, summed over the outputs, plus the penalty, in float64."""
        z = self.decision(params, X).astype(np.float64)
        each = self._loss.value(z, self._targets(y)).sum(axis=1)
        w = self._parts(params)[0]
        return float(_shares(each, weight) @ each) + penalty(self.l2, self._l2, w)

    def gradient(
        self, params: Vector, X: Any, y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> Vector:
        """Return sum_i share_i loss'(z_i) x_i for the weights and without x_i for the biases."""
        z = self.decision(params, X).astype(np.float64)
        slope = self._loss.slope(z, self._targets(y))
        slope *= _shares(slope, weight)[:, None]
        found = np.empty_like(params)
        g_weight, g_bias = self._parts(found)
        g_weight[:] = slope.astype(np.float32).T @ X
        g_bias[:] = slope.sum(axis=0)
        if self.l2:
            g_weight += self._l2 * self._parts(params)[0]
        return found

    def predict(self, params: Vector, X: Any) -> NDArray[Any]:
        """Return class numbers (ties go to the lower one), or real values; poisson's are means."""
        z = self.decision(params, X).astype(np.float64)
        if self.n_classes is None:
            return Poisson.mean(z[:, 0]) if self.criterion == "poisson" else z[:, 0]
        return (z[:, 0] > 0).astype(np.int64) if self.n_classes == 2 else np.argmax(z, axis=1)

    def predict_proba(self, params: Vector, X: Any) -> NDArray[np.float64]:
        """Return probabilities (m, C) of modified_huber: (clip(z, -1, 1) + 1) / 2, normalised.

        A row that every output refuses gets 1 / C each (Zadrozny and Elkan, KDD 2002).

        Raises
        ------
        PlanError
            For any other loss: a margin or a real value is no probability.
        """
        if self.criterion != "modified_huber":
            raise PlanError(
                f"{self.criterion} gives no probabilities; take softmax or modified_huber"
            )
        share = (np.clip(self.decision(params, X).astype(np.float64), -1, 1) + 1) / 2
        if self.n_classes == 2:
            return np.hstack([1 - share, share])
        share[share.sum(axis=1) == 0] = 1.0
        share /= share.sum(axis=1, keepdims=True)
        return share

    def score(
        self, params: Vector, X: Any, y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> float:
        """Return the accuracy for classes, R2 for real targets (0 where they do not vary)."""
        found = self.predict(params, X)
        share = _shares(y, weight)
        if self.n_classes is not None:
            return float(share @ (found == y))
        spread = float(share @ (y - share @ y) ** 2)
        return 1 - float(share @ (found.astype(np.float64) - y) ** 2) / spread if spread else 0.0


def _shares(rows: NDArray[Any], weight: NDArray[Any] | None) -> NDArray[np.float64]:
    """Return the share of each row in a weighted mean, (m,), summing to 1."""
    if weight is None:
        return np.full(len(rows), 1 / len(rows))
    if not weight.sum() > 0:
        raise DataError("the weights of the rows are all zero; leave those rows out")
    shares = weight.astype(np.float64)
    shares /= shares.sum()
    return shares
