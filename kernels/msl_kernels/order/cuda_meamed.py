"""Mean around the median on CUDA: the window of the sorted column, a thread per coordinate."""

from typing import Any

import numpy as np
from numba import cuda

from msl_kernels.order.cuda import launch, mean_of, sort_column

__all__ = ["meamed", "meamed_kernel"]


@cuda.jit
def meamed_kernel(rows, f, out):  # type: ignore[no-untyped-def]
    """Write the mean around the median of columns t, t + threads, ..."""
    column = cuda.local.array(128, np.float32)
    n, d = rows.shape
    for c in range(cuda.grid(1), d, cuda.gridsize(1)):
        sort_column(rows, c, column)
        median = mean_of(column, (n - 1) // 2, n // 2 + 1)
        start = 0
        while start < f and median - column[start] > column[start + n - f] - median:
            start += 1
        out[c] = mean_of(column, start, start + n - f)


def meamed(rows: Any, f: int, out: Any) -> Any:
    """Run on the device of `rows`; see `msl_kernels.order.meamed`."""
    return launch(meamed_kernel, rows, (f,), out)
