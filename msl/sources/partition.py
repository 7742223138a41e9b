"""How the rows of one data set are dealt to n sources: row numbers, never the rows."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.errors import PlanError
from msl.random import derive, generator
from msl.sources.base import is_sparse

__all__ = ["ByColumn", "Dirichlet", "FeatureShift", "Iid", "Partitioner", "Quantity"]

Ranks = NDArray[np.int64]
"""(m,) int64: for each row, the rank of the source it goes to."""


class Partitioner(ABC):
    """Says for each row which source owns it, so that no row is lost or dealt twice.

    A frozen dataclass. Equal keys give equal splits on every machine.
    """

    name: ClassVar[str]

    @abstractmethod
    def owners(self, X: NDArray[Any], y: NDArray[Any], n: int, key: int) -> Ranks:
        """Return the rank, 0..n-1, of the owner of each row; every rank owns at least one."""

    def split(self, X: NDArray[Any], y: NDArray[Any], n: int, key: int) -> list[NDArray[np.int64]]:
        """Return for each of n sources its row numbers, ascending.

        Parameters
        ----------
        X, y : ndarray of shape (m, p) and (m,)
            All rows to be dealt.
        n : int
            Number of sources, 1 <= n <= m.
        key : int
            Decides all that is random.

        Raises
        ------
        PlanError
            When m rows cannot be dealt to n sources in this way.
        """
        if not 1 <= n <= len(y):
            raise PlanError(f"cannot deal {len(y)} rows to {n} sources, each needs at least one")
        owner = self.owners(X, y, n, key)
        starts = np.cumsum(np.bincount(owner, minlength=n))[:-1]
        return np.split(np.argsort(owner, kind="stable"), starts)

    def transform(self, X: NDArray[Any], rank: int, n: int, key: int) -> NDArray[Any]:
        """Return the features as the source of this rank sees them; unchanged by default."""
        return X


@dataclass(frozen=True)
class Iid(Partitioner):
    """Rows dealt at random; sizes differ by at most one."""

    name: ClassVar[str] = "iid"

    def owners(self, X: NDArray[Any], y: NDArray[Any], n: int, key: int) -> Ranks:
        """Return shuffled ranks."""
        return generator(derive(key, "partition")).permutation(np.arange(len(y)) % n)


@dataclass(frozen=True)
class Dirichlet(Partitioner):
    """Label skew: each class is spread over the sources by its own draw from Dirichlet(alpha).

    Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution for federated
    visual classification", 2019, as Yurochkin et al. (ICML 2019) deal it: class by class.
    Sources that come out too small are then filled up from the largest one.

    Parameters
    ----------
    alpha : float
        > 0; 0.1 gives a source few classes, 100 nearly all alike.
    min_rows : int, optional
        Fewest rows of a source; by default 10, or m // n when that is less.
    """

    alpha: float = 0.5
    min_rows: int | None = None
    name: ClassVar[str] = "dirichlet"

    def __post_init__(self) -> None:
        _check_skew(self.name, self.alpha, self.min_rows)

    def owners(self, X: NDArray[Any], y: NDArray[Any], n: int, key: int) -> Ranks:
        """Return ranks, skewed by class; y must hold class numbers."""
        if y.dtype.kind not in "iub":
            raise PlanError(f"{self.name} deals by class, but y holds real targets; use quantity")
        least = _least(self.name, self.min_rows, len(y), n)
        draw = generator(derive(key, "partition"))
        owner = np.empty(len(y), np.int64)
        for label in np.unique(y):
            rows = draw.permutation(np.flatnonzero(y == label))
            owner[rows] = _share(len(rows), draw.dirichlet(np.full(n, self.alpha)))
        return _fill_up(owner, n, least, draw)


@dataclass(frozen=True)
class Quantity(Partitioner):
    """Quantity skew: sizes by one draw from Dirichlet(alpha), rows at random.

    Li, Diao, Chen and He, "Federated learning on non-IID data silos", ICDE 2022, section 4.3.

    Parameters
    ----------
    alpha : float
        > 0; the smaller, the more the sizes differ.
    min_rows : int, optional
        Fewest rows of a source; by default 10, or m // n when that is less.
    """

    alpha: float = 0.5
    min_rows: int | None = None
    name: ClassVar[str] = "quantity"

    def __post_init__(self) -> None:
        _check_skew(self.name, self.alpha, self.min_rows)

    def owners(self, X: NDArray[Any], y: NDArray[Any], n: int, key: int) -> Ranks:
        """Return ranks in very unequal numbers."""
        least = _least(self.name, self.min_rows, len(y), n)
        draw = generator(derive(key, "partition"))
        owner = draw.permutation(_share(len(y), draw.dirichlet(np.full(n, self.alpha))))
        return _fill_up(owner, n, least, draw)


@dataclass(frozen=True)
class FeatureShift(Partitioner):
    """Rows at random; each source sees its features turned and scaled by its own amount.

    Features (0, 1), (2, 3), ... are turned as points of a plane; an odd last one is only scaled.

    Parameters
    ----------
    angle : float
        A source turns by a uniform draw from [-angle, angle] degrees, 0 <= angle <= 180.
    scale : float
        A source multiplies by a uniform draw from [1 - scale, 1 + scale], 0 <= scale < 1.
    """

    angle: float = 30.0
    scale: float = 0.0
    name: ClassVar[str] = "feature_shift"

    def __post_init__(self) -> None:
        if not (0 <= self.angle <= 180 and 0 <= self.scale < 1):
            raise PlanError(
                f"{self.name} needs 0 <= angle <= 180 degrees and 0 <= scale < 1, "
                f"got angle={self.angle}, scale={self.scale}"
            )

    def owners(self, X: NDArray[Any], y: NDArray[Any], n: int, key: int) -> Ranks:
        """Return shuffled ranks, the same as `Iid`."""
        return Iid().owners(X, y, n, key)

    def transform(self, X: NDArray[Any], rank: int, n: int, key: int) -> NDArray[Any]:
        """Return turned and scaled features, in the dtype of X."""
        if is_sparse(X):
            raise PlanError(f"{self.name} turns dense features; take another partitioner for CSR")
        draw = generator(derive(key, "shift", rank))
        turn = np.deg2rad(draw.uniform(-self.angle, self.angle))
        factor = draw.uniform(1 - self.scale, 1 + self.scale)
        even = X.shape[1] // 2 * 2
        a, b = X[:, 0:even:2], X[:, 1:even:2]
        shifted = X * factor
        shifted[:, 0:even:2] = factor * (np.cos(turn) * a - np.sin(turn) * b)
        shifted[:, 1:even:2] = factor * (np.sin(turn) * a + np.cos(turn) * b)
        return shifted.astype(X.dtype)


@dataclass(frozen=True)
class ByColumn(Partitioner):
    """One source per distinct value of a feature: a site, a device, a year.

    Parameters
    ----------
    column : int
        Number of the feature, from 0; ranks follow its values in ascending order.
    """

    column: int
    name: ClassVar[str] = "by_column"

    def owners(self, X: NDArray[Any], y: NDArray[Any], n: int, key: int) -> Ranks:
        """Return the place of each row's value among the distinct values; n must be their count."""
        if not 0 <= self.column < X.shape[1]:
            raise PlanError(f"{self.name}: no column {self.column}, X has 0..{X.shape[1] - 1}")
        column: Any = X[:, [self.column]]
        column = (column.toarray() if is_sparse(X) else column)[:, 0]
        values, owner = np.unique(column, return_inverse=True)
        if len(values) != n:
            raise PlanError(
                f"{self.name}: column {self.column} has {len(values)} distinct values and makes "
                f"as many sources, got n={n}"
            )
        return owner.astype(np.int64)


