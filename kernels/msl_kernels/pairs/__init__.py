"""Sums over pairs of n vectors, and combinations of them: all that rules on distances need.

Such a rule reads the rows twice: once for the (n, n) distances or inner products, in which it
selects or iterates, once for the combination it ends in. Distances come from differences, never
from |x|^2 + |y|^2 - 2 <x, y>, which loses the distance of two rows that lie far from zero.
NaN travels: rows are checked before, by whoever can name the row.

Over pairs: within 1024 coordinates differences, products and sums are float32, each product fused
with its sum, in 16 strided partial sums; beyond, sums are float64 in a fixed order. So the error
of a sum is below 5e-6 of the sum of its magnitudes, mostly near 1e-7, and its bits depend neither
on the number of threads nor on where in the rows the two stand. The range is that of float64:
where a float32 sum leaves its own, those coordinates are summed in float64. On CUDA the order of
the sums differs, not the bound.
"""

from typing import Any

import numpy as np

from msl_kernels.pairs import cpu

__all__ = ["combine", "gram", "squared_distances"]


def squared_distances(rows: Any) -> Any:
    """Return the (n, n) float64 |x_i - x_j|^2: symmetric, with a diagonal of zeros.

    Parameters
    ----------
    rows : array of shape (n, d)
        float32, C-contiguous, n >= 1; NumPy, or anything with ``__cuda_array_interface__``
        (then the result lies on its device).

    Raises
    ------
    ValueError
        When rows have another shape, dtype or order.

    Examples
    --------
    >>> squared_distances(np.array([[0, 0], [3, 4]], np.float32))
    array([[ 0., 25.],
           [25.,  0.]])
    """
    _check_rows(rows)
    if hasattr(rows, "__cuda_array_interface__"):
        from msl_kernels.pairs import cuda

        return cuda.squared_distances(rows)
    return cpu.squared_distances(rows)


def gram(rows: Any, centre: Any = None) -> Any:
    """Return the symmetric (n, n) float64 inner products of rows - centre.

    Parameters
    ----------
    rows : array of shape (n, d)
        As in `squared_distances`.
    centre : array of shape (d,), optional
        float32, C-contiguous, where the rows are; zero by default. Taken off in float32.

    Raises
    ------
    ValueError
        When rows or centre have another shape, dtype or order.

    Examples
    --------
    >>> gram(np.array([[1, 2], [4, 6]], np.float32), np.array([1, 2], np.float32))
    array([[ 0.,  0.],
           [ 0., 25.]])
    """
    _check_rows(rows)
    d = rows.shape[1]
    if centre is not None:
        _check("centre", centre, np.float32, (d,))
    if hasattr(rows, "__cuda_array_interface__"):
        from msl_kernels.pairs import cuda

        return cuda.gram(rows, centre)
    return cpu.gram(rows, centre)


def combine(shares: Any, rows: Any, out: Any = None) -> Any:
    """Return sums of the rows weighted by shares: float64 sums, rounded once to float32.

    The sum starts from +0.0 and runs over the rows in their order, each product fused with it.
    CPU and CUDA give the same bits.

    Parameters
    ----------
    shares : array of shape (n,) or (k, n)
        float64, C-contiguous; NumPy, or on the device of the rows.
    rows : array of shape (n, d)
        As in `squared_distances`.
    out : array of shape (d,) or (k, d), optional
        float32, C-contiguous, to write into; must not share memory with rows.

    Raises
    ------
    ValueError
        When shares, rows or out have another shape, dtype or order.

    Examples
    --------
    >>> combine(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[1, 2], [3, 4]], np.float32))
    array([[2., 3.],
           [1., 2.]], dtype=float32)
    """
    _check_rows(rows)
    n, d = rows.shape
    one = len(shares.shape) == 1
    _check("shares", shares, np.float64, (n,) if one else (shares.shape[0], n))
    shape = (d,) if one else (shares.shape[0], d)
    if out is not None:
        # The kernel stores whole registers at out's address: a gap would not stop it.
        _check("out", out, np.float32, shape)
        if isinstance(out, np.ndarray) and not out.flags.writeable:
            raise ValueError("out must be writeable: use numpy.empty")
    if hasattr(rows, "__cuda_array_interface__"):
        from msl_kernels.pairs import cuda

        return cuda.combine(shares, rows, out)
    if out is None:
        out = np.empty(shape, np.float32)
    cpu.combine(shares, rows, out)
    return out


def _check_rows(rows: Any) -> None:
    if len(rows.shape) != 2 or rows.shape[0] < 1:
        raise ValueError(f"rows must be float32 of shape (n, d), n >= 1, got {rows.shape}")
    _check("rows", rows, np.float32, rows.shape)


def _check(name: str, array: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    if tuple(array.shape) != tuple(shape) or array.dtype != dtype:
        raise ValueError(
            f"{name} must be {np.dtype(dtype)} of shape {shape}, got {array.dtype} {array.shape}"
        )
    if isinstance(array, np.ndarray) and not array.flags.c_contiguous:
        raise ValueError(f"{name} must be C-contiguous: use numpy.ascontiguousarray")
