"""All ways to leave f of n rows out, or a good one when there are too many."""

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.counted import nearest

__all__ = ["MOST", "best_subset"]

MOST = 20_000
"""Subsets up to which all are tried."""

Cost = Callable[[NDArray[np.intp]], tuple[NDArray[np.float64], ...]]
"""From subsets (k, m) of row numbers to keys (k,), compared one after another."""


def best_subset(squares: NDArray[np.float64], f: int, cost: Cost) -> NDArray[np.intp]:
    """Return the n - f rows of least cost, ascending; the first of equal ones.

    Exact up to 20,000 subsets. Beyond, only the neighbourhoods are tried: each row with the
    n - f - 1 nearest to it. All rows of the best subset lie within its diameter of each other, so
    a neighbourhood has at most twice the least diameter.

    Parameters
    ----------
    squares : ndarray of shape (n, n)
        Squared distances.
    f : int
        Rows to leave out, 0 <= f < n.
    cost : callable
        See `Cost`.
    """
    n = len(squares)
    if comb(n, f) <= MOST:
        subsets = np.array(list(combinations(range(n), n - f)), np.intp)
    else:
        subsets = np.sort(nearest(squares, n - f), axis=1)
    found: NDArray[np.intp] = subsets[np.lexsort(cost(subsets)[::-1])[0]]
    return found
