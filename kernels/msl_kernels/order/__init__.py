"""Coordinate-wise order statistics of n vectors: median and trimmed mean.

Both sort each coordinate, drop f values at each end and average the rest: the sum starts from
+0.0, runs upwards in float32, and is divided by n - 2f. CPU and CUDA do this in one order and
give the same bits. NaN sorts anywhere: rows are checked before, by whoever can name the row.
"""

from typing import Any

import numpy as np

from msl_kernels.order import cpu

__all__ = ["median", "trimmed_mean"]


def median(rows: Any, out: Any = None) -> Any:
    """Return the median of each coordinate; the mean of the two middle values for even n.

    Parameters
    ----------
    rows : array of shape (n, d)
        float32, C-contiguous, n >= 1; NumPy, or anything with ``__cuda_array_interface__``
        (there n <= 128).
    out : array of shape (d,), optional
        float32, to write into.

    Examples
    --------
    >>> median(np.array([[1, 9], [2, 7], [6, 8]], np.float32))
    array([2., 8.], dtype=float32)
    """
    return trimmed_mean(rows, (rows.shape[0] - 1) // 2, out)


def trimmed_mean(rows: Any, f: int, out: Any = None) -> Any:
    """Return the mean of each coordinate without its f smallest and f largest values.

    Parameters
    ----------
    rows : array of shape (n, d)
        As in `median`.
    f : int
        Values dropped at each end, 0 <= 2f < n.
    out : array of shape (d,), optional
        float32, to write into.

    Raises
    ------
    ValueError
        When f leaves nothing, rows or out have another shape, dtype or order, or a CUDA array has
        more than 128 rows.

    Examples
    --------
    >>> trimmed_mean(np.array([[1], [2], [3], [100]], np.float32), f=1)
    array([2.5], dtype=float32)
    """
    if len(rows.shape) != 2 or rows.dtype != np.float32:
        raise ValueError(f"rows must be float32 of shape (n, d), got {rows.dtype} {rows.shape}")
    if isinstance(rows, np.ndarray) and not rows.flags.c_contiguous:
        raise ValueError("rows must be C-contiguous: use numpy.ascontiguousarray")
    n, d = rows.shape
    if not 0 <= 2 * f < n:
        raise ValueError(f"trimmed mean needs 0 <= 2 f < n, got f={f} and n={n}")
    if out is not None and (out.shape != (d,) or out.dtype != np.float32):
        raise ValueError(f"out must be float32 of shape ({d},), got {out.dtype} {out.shape}")
    # The kernel stores whole registers at out's address: a gap or an end would not stop it.
    if isinstance(out, np.ndarray) and not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError("out must be C-contiguous and writeable: use numpy.empty")
    if hasattr(rows, "__cuda_array_interface__"):
        from msl_kernels.order import cuda

        return cuda.trimmed_mean(rows, f, out)
    if out is None:
        out = np.empty(d, np.float32)
    cpu.trimmed_mean(rows, f, out)
    return out
