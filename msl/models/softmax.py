"""Multinomial logistic regression with its closed-form gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError, PlanError
from msl.models.base import Model, Run
from msl.models.penalty import L2, check_l2, penalty
from msl.types import Data, Layout, Vector
from msl_kernels.softmax import cross_entropy, residual
from msl_kernels.softmax_sgd import softmax_sgd, softmax_sgd_each

__all__ = ["Softmax"]

_LARGE = 256
"""Rows from which a step is worth the calls of an array library."""


@lru_cache(maxsize=64)
def _layout(n_features: int, n_outputs: int) -> Layout:
    return Layout((("weight", (n_outputs, n_features)), ("bias", (n_outputs,))))


@dataclass(frozen=True)
class Softmax(Model):
    """Linear classifier with cross entropy: p(c | x) proportional to exp(w_c . x + b_c).

    Two classes share one logit, so d = p + 1; C > 2 classes have d = C (p + 1).

    Parameters
    ----------
    n_features, n_classes : int
        p >= 1 and C >= 2.
    l2 : float or tuple of float
        Adds l2 / 2 times the squared norm of the weights (not the biases) to the loss, >= 0; a
        tuple has one factor per feature.
    """

    n_features: int
    n_classes: int
    l2: L2 = 0.0
    name: ClassVar[str] = "softmax"

    def __post_init__(self) -> None:
        if self.n_features < 1 or self.n_classes < 2:
            raise PlanError(
                f"softmax needs n_features >= 1 and n_classes >= 2, "
                f"got {self.n_features} and {self.n_classes}"
            )
        check_l2(self.name, self.l2, self.n_features)

    @cached_property
    def _l2(self) -> NDArray[np.float32]:
        return np.asarray(self.l2, np.float32)

    @property
    def layout(self) -> Layout:
        """Return ("weight", (C, p)), ("bias", (C,)); one row for two classes."""
        return _layout(self.n_features, 1 if self.n_classes == 2 else self.n_classes)

    def init(self, key: int) -> Vector:
        """Return zeros: the loss is convex, so no random start is needed."""
        return np.zeros(self.layout.size, np.float32)

    def _parts(self, vector: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return weight and bias as views."""
        outputs = 1 if self.n_classes == 2 else self.n_classes
        cut = outputs * self.n_features
        return vector[:cut].reshape(outputs, self.n_features), vector[cut:]

    def _labels(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return the labels when all are class numbers: the kernels index memory by them."""
        if (
            y.dtype.kind != "i"
            or np.maximum.reduce(y) >= self.n_classes
            or np.minimum.reduce(y) < 0
        ):
            raise DataError(
                f"softmax with n_classes={self.n_classes} needs class numbers "
                f"0..{self.n_classes - 1}, got {y.dtype} in {y.min()}..{y.max()}"
            )
        return y

    def decision(self, params: Vector, X: NDArray[Any]) -> NDArray[np.float32]:
        """Return logits of shape (m, C), or (m, 1) for two classes."""
        weight, bias = self._parts(params)
        logits: NDArray[np.float32] = X @ weight.T
        logits += bias
        return logits

    def loss(
        self, params: Vector, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> float:
        """Return the mean cross entropy plus the penalty, in float64."""
        each = cross_entropy(self.decision(params, X), self._labels(y))
        mean = each.mean() if weight is None else np.average(each, weights=_checked(weight))
        w = self._parts(params)[0]
        return float(mean) + penalty(self.l2, self._l2, w)

    def gradient(
        self, params: Vector, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> Vector:
        """Return X^T (p - onehot(y)) / m for the weights and its column sums for the biases."""
        p, y = self.decision(params, X), self._labels(y)
        if weight is None:
            residual(p, y, np.float32(1 / len(y)))
        else:
            residual(p, y, np.float32(1))
            share = _checked(weight)
            p *= (share / share.sum()).astype(np.float32)[:, None]
        found = np.empty_like(params)
        g_weight, g_bias = self._parts(found)
        g_weight[:] = p.T @ X  # not matmul(out=): X may be a sparse matrix
        np.add.reduce(p, axis=0, out=g_bias)
        if self.l2:
            g_weight += self._l2 * self._parts(params)[0]
        return found

    def local_sgd(
        self,
        params: Vector,
        source: Data,
        order: NDArray[np.int64],
        *,
        batch: int,
        steps: int,
        rate: float,
        shown: int,
    ) -> tuple[Vector, float]:
        """Return where SGD ends, and the loss: in one call for dense rows and small batches."""
        X: Any = source.X
        if batch >= _LARGE or type(X) is not np.ndarray or X.shape[1:] != (self.n_features,):
            return super().local_sgd(
                params, source, order, batch=batch, steps=steps, rate=rate, shown=shown
            )
        weight = source.weight
        if weight is not None:
            weight = np.ascontiguousarray(weight, np.float32)
        local, loss = softmax_sgd(
            # The kernel reads memory: what lies otherwise would be read as it is not meant.
            np.ascontiguousarray(params, np.float32),
            np.ascontiguousarray(X, np.float32),
            np.ascontiguousarray(self._labels(source.y), np.int64),
            np.ascontiguousarray(order, np.int64),
            batch=batch,
            steps=steps,
            rate=rate,
            weight=weight,
            l2=self._factors,
            shown=min(shown, len(source)),
        )
        if shown and self.l2:
            loss += penalty(self.l2, self._l2, self._parts(params)[0])
        return local, loss

    def local_sgd_each(
        self,
        params: Vector,
        sources: Sequence[Data],
        runs: Sequence[Run],
        *,
        rate: float,
        shown: int,
    ) -> list[tuple[Vector, float] | None]:
        """Return where SGD leads from `params` and their losses, in one call for all sources."""
        plain = [
            run.batch < _LARGE and self._plain(source)
            for source, run in zip(sources, runs, strict=True)
        ]
        if not sources or not all(plain):
            return super().local_sgd_each(params, sources, runs, rate=rate, shown=shown)
        tasks = [
            (source.X, source.y, source.weight, np.ascontiguousarray(order, np.int64),
             batch, steps, min(shown, len(source)))
            for source, (order, batch, steps) in zip(sources, runs, strict=True)
        ]  # fmt: skip
        params = np.ascontiguousarray(params, np.float32)
        moved, losses, fine = softmax_sgd_each(params, tasks, rate=rate, l2=self._factors)
        decay = penalty(self.l2, self._l2, self._parts(params)[0]) if shown and self.l2 else 0.0
        return [
            (vector, loss + decay) if ok else None
            for vector, loss, ok in zip(moved, losses.tolist(), fine.tolist(), strict=True)
        ]

    @property
    def _factors(self) -> NDArray[np.float32] | None:
        """The penalty of each feature."""
        return np.broadcast_to(self._l2, self.n_features) if self.l2 else None

    def _plain(self, source: Data) -> bool:
        """Whether the kernel can read the rows where they lie."""
        X: Any = source.X
        arrays = [(X, np.float32), (source.y, np.int64)]
        if source.weight is not None:
            arrays.append((source.weight, np.float32))
        return (
            type(X) is np.ndarray
            and X.shape == (len(source), self.n_features)
            and all(array.dtype == kind and array.flags.c_contiguous for array, kind in arrays)
        )

    def predict(self, params: Vector, X: NDArray[Any]) -> NDArray[np.int64]:
        """Return class numbers; ties go to the lower one."""
        z = self.decision(params, X)
        if self.n_classes == 2:
            return (z[:, 0] > 0).astype(np.int64)
        best: NDArray[np.int64] = np.argmax(z, axis=1)
        return best

    def predict_proba(self, params: Vector, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return probabilities of shape (m, C)."""
        z = self.decision(params, X).astype(np.float64)
        if self.n_classes == 2:
            z = np.hstack([np.zeros_like(z), z])
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        return z


def _checked(weight: NDArray[Any]) -> NDArray[np.float64]:
    if not weight.sum() > 0:
        raise DataError("the weights of the rows are all zero; leave those rows out")
    return weight.astype(np.float64)
