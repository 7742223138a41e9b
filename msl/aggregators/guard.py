"""What the safeguard remembers of each source, and where the middle of its sums is."""

from dataclasses import dataclass
from math import inf
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.types import Rows
from msl_kernels.pairs import squared_distances

__all__ = ["Guard", "Mask", "from_median", "larger"]

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Guard:
    """What the safeguard remembers; a new one every round, no array is written twice.

    The sums are float32: they are the largest thing a server keeps, and distances are read off
    them as they are. Adding T rows costs at most T 2^-24 of a sum, far below the 1 / sqrt(T)
    that honest sums differ by in any window that fits a run.

    Parameters
    ----------
    round : int
        Number of the round to come.
    good : ndarray of shape (n,)
        Sources whose rows count, bool.
    sums : tuple of ndarrays of shape (n, d)
        Sum of each source's rows since its window began; short window first. A row that was not
        heard counts as the result of its round.
    thresholds : tuple of float
        One per window; while calibrating the largest score so far.
    spread : float
        V, likewise; inf when rows are not checked one by one.
    evicted : ndarray of shape (n,)
        Round of the last eviction, -1 for none.
    rejected : ndarray of shape (n,)
        In how many rounds the row of a good source was not heard.
    log : tuple of str
        Who was evicted or came back, when and why; rows are numbered from 0.
    """

    round: int
    good: Mask
    sums: tuple[Rows, ...]
    thresholds: tuple[float, ...]
    spread: float
    evicted: NDArray[np.int64]
    rejected: NDArray[np.int64]
    log: tuple[str, ...] = ()


def from_median(points: Rows, good: Mask) -> tuple[float, NDArray[np.float64]]:
    """Return the score of the vector median, and the distance (n,) of every point from it.

    Points that are not good are infinitely far away.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        squares = squared_distances(np.ascontiguousarray(points))
    # NaN is the distance of two sums that overflowed.
    distances = np.sqrt(np.where(np.isnan(squares), inf, squares))
    distances[~good] = distances[:, ~good] = inf
    scores = np.sort(distances, axis=1)[:, len(points) // 2]
    median = int(scores.argmin())
    return float(scores[median]), distances[median]


def larger(before: float, score: float) -> float:
    """Return the larger one; a round in which half of the sources were not heard says nothing."""
    return before if score == inf else max(before, score)
