"""Coordinate-wise order statistics of n vectors: medians and trimmed means, weighted or not.

All sort each coordinate. CPU and CUDA do the same arithmetic in one order and give the same
bits, whatever the order of the rows. Median, trimmed mean and mean around the median sum what
they keep from +0.0 upwards in float32 and divide by its number; the weighted rules sum in float64
and round once.

NaN sorts anywhere: rows are checked before, by whoever can name the row. Infinities are sorted by
`median` and `trimmed_mean` alone; the others need finite rows.
"""

from typing import Any

import numpy as np

from msl_kernels.order import cpu, weighted
from msl_kernels.order.units import units

__all__ = ["meamed", "median", "trimmed_mean", "weighted_median", "weighted_trimmed_mean"]


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
    n = _check_rows(rows)
    if not 0 <= 2 * f < n:
        raise ValueError(f"trimmed mean needs 0 <= 2 f < n, got f={f} and n={n}")
    _check_out(rows, out)
    if hasattr(rows, "__cuda_array_interface__"):
        from msl_kernels.order import cuda

        return cuda.trimmed_mean(rows, f, out)
    out = _out(rows, out)
    cpu.trimmed_mean(rows, f, out)
    return out


def meamed(rows: Any, f: int, out: Any = None) -> Any:
    """Return the mean of the n - f values nearest to the median, of each coordinate.

    The farthest value goes, f times; of two that are equally far the larger one, of two on one
    side the outer one. Distances are those of float32, from the value that `median` returns.

    Parameters
    ----------
    rows : array of shape (n, d)
        As in `median`, and finite; the two middle values must not add up to more than float32
        holds.
    f : int
        Values dropped, 0 <= f < n.
    out : array of shape (d,), optional
        float32, to write into.

    Raises
    ------
    ValueError
        As in `trimmed_mean`.

    References
    ----------
    Xie, Koyejo, Gupta: Generalized Byzantine-tolerant SGD. arXiv 1802.10116, 2018 ("mean around
    median").

    Examples
    --------
    >>> meamed(np.array([[0], [2], [3], [4], [100]], np.float32), f=2)
    array([3.], dtype=float32)
    """
    n = _check_rows(rows)
    if not 0 <= f < n:
        raise ValueError(f"meamed needs 0 <= f < n, got f={f} and n={n}")
    _check_out(rows, out)
    if hasattr(rows, "__cuda_array_interface__"):
        from msl_kernels.order import cuda_meamed

        return cuda_meamed.meamed(rows, f, out)
    out = _out(rows, out)
    cpu.meamed(rows, f, out)
    return out


def weighted_median(rows: Any, weights: Any, out: Any = None) -> Any:
    """Return the value of each coordinate with half of the weight below and half above.

    It is the smallest value up to which more than half of the weight lies; where exactly half lies
    up to some value, the mean of that value and the next that has weight. So equal weights give
    the bits of `median`, unless its two middle values add up to more than float32 holds.

    Parameters
    ----------
    rows : array of shape (n, d)
        As in `median`, and finite.
    weights : array of shape (n,)
        Finite, >= 0, not all zero, of any scale; NumPy. They count as float64, rounded to 2^-28
        of the largest or finer (see `msl_kernels.order.units.units`); then sums are exact.
        Equal weights and integers below 2^28 are not changed by that: give counts, not shares.
    out : array of shape (d,), optional
        float32, to write into.

    Raises
    ------
    ValueError
        When weights are other than that, or rows or out are wrong as in `trimmed_mean`.

    Examples
    --------
    >>> rows = np.array([[1], [2], [6]], np.float32)
    >>> weighted_median(rows, [1, 1, 3]), weighted_median(rows, [1, 2, 3])
    (array([6.], dtype=float32), array([4.], dtype=float32))
    """
    whole = units(weights, _check_rows(rows))
    _check_out(rows, out)
    half = int(whole.sum()) / 2
    if hasattr(rows, "__cuda_array_interface__"):
        from msl_kernels.order import cuda_weighted

        return cuda_weighted.weighted_median(rows, whole, half, out)
    out = _out(rows, out)
    weighted.weighted_median(rows, whole, half, out)
    return out


def weighted_trimmed_mean(rows: Any, weights: Any, trim: float, out: Any = None) -> Any:
    """Return the mean of each coordinate without a share of the weight at each end.

    A value at the cut counts with the part of its weight that is left. Equal weights and
    trim = f / n cut f values at each end, as `trimmed_mean` does.

    Parameters
    ----------
    rows : array of shape (n, d)
        As in `median`, and finite.
    weights : array of shape (n,)
        As in `weighted_median`.
    trim : float
        Share of the total weight cut at each end, in [0, 1/2); rounded to the unit of the weights.
    out : array of shape (d,), optional
        float32, to write into.

    Raises
    ------
    ValueError
        When trim or weights are other than that, or rows or out are wrong as in `trimmed_mean`.

    Examples
    --------
    >>> weighted_trimmed_mean(np.array([[0], [3], [9]], np.float32), [1, 1, 2], trim=0.125)
    array([5.5], dtype=float32)
    """
    whole = units(weights, _check_rows(rows))
    if not 0 <= trim < 0.5:
        raise ValueError(f"weighted trimmed mean needs 0 <= trim < 0.5, got {trim}")
    _check_out(rows, out)
    total = int(whole.sum())
    # Rounding may reach the half, but something must be left.
    low = float(min(round(trim * total), (total - 1) // 2))
    if hasattr(rows, "__cuda_array_interface__"):
        from msl_kernels.order import cuda_weighted

        return cuda_weighted.weighted_trimmed_mean(rows, whole, low, total - low, out)
    out = _out(rows, out)
    weighted.weighted_trimmed_mean(rows, whole, low, total - low, out)
    return out


def _check_rows(rows: Any) -> int:
    """Return n."""
    if len(rows.shape) != 2 or rows.dtype != np.float32:
        raise ValueError(f"rows must be float32 of shape (n, d), got {rows.dtype} {rows.shape}")
    if isinstance(rows, np.ndarray) and not rows.flags.c_contiguous:
        raise ValueError("rows must be C-contiguous: use numpy.ascontiguousarray")
    return int(rows.shape[0])


def _check_out(rows: Any, out: Any) -> None:
    d = rows.shape[1]
    if out is not None and (out.shape != (d,) or out.dtype != np.float32):
        raise ValueError(f"out must be float32 of shape ({d},), got {out.dtype} {out.shape}")
    # The kernel stores whole registers at out's address: a gap or an end would not stop it.
    if isinstance(out, np.ndarray) and not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError("out must be C-contiguous and writeable: use numpy.empty")


def _out(rows: Any, out: Any) -> Any:
    return np.empty(rows.shape[1], np.float32) if out is None else out
