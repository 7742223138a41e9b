"""Who was heard by a rule that works coordinate by coordinate."""

import numpy as np
from numpy.typing import NDArray

from msl.types import Rows

__all__ = ["kept_share"]

_COORDINATES = 4096


def kept_share(rows: Rows, low: int, high: int) -> NDArray[np.float64]:
    """Return how often each row's value lay among the kept ones; (n,), sums to 1.

    A coordinate-wise rule gives no row one weight. This is the fraction of coordinates in which
    the row's value was not below the one of rank `low` nor above the one of rank `high`
    (ties count for every row that holds them), divided by its sum over the rows. At most 4096
    evenly spaced coordinates are looked at.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
    low, high : int
        Ranks among the n sorted values, 0 <= low <= high < n.
    """
    n, d = rows.shape
    if d == 0:
        return np.full(n, 1 / n)
    sample = rows[:, :: -(-d // _COORDINATES)]
    ordered = np.sort(sample, axis=0)
    kept = (sample >= ordered[low]) & (sample <= ordered[high])
    counts = kept.sum(axis=1, dtype=np.float64)
    share: NDArray[np.float64] = counts / counts.sum()
    return share
