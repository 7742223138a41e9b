"""What a source may tell of its features: moments, extremes and quantiles that can be merged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError
from msl.sources.base import is_sparse
from msl.sources.quantiles import Points, cut, joined, read

__all__ = ["Summary", "carry", "merged"]

_BLOCK = 4096
"""Rows that are centred at a time: what is needed beside the rows stays small."""


@dataclass(frozen=True, eq=False)
class Summary:
    """Moments and order statistics of the features of some rows; its size is that of a few rows.

    Quantiles are an equi-depth summary: the rows of a source are cut, feature by feature, into k
    cells of equal weight, and each cell is told by its weighted median. So the share of the rows
    below any value is off by at most 1 / 2k for a source, and for all together as well, however
    many sources there are and however they differ.

    Parameters
    ----------
    rows : int
        How many there are, without those of weight 0.
    weight : float
        Sum of their weights; `rows` without weights.
    mean, squares : ndarray of shape (p,)
        Weighted mean, and weighted sum of squared differences from it; float64.
    low, high : ndarray of shape (p,)
        Smallest and largest value.
    points : (ndarray of shape (k, p), ndarray of shape (k, 1) or (k, p))
        Values of each feature and what part of the weight they stand for; k = 0 when no quantiles
        are wanted.

    References
    ----------
    Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample
    variances. Stanford CS-TR-79-773, 1979 (equation 2.1). Munro, Paterson: Selection and sorting
    with limited storage. Theoretical Computer Science 12, 1980 (`merged` summaries cut again).

    Examples
    --------
    >>> north, south = (Summary.of(np.array(x)) for x in ([[1.0], [2.0]], [[6.0]]))
    >>> merged([north, south]).mean
    array([3.])
    """

    rows: int
    weight: float
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    points: Points

    @classmethod
    def of(cls, X: Any, weight: NDArray[Any] | None = None, points: int = 0) -> Self:
        """Return the summary of rows.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (m, p)
            Finite values; a CSR matrix is not made dense.
        weight : ndarray of shape (m,), optional
            Non-negative; rows of weight 0 are not there.
        points : int
            The k of the quantiles; 0 for none. Up to k rows without weights are told exactly.
        """
        if is_sparse(X) and not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        if weight is not None and not weight.all():
            kept = np.flatnonzero(weight)
            X, weight = X[kept], weight[kept]
        m, p = X.shape
        told = cut(X, weight, points) if points and m else _nothing(X)
        w = np.ones(m) if weight is None else weight.astype(np.float64)
        if not m:
            inf = np.full(p, np.inf)
            return cls(0, 0.0, np.zeros(p), np.zeros(p), inf, -inf, told)
        mean, squares = _sparse_moments(X, w) if is_sparse(X) else _moments(X, w)
        low, high = _dense(X.min(axis=0)), _dense(X.max(axis=0))
        return cls(m, float(w.sum()), mean, squares, low, high, told)

    def joined(self, other: Self) -> Self:
        """Return the summary of the rows of both."""
        mean, squares, weight = _joined(
            (self.mean, self.squares, self.weight), (other.mean, other.squares, other.weight)
        )
        return type(self)(
            self.rows + other.rows,
            weight,
            mean,
            squares,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            joined(self.points, other.points),
        )

    def fewer(self, k: int) -> Self:
        """Return the same with at most k points, at the price of another 1 / 2k of the weight."""
        return self if len(self.points[0]) <= k else replace(self, points=cut(*self.points, k))

    @property
    def var(self) -> NDArray[np.float64]:
        """Weighted variance (divided by the weight), 0 where it is within the rounding error."""
        var = self.squares / self.weight
        eps = np.finfo(np.float64).eps
        # The error of summing m equal numbers: a constant feature must not look like a tiny spread.
        error = self.rows * eps * var + (self.rows * self.mean * eps) ** 2
        return np.where(var <= error, 0.0, var)

    def quantiles(self, at: Sequence[float]) -> NDArray[np.float64]:
        """Return quantiles of shape (len(at), p), `at` in [0, 1].

        Up to k rows per source give what numpy's default method gives; otherwise the rank of a
        quantile is off by at most 1 / 2k of the weight, and a row.
        """
        return read(self.points, at)


def merged(summaries: Sequence[Summary]) -> Summary:
    """Return the summary of all rows, joined in the order given.

    Raises
    ------
    DataError
        When the sources have different features.
    """
    widths = sorted({len(one.mean) for one in summaries})
    if len(widths) > 1:
        raise DataError(f"all sources need the same features, these have {widths} of them")
    found, *others = summaries
    for one in others:
        found = found.joined(one)
    return found


def carry(levels: Sequence[Summary | None], new: Summary, k: int) -> list[Summary | None]:
    """Return a stream's summaries with one more: level i is empty or of 2^i calls, as a counter is.

    Rows are cut at most log2(calls) times, so b calls keep k log2(b) points and add at most
    log2(b) / 2k of the weight to the error of quantiles (Munro, Paterson 1980).
    """
    after = list(levels)
    for i, level in enumerate(after):
        if level is None:
            after[i] = new
            return after
        new, after[i] = level.joined(new), None
        new = new.fewer(k)
    return [*after, new]


def _joined(a: Any, b: Any) -> Any:
    """Return mean, squares and weight of two groups (Chan, Golub, LeVeque 1979, equation 2.1)."""
    (mean_a, squares_a, weight_a), (mean_b, squares_b, weight_b) = a, b
    weight = weight_a + weight_b
    part = weight_b / weight if weight else 0.0
    gap = mean_b - mean_a
    return mean_a + part * gap, squares_a + squares_b + weight_a * part * gap**2, weight


def _moments(X: NDArray[Any], w: NDArray[np.float64]) -> Any:
    found = np.zeros(X.shape[1]), np.zeros(X.shape[1]), 0.0
    for start in range(0, len(X), _BLOCK):
        block, mine = X[start : start + _BLOCK].astype(np.float64), w[start : start + _BLOCK]
        weight = float(mine.sum())
        mean = mine @ block / weight
        block -= mean
        # What is left of the mean's own rounding error is taken off too.
        rest = mine @ block / weight
        np.square(block, out=block)
        found = _joined(found, (mean + rest, mine @ block - weight * rest**2, weight))
    mean, squares, _ = found
    return mean, np.maximum(squares, 0)


def _sparse_moments(X: Any, w: NDArray[np.float64]) -> Any:
    p, total = X.shape[1], float(w.sum())
    each = np.repeat(w, np.diff(X.indptr))
    stored = np.bincount(X.indices, each, p)
    mean = np.bincount(X.indices, each * X.data, p) / total
    gaps = np.bincount(X.indices, each * (X.data - mean[X.indices]) ** 2, p)
    return mean, gaps + np.maximum(total - stored, 0) * mean**2


def _nothing(X: Any) -> Points:
    return np.empty((0, X.shape[1]), X.dtype), np.empty((0, 1))


def _dense(row: Any) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (row.toarray() if is_sparse(row) else row).ravel()
    return found.astype(np.float64)
