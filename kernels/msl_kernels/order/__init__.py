"""Coordinate-wise median and trimmed mean over n rows.

Both are sums of middle ranks in ascending order times a float32 factor, so CPU and CUDA give
the same bits. With NaN among the rows the result is undefined; callers check.
"""

from typing import Any

import numpy as np

from msl_kernels.order import cpu
from msl_kernels.parallel import threads_for

__all__ = ["median", "trimmed_mean"]

# Beyond this a network takes seconds to compile and spills its registers.
_LARGEST_NETWORK = 128


def median(rows: Any, out: Any = None) -> Any:
    """Return the median of each column; for even n half the sum of the two middle values.

    Parameters
    ----------
    rows : array of shape (n, d)
        float32, C-contiguous; NumPy, or anything with ``__cuda_array_interface__``.
    out : array of shape (d,), optional
        float32 to write into.

    Raises
    ------
    ValueError
        When rows have another shape, dtype or order.

    Examples
    --------
    >>> median(np.array([[1, 5], [2, 0], [9, 1]], np.float32))
    array([2., 1.], dtype=float32)
    """
    n = _checked(rows)
    wanted = (n // 2,) if n % 2 else (n // 2 - 1, n // 2)
    return _middle(rows, wanted, out)


def trimmed_mean(rows: Any, f: int, out: Any = None) -> Any:
    """Return the mean of each column without its f smallest and f largest values.

    Parameters
    ----------
    rows : array of shape (n, d)
        As for `median`.
    f : int
        0 <= 2 f < n.
    out : array of shape (d,), optional
        float32 to write into.

    Raises
    ------
    ValueError
        When nothing would be left, or rows have another shape, dtype or order.
    """
    n = _checked(rows)
    if not 0 <= 2 * f < n:
        raise ValueError(f"trimming needs 0 <= 2 f < n = {n}, got f = {f}")
    return _middle(rows, tuple(range(f, n - f)), out)


def _checked(rows: Any) -> int:
    if len(rows.shape) != 2 or not rows.shape[0] or rows.dtype != np.float32:
        raise ValueError(
            f"rows must be float32 of shape (n, d) with n >= 1, got {rows.dtype} {rows.shape}"
        )
    if isinstance(rows, np.ndarray) and not rows.flags.c_contiguous:
        raise ValueError("rows must be C-contiguous: use numpy.ascontiguousarray")
    return int(rows.shape[0])


def _middle(rows: Any, wanted: tuple[int, ...], out: Any) -> Any:
    """Return the mean of the wanted ranks of each column."""
    scale = float(np.float32(1) / np.float32(len(wanted)))
    if hasattr(rows, "__cuda_array_interface__"):
        from msl_kernels.order import cuda

        return cuda.middle(rows, wanted, scale, out)
    n, d = rows.shape
    out = np.empty(d, np.float32) if out is None else out
    if n > _LARGEST_NETWORK:
        cpu.sorted_columns(rows, wanted[0], wanted[-1] + 1, np.float32(scale), out)
    else:
        # A number costs a network far less than a codec: eight of them are worth one there.
        with threads_for(n * d // 8) as several:
            cpu.column_kernel(n, wanted, scale, several)(rows, out)
    return out
