"""Lloyd-Max centroids of the normal distribution (Lloyd 1982; Max 1960)."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVELS", "centroids", "tables"]

LEVELS = 16
"""Centroids of the widest table."""

# The upper half of a symmetric table of 2^bits: mean of |z| between two midpoints, z ~ N(0, 1).
_CENTROIDS = {
    1: (0.7978845608028654,),
    2: (0.452780034636492, 1.510417608499095),
    3: (0.2450941789442217, 0.7560052812058773, 1.3439092785050, 2.151945704536987),
    4: (
        0.128395029851147,
        0.3880482994902902,
        0.6567591185324634,
        0.9423404564869614,
        1.256231197347177,
        1.618046386021883,
        2.069017226531387,
        2.732589570995163,
    ),
}


def centroids(bits: int) -> NDArray[np.float64]:
    """Return the 2^(bits - 1) positive centroids, smallest first, to 1e-12; bits is 1..4.

    Examples
    --------
    >>> centroids(2).round(6).tolist()
    [0.45278, 1.510418]
    """
    return np.array(_CENTROIDS[bits])


def tables(bits: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the centroid of every field and the midpoints of the positive ones.

    Both are filled up to the widest table: with zeros, and with edges that nothing exceeds.
    """
    c = centroids(bits)
    levels, midpoints = np.zeros(LEVELS, np.float32), np.full(LEVELS // 2 - 1, np.inf)
    levels[: 2 * len(c)] = np.concatenate([c, -c])
    midpoints[: len(c) - 1] = (c[:-1] + c[1:]) / 2
    return levels, midpoints
