"""Raw rows become rows to learn from, at the source: columns scaled, labels numbered, weights set.

Scaling conditions the problem and does not change it: penalties are given per feature so that
they stay what they are in the units of X.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets

from msl.errors import DataError
from msl.estimators.inputs import Raw
from msl.sources import ArraySource, Source, check_data
from msl.sources.base import is_sparse
from msl.sources.summary import Summary
from msl.types import Data

__all__ = ["Prepared", "Scaling", "Told", "survey"]

Array = NDArray[Any]
BLOCK = 1 << 16
"""Numbers scaled at a time."""


@dataclass(frozen=True, eq=False)
class Told:
    """What a source tells of itself before the first round; no row is in it.

    Parameters
    ----------
    features : Summary
        Moments of its columns.
    sparse : bool
        Whether its rows are.
    classes, counts : ndarray of shape (C,)
        Its labels, sorted, and the weight of each; empty for real targets.
    target : Summary or None
        Moments of real targets.
    columns : list of str or None
        Names, if its rows have any.
    """

    features: Summary
    sparse: bool
    classes: Array
    counts: Array
    target: Summary | None
    columns: list[str] | None

    @property
    def weight(self) -> float:
        """Weight of its rows."""
        return self.features.weight

    def counting(self, classes: Array, class_weight: Array) -> Self:
        """Return the same when rows of each of all classes count so much."""
        if not (known := np.isin(self.classes, classes)).all():
            raise DataError(f"unknown label {self.classes[int(np.argmin(known))]}")
        counted = self.counts @ class_weight[np.searchsorted(classes, self.classes)]
        return replace(self, features=replace(self.features, weight=float(counted)))


def survey(raw: Raw, classes: bool) -> Told:
    """Return what a source tells of itself; targets are labels of classes, or real."""
    X, y, weight, columns = raw.rows()
    labels, counts, target = np.empty(0), np.empty(0), None
    if classes and len(y):
        check_classification_targets(y)
        labels, codes = np.unique(y, return_inverse=True)
        counts = np.bincount(codes, weight, len(labels)).astype(np.float64)
    else:
        target = Summary.of(np.asarray(y, np.float64)[:, None], weight)
    return Told(Summary.of(X, weight), is_sparse(X), labels, counts, target, columns)


@dataclass(frozen=True, eq=False)
class Scaling:
    """Columns x become (x - center) / scale, real targets (y - target_center) / target_scale.

    Parameters
    ----------
    center, scale : ndarray of shape (p,)
        float64; scale > 0.
    """

    center: Array
    scale: Array
    target_center: float = 0.0
    target_scale: float = 1.0

    @classmethod
    def of(cls, told: Sequence[Told], pooled: bool) -> Self:
        """Return the scaling to spread 1 of all rows, or of the median source.

        Parameters
        ----------
        pooled : bool
            Whether every source is believed. Otherwise one source with huge numbers would make
            all others' columns constant.
        """
        center, spread = _spread([one.features for one in told], pooled)
        if any(one.sparse for one in told):
            # Zeros have to stay zeros.
            spread, center = np.sqrt(spread**2 + center**2), np.zeros_like(center)
        targets = [one.target for one in told if one.target is not None]
        if not targets:
            return cls(center, spread)
        where, width = _spread(targets, pooled)
        return cls(center, spread, float(where[0]), float(width[0]) or 1.0)

    def conditioned(self, l2: float, curvature: float) -> Self:
        """Return scales under which loss and penalty together curve alike along every column.

        Parameters
        ----------
        l2 : float
            Penalty in the units of the raw columns; in those of scaled ones it is l2 / scale^2.
        curvature : float
            Of the loss in its output.
        """
        scale = np.sqrt(self.scale**2 + l2 / curvature)
        return replace(self, scale=np.where(scale > 0, scale, 1.0))

    def features(self, X: Any) -> Any:
        """Return scaled columns, float32; sparse rows stay sparse."""
        if not is_sparse(X):
            return self._dense(X)
        if self.center.any():
            # Learned from dense rows: these are asked about as if they were.
            return self.features(X.toarray())
        found = X.astype(np.float64)
        found.data /= self.scale[found.indices]
        return found.astype(np.float32)

    def _dense(self, X: Any) -> NDArray[np.float32]:
        """Scale in float64, a block that fits a cache at a time."""
        found = np.empty(X.shape, np.float32)
        step = max(1, BLOCK // max(1, X.shape[1]))
        for start in range(0, len(X), step):
            block = X[start : start + step] - self.center
            block /= self.scale
            found[start : start + step] = block
        return found

    def targets(self, y: Any) -> Any:
        """Return scaled real targets, float32."""
        y = np.asarray(y, np.float64)
        return ((y - self.target_center) / self.target_scale).astype(np.float32)


def _spread(told: Sequence[Summary], pooled: bool) -> tuple[Array, Array]:
    """Return a centre, and the root of the mean square about it, per column."""
    means = np.array([one.mean for one in told])
    center = _middle(means, told, pooled)
    squares = np.array([one.var for one in told]) + (means - center) ** 2
    middle = _middle(squares, told, pooled)
    # A column that most sources lack.
    return center, np.sqrt(np.where(middle > 0, middle, _middle(squares, told, True)))


def _middle(rows: Array, told: Sequence[Summary], pooled: bool) -> Array:
    if pooled:
        return np.average(rows, axis=0, weights=[one.weight for one in told])
    found: Array = np.median(rows, axis=0)
    return found


@dataclass(frozen=True, eq=False)
class Prepared(Source):
    """Raw rows, and what makes them rows to learn from.

    Parameters
    ----------
    classes : ndarray of shape (C,), optional
        All labels, sorted; none for real targets.
    class_weight : ndarray of shape (C,), optional
        What rows of each class count.
    """

    name: str
    raw: Raw
    scaling: Scaling
    classes: Array | None = None
    class_weight: Array | None = None
    machine: str | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "machine", self.raw.machine)

    def load(self) -> Data:
        """Return scaled rows and class numbers or scaled targets."""
        X, y, weight, _ = self.raw.rows()
        if self.classes is None:
            target = self.scaling.targets(y)
        else:
            target = np.searchsorted(self.classes, y).clip(max=len(self.classes) - 1)
            if not (known := self.classes[target] == y).all():
                strange = y[int(np.argmin(known))]
                raise DataError(f"source {self.name!r} has the unknown label {strange}")
        if self.class_weight is not None:
            counted = self.class_weight[target]
            weight = counted if weight is None else weight * counted
        return check_data(self.name, self.scaling.features(X), target, weight)

    def loaded(self) -> Source:
        """Return the rows themselves, for those that are in this process."""
        data = self.load()
        return ArraySource(self.name, data.X, data.y, data.weight)
