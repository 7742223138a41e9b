"""Weighted order statistics on CUDA: a thread per coordinate sorts values with their weights.

A key is a float64, the weight in the bits that a float32 leaves empty there, as on the CPU: equal
values go by their weights, so both add in the same order. Weight times value is exact in float64:
a fused multiply-add changes nothing.
"""

from typing import Any

import numpy as np
from numba import config, cuda
from numpy.typing import NDArray

from msl_kernels.order.cuda import launch
from msl_kernels.order.units import UNIT_BITS

__all__ = [
    "weighted_median",
    "weighted_median_kernel",
    "weighted_trimmed_mean",
    "weighted_trimmed_mean_kernel",
]

_WEIGHT = np.int64((1 << UNIT_BITS) - 1)

if config.ENABLE_CUDASIM:

    @cuda.jit(device=True)
    def _bits(key):  # type: ignore[no-untyped-def]
        return np.float64(key).view(np.int64)

    @cuda.jit(device=True)
    def _float(bits):  # type: ignore[no-untyped-def]
        return np.int64(bits).view(np.float64)

else:
    from numba.cuda import libdevice

    @cuda.jit(device=True)
    def _bits(key):  # type: ignore[no-untyped-def]
        return np.int64(libdevice.double_as_longlong(key))

    @cuda.jit(device=True)
    def _float(bits):  # type: ignore[no-untyped-def]
        return libdevice.longlong_as_double(bits)


@cuda.jit(device=True)
def _sort(rows, units, c, keys):  # type: ignore[no-untyped-def]
    """Fill `keys` with the sorted keys of column c."""
    for i in range(len(rows)):
        key = _float(_bits(np.float64(rows[i, c])) | units[i])
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            j -= 1
        keys[j] = key


@cuda.jit(device=True)
def _value(key):  # type: ignore[no-untyped-def]
    return _float(_bits(key) & ~_WEIGHT)


@cuda.jit(device=True)
def _weight(key):  # type: ignore[no-untyped-def]
    return np.float64(_bits(key) & _WEIGHT)


@cuda.jit
def weighted_median_kernel(rows, units, half, out):  # type: ignore[no-untyped-def]
    """Write the weighted median of columns t, t + threads, ...; `half` of all units."""
    keys = cuda.local.array(128, np.float64)
    for c in range(cuda.grid(1), rows.shape[1], cuda.gridsize(1)):
        _sort(rows, units, c, keys)
        i = 0
        below = _weight(keys[0])
        while below < half:
            i += 1
            below += _weight(keys[i])
        total = np.float64(0.0) + _value(keys[i])
        while below <= half:
            i += 1
            below += _weight(keys[i])
        out[c] = np.float32((total + _value(keys[i])) * np.float64(0.5))


@cuda.jit
def weighted_trimmed_mean_kernel(rows, units, low, high, out):  # type: ignore[no-untyped-def]
    """Write the mean of the weight between the cumulative weights low and high, low < high."""
    keys = cuda.local.array(128, np.float64)
    n, d = rows.shape
    for c in range(cuda.grid(1), d, cuda.gridsize(1)):
        _sort(rows, units, c, keys)
        below = total = np.float64(0.0)
        edge = low
        for i in range(n):
            below += _weight(keys[i])
            before = edge
            edge = min(max(below, low), high)
            total += (edge - before) * _value(keys[i])
        out[c] = np.float32(total / (high - low))


def weighted_median(rows: Any, units: NDArray[np.int64], half: float, out: Any) -> Any:
    """Run on the device of `rows`; see `msl_kernels.order.weighted_median`."""
    return launch(weighted_median_kernel, rows, (cuda.to_device(units), half), out)


def weighted_trimmed_mean(
    rows: Any, units: NDArray[np.int64], low: float, high: float, out: Any
) -> Any:
    """Run on the device of `rows`; see `msl_kernels.order.weighted_trimmed_mean`."""
    arguments = (cuda.to_device(units), low, high)
    return launch(weighted_trimmed_mean_kernel, rows, arguments, out)
