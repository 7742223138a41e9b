"""Equi-depth summaries: each feature's distribution by the medians of cells of equal weight."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.sources.base import is_sparse

__all__ = ["Points", "cut", "joined", "read"]

Points: TypeAlias = tuple[NDArray[Any], NDArray[np.float64]]
"""Values (k, p), each feature's in an order of its own, so that no row can be told from them, and
what they weigh: (k, 1) where all features agree, else (k, p)."""


def cut(X: Any, weight: NDArray[Any] | None, k: int) -> Points:
    """Return at most k points: the weighted medians of k cells of equal weight of each feature.

    Up to k rows are points themselves.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (m, p)
        Rows, or points to be made fewer.
    weight : ndarray of shape (m,), (m, 1) or (m, p), optional
        Positive.
    k : int
        At least 1.
    """
    m, p = X.shape
    exact = m <= k
    points = np.empty((min(m, k), p), X.dtype)
    masses = np.ones((min(m, k), p if exact and weight is not None else 1))
    middles = (np.arange(k) + 0.5) / k
    for j, column in enumerate(_columns(X)):
        if weight is None:
            ordered = np.sort(column)
            points[:, j] = ordered if exact else ordered[(middles * m).astype(np.int64)]
            continue
        order = np.argsort(column, kind="stable")
        mine = weight.reshape(m, -1)[order, j % weight[0].size]
        if exact:
            points[:, j], masses[:, j] = column[order], mine
            continue
        reach = np.cumsum(mine, dtype=np.float64)
        rows = np.searchsorted(reach, middles * reach[-1], side="right")
        points[:, j] = column[order[np.minimum(rows, m - 1)]]
    if not exact:
        masses *= (m if weight is None else weight.reshape(m, -1)[:, 0].sum(dtype=np.float64)) / k
    return points, masses


def joined(a: Points, b: Points) -> Points:
    """Return the points of both."""
    width = max(a[1].shape[1], b[1].shape[1])
    masses = [np.broadcast_to(mass, (len(mass), width)) for _, mass in (a, b)]
    return np.concatenate([a[0], b[0]]), np.concatenate(masses)


def read(points: Points, at: Sequence[float]) -> NDArray[np.float64]:
    """Return quantiles of shape (len(at), p).

    A point holds all ranks of its mass but half a row at each end, where lines lead to the next
    one: points of mass 1 give what numpy's default method gives, and a mass of 3 is 3 of them.
    """
    values, masses = points
    order = np.argsort(values, axis=0, kind="stable")
    found = np.empty((len(at), values.shape[1]))
    for j, rows in enumerate(order.T):
        mass = masses[rows, j % masses.shape[1]]
        half, reach = np.minimum(mass, 1) / 2, np.cumsum(mass)
        ends = np.column_stack([reach - mass + half, reach - half]).ravel()
        wanted = ends[0] + np.asarray(at) * (ends[-1] - ends[0])
        found[:, j] = np.interp(wanted, ends, np.repeat(values[rows, j], 2))
    return found


def _columns(X: Any) -> Iterator[NDArray[Any]]:
    """Yield the features one by one; of a sparse matrix, too, only one is dense at a time."""
    if not is_sparse(X):
        yield from X.T
        return
    by_column = X.tocsc()
    for start, stop in pairwise(by_column.indptr):
        column = np.zeros(X.shape[0], X.dtype)
        column[by_column.indices[start:stop]] = by_column.data[start:stop]
        yield column
