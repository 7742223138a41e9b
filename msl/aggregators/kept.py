"""Who was heard by a rule that works coordinate by coordinate.

Such a rule gives no row one weight. Its `given` is the fraction of coordinates in which a row's
value counted (in part, where weights cut a value), divided by the sum over the rows. At most 4096
evenly spaced coordinates are looked at.
"""

import numpy as np
from numpy.typing import NDArray

from msl.types import Rows

__all__ = ["kept_share", "near_share", "stride", "weighted_share"]

_COORDINATES = 4096


def stride(d: int) -> int:
    """Return k: the columns looked at are 0, k, 2 k, ... of d."""
    return max(1, -(-d // _COORDINATES))


def _sample(rows: Rows) -> Rows:
    """Return some columns."""
    return rows[:, :: stride(rows.shape[1])]


def _share(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return counts (n,) as shares; equal ones where nothing was counted."""
    total = counts.sum()
    share: NDArray[np.float64] = counts / total if total else np.full(len(counts), 1 / len(counts))
    return share


def kept_share(rows: Rows, low: int, high: int) -> NDArray[np.float64]:
    """Return how often a value lay between those of rank `low` and `high`, 0 <= low <= high < n.

    Ties count for every row that holds them.
    """
    sample = _sample(rows)
    ordered = np.sort(sample, axis=0)
    kept = (sample >= ordered[low]) & (sample <= ordered[high])
    return _share(kept.sum(axis=1, dtype=np.float64))


def near_share(rows: Rows, count: int) -> NDArray[np.float64]:
    """Return how often a value was among the `count` nearest to the median of its column.

    Ties count for every row that holds them.
    """
    sample = _sample(rows)
    gaps = np.abs(sample - np.median(sample, axis=0))
    kept = gaps <= np.sort(gaps, axis=0)[count - 1]
    return _share(kept.sum(axis=1, dtype=np.float64))


def weighted_share(rows: Rows, weights: NDArray[np.float64], trim: float) -> NDArray[np.float64]:
    """Return how much weight was left after cutting the share `trim` from both ends.

    With trim = 1/2, the weighted median, the values at the middle count.
    """
    sample = _sample(rows)
    order = np.argsort(sample, axis=0, kind="stable")
    upper = np.cumsum((weights / weights.sum())[order], axis=0)
    lower = np.vstack([np.zeros_like(upper[:1]), upper[:-1]])
    # A hair wider than a point, so that the middle has an extent.
    cut = min(trim, 0.5 - 1e-9)
    left = np.clip(upper, cut, 1 - cut) - np.clip(lower, cut, 1 - cut)
    counts = np.zeros(len(rows))
    np.add.at(counts, order, left)
    return _share(counts)