def _check_skew(name: str, alpha: float, min_rows: int | None) -> None:
    if not 0 < alpha < np.inf:
        raise PlanError(f"{name} needs a finite alpha > 0, got {alpha}")
    if min_rows is not None and min_rows < 1:
        raise PlanError(f"{name} needs min_rows >= 1, got {min_rows}")


def _least(name: str, min_rows: int | None, m: int, n: int) -> int:
    """Return the fewest rows a source may have; PlanError when n sources cannot have as many."""
    if min_rows is None:
        return min(10, m // n)
    if min_rows * n > m:
        raise PlanError(
            f"{name}: {m} rows cannot give each of {n} sources {min_rows}; "
            f"min_rows can be {m // n} at most"
        )
    return min_rows


def _share(m: int, proportions: NDArray[np.float64]) -> Ranks:
    """Return m ascending ranks, each as often as its proportion says."""
    middles = (np.arange(m) + 0.5) / m
    return np.searchsorted(np.cumsum(proportions)[:-1], middles, side="right")


def _fill_up(owner: Ranks, n: int, least: int, draw: np.random.Generator) -> Ranks:
    """Move rows at random from the largest source to those with fewer than `least`, in place."""
    counts = np.bincount(owner, minlength=n)
    for poor in np.flatnonzero(counts < least):
        while counts[poor] < least:
            # m >= n * least, so while one source has too few the largest has more than enough.
            rich = counts.argmax()
            moved = min(least - counts[poor], counts[rich] - least)
            owner[draw.choice(np.flatnonzero(owner == rich), moved, replace=False)] = poor
            counts[poor] += moved
            counts[rich] -= moved
    return owner
