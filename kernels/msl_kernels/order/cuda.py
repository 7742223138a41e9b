"""Trimmed mean on CUDA: a thread per coordinate sorts its column by insertion."""

from typing import Any

import numpy as np
from numba import config, cuda

__all__ = [
    "ROWS_MAX",
    "THREADS",
    "launch",
    "mean_of",
    "sort_column",
    "trimmed_mean",
    "trimmed_mean_kernel",
]

THREADS = 64
ROWS_MAX = 128
"""Numbers a thread holds (512 bytes of local memory)."""


@cuda.jit(device=True)
def sort_column(rows, c, column):  # type: ignore[no-untyped-def]
    """Fill `column` with the sorted numbers of column c."""
    for i in range(len(rows)):
        value = rows[i, c]
        j = i
        while j > 0 and column[j - 1] > value:
            column[j] = column[j - 1]
            j -= 1
        column[j] = value


@cuda.jit(device=True)
def mean_of(column, first, last):  # type: ignore[no-untyped-def]
    """Mean of values first..last-1, upwards from +0.0."""
    total = np.float32(0.0)
    for i in range(first, last):
        total += column[i]
    return total / np.float32(last - first)


@cuda.jit
def trimmed_mean_kernel(rows, f, out):  # type: ignore[no-untyped-def]
    """Write the trimmed mean of columns t, t + threads, ...; neighbours read neighbours."""
    column = cuda.local.array(128, np.float32)
    n, d = rows.shape
    for c in range(cuda.grid(1), d, cuda.gridsize(1)):
        sort_column(rows, c, column)
        out[c] = mean_of(column, f, n - f)


def launch(kernel: Any, rows: Any, arguments: tuple[Any, ...], out: Any) -> Any:
    """Run kernel(rows, *arguments, out) on the device of `rows`."""
    n, d = rows.shape
    if n > ROWS_MAX:
        raise ValueError(f"on CUDA at most {ROWS_MAX} rows are sorted, got {n}")
    out = cuda.device_array(d, np.float32) if out is None else out
    # On the simulator every thread is a real one.
    blocks = min(-(-d // THREADS), 2 if config.ENABLE_CUDASIM else 4096)
    if d:
        kernel[blocks, THREADS](rows, *arguments, out)
    return out


def trimmed_mean(rows: Any, f: int, out: Any) -> Any:
    """Run on the device of `rows`; see `msl_kernels.order.trimmed_mean`."""
    return launch(trimmed_mean_kernel, rows, (f,), out)
