"""The filter that knows how many sources to keep, but no threshold of distance.

Iofinova, Konstantinov, Lampert: FLEA: provably robust fair multisource learning from unreliable
training data. TMLR 2022.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.errors import PlanError

__all__ = ["quantile_filter"]

Matrix: TypeAlias = NDArray[np.float64]


def quantile_filter(distances: Matrix, k: int | None = None) -> tuple[tuple[int, ...], Matrix]:
    """Return the k sources whose k-th nearest source is nearest, and that distance of all.

    Every source is the nearest to itself: the k-th smallest of a row counts its zero. Among
    equals the lower index is kept.

    Parameters
    ----------
    distances : ndarray of shape (N, N)
        Symmetric, diagonal 0.
    k : int, optional
        Sources taken to be clean, N/2 < k <= N; floor(N/2) + 1 when left out.

    Returns
    -------
    kept : tuple of int
        Ascending indices of k sources.
    statistic : ndarray of shape (N,)
        Distance of every source to its k-th nearest.

    Raises
    ------
    PlanError
        When k is not in that range: half of the sources could outvote the other half.

    Examples
    --------
    >>> quantile_filter(np.array([[0, 0.1, 2], [0.1, 0, 2], [2, 2, 0]]))[0]
    (0, 1)
    """
    n = len(distances)
    k = n // 2 + 1 if k is None else k
    if not n / 2 < k <= n:
        raise PlanError(f"the filter needs more than half of {n} sources to be clean, got {k}")
    statistic = np.partition(distances, k - 1, axis=1)[:, k - 1]
    kept = np.argsort(statistic, kind="stable")[:k]
    return tuple(sorted(kept.tolist())), statistic
