"""Random positions that both ends can draw: one in each of k equal strata of range(n).

A stratified sample needs no memory of what was drawn, comes out in ascending order, and takes
every position with probability k / n (up to the rounding of the strata), as a sample without
replacement does. CPU only: what is drawn is small.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from msl_kernels.philox import draw_on_cpu, split

__all__ = ["positions", "widths"]

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


@njit(nogil=True, cache=True)
def _positions(n, key0, key1, out):  # type: ignore[no-untyped-def]
    k = np.uint64(len(out))
    early, late = np.uint64(0), np.uint64(0)
    for i in range(len(out)):
        if i % 4 == 0:
            early, late = draw_on_cpu(np.uint64(i // 4), key0, key1)
        word = early if i % 4 < 2 else late
        word = (word >> _SHIFT) if i % 2 else (word & _LOW)
        first = np.uint64(i) * n // k
        width = (np.uint64(i) + np.uint64(1)) * n // k - first
        out[i] = np.uint32(first + ((word * width) >> _SHIFT))


def positions(n: int, k: int, key: int) -> NDArray[np.uint32]:
    """Return k ascending positions, number i in [i n // k, (i + 1) n // k).

    Parameters
    ----------
    n : int
        Numbers, below 2**32.
    k : int
        Strata, 0 <= k <= n.
    key : int
        64-bit key; word i of the generator chooses in stratum i.
    """
    out = np.empty(k, np.uint32)
    if k:
        _positions(np.uint64(n), *split(key), out)
    return out


def widths(n: int, k: int) -> NDArray[Any]:
    """Return the width of every stratum: one over the probability of its positions, float32."""
    edges = np.arange(k + 1, dtype=np.int64) * n // max(k, 1)
    return np.diff(edges).astype(np.float32)
