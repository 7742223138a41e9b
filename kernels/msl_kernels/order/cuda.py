"""Coordinate-wise order statistics on CUDA: a column per thread, sorted by insertion.

Threads of a warp read neighbouring columns, so every row is read once in whole lines.
"""

from typing import Any

import numpy as np
from numba import config, cuda

__all__ = ["middle"]

THREADS = 128
MOST_ROWS = 128


@cuda.jit
def middle_kernel(rows, first, last, scale, out):  # type: ignore[no-untyped-def]
    """Write scale * (sum of ranks first..last-1, ascending) per column."""
    column = cuda.local.array(128, np.float32)
    n = rows.shape[0]
    for j in range(cuda.grid(1), rows.shape[1], cuda.gridsize(1)):
        for i in range(n):
            value = rows[i, j]
            at = i
            while at > 0 and column[at - 1] > value:
                column[at] = column[at - 1]
                at -= 1
            column[at] = value
        total = column[first]
        for i in range(first + 1, last):
            total = np.float32(total + column[i])
        out[j] = np.float32(total * scale)


def middle(rows: Any, wanted: tuple[int, ...], scale: float, out: Any) -> Any:
    """Return the mean of the wanted ranks, on the device of `rows`.

    Raises
    ------
    ValueError
        When there are more than 128 rows.
    """
    rows = cuda.as_cuda_array(rows)
    n, d = rows.shape
    if n > MOST_ROWS:
        raise ValueError(f"on a GPU at most {MOST_ROWS} rows are sorted, got {n}")
    out = cuda.device_array(d, np.float32) if out is None else out
    blocks = min(-(-d // THREADS), 2 if config.ENABLE_CUDASIM else 8192)
    if d:
        middle_kernel[blocks, THREADS](rows, wanted[0], wanted[-1] + 1, np.float32(scale), out)
    return out
