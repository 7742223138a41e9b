"""Order statistics on CUDA: a thread per coordinate sorts its column by insertion."""

from typing import Any

import numpy as np
from numba import config, cuda

__all__ = ["ROWS_MAX", "THREADS", "trimmed_mean", "trimmed_mean_kernel"]

THREADS = 64
ROWS_MAX = 128
"""Numbers a thread holds (512 bytes of local memory)."""


@cuda.jit
def trimmed_mean_kernel(rows, f, out):  # type: ignore[no-untyped-def]
    """Write the trimmed mean of columns t, t + threads, ...; neighbours read neighbours."""
    column = cuda.local.array(128, np.float32)
    n, d = rows.shape
    for c in range(cuda.grid(1), d, cuda.gridsize(1)):
        for i in range(n):
            value = rows[i, c]
            j = i
            while j > 0 and column[j - 1] > value:
                column[j] = column[j - 1]
                j -= 1
            column[j] = value
        total = np.float32(0.0)
        for i in range(f, n - f):
            total += column[i]
        out[c] = total / np.float32(n - 2 * f)


def trimmed_mean(rows: Any, f: int, out: Any) -> Any:
    """Run on the device of `rows`; see `msl_kernels.order.trimmed_mean`."""
    n, d = rows.shape
    if n > ROWS_MAX:
        raise ValueError(f"on CUDA at most {ROWS_MAX} rows are sorted, got {n}")
    out = cuda.device_array(d, np.float32) if out is None else out
    # On the simulator every thread is a real one.
    blocks = min(-(-d // THREADS), 2 if config.ENABLE_CUDASIM else 4096)
    if d:
        trimmed_mean_kernel[blocks, THREADS](rows, f, out)
    return out
