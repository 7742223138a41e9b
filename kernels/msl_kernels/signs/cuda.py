"""Signs on CUDA: a block per chunk or bucket, whose 64 threads are the 64 lanes of the sums.

The bits are written by a thread per byte, which finds its eight numbers in cache.
"""

from typing import Any

import numpy as np
from numba import config, cuda

from msl_kernels.quantize.cuda import _add
from msl_kernels.signs.cpu import CHUNK, total
from msl_kernels.signs.lanes import LANES

__all__ = [
    "decode_kernel",
    "feed_back",
    "feed_kernel",
    "means_kernel",
    "pack",
    "pack_means",
    "signs_kernel",
    "sum_kernel",
    "unpack",
    "unpack_means",
]

_MAX = np.float32(3.4028234663852886e38)
_ZERO = np.float32(0.0)
# The size of a shared array must be one name.
_SIDES = 2 * LANES


@cuda.jit(device=True)
def _fold(lanes, rows):  # type: ignore[no-untyped-def]
    """Leave the sum of the lanes of each row in its first."""
    t = cuda.threadIdx.x
    half = LANES // 2
    cuda.syncthreads()
    while half > 0:
        if t < half:
            for row in range(rows):
                lanes[row * LANES + t] += lanes[row * LANES + t + half]
        cuda.syncthreads()
        half //= 2


@cuda.jit(device=True)
def _write_signs(x, first, packed):  # type: ignore[no-untyped-def]
    """Write the byte of x[first : first + 8]; the last one is followed by the padding."""
    n = x.shape[0]
    byte = np.int32(0)
    for j in range(min(8, n - first)):
        if x[first + j] < _ZERO:
            byte |= np.int32(1) << np.int32(j)
    _write_byte(byte, first, n, packed)


@cuda.jit(device=True)
def _write_byte(byte, first, n, packed):  # type: ignore[no-untyped-def]
    at = first // 8
    packed[at] = np.uint8(byte)
    if first + 8 >= n:
        for i in range(at + 1, packed.shape[0]):
            packed[i] = np.uint8(0)


@cuda.jit
def sum_kernel(x, residual, fed, sums, bad):  # type: ignore[no-untyped-def]
    """Write the sum of abs(x), or of abs(x + residual) when fed, of every chunk."""
    lanes = cuda.shared.array(LANES, np.float64)
    t, n = cuda.threadIdx.x, x.shape[0]
    for chunk in range(cuda.blockIdx.x, sums.shape[0], cuda.gridDim.x):
        mine = np.float64(0.0)
        for i in range(chunk * CHUNK + t, min((chunk + 1) * CHUNK, n), LANES):
            a = x[i]
            if fed:
                a = _add(a, residual[i])
            if not abs(a) <= _MAX:
                cuda.atomic.min(bad, 0, i)
            mine += np.float64(abs(a))
        lanes[t] = mine
        _fold(lanes, 1)
        if t == 0:
            sums[chunk] = lanes[0]


@cuda.jit
def signs_kernel(x, packed):  # type: ignore[no-untyped-def]
    """Write a byte a thread."""
    for g in range(cuda.grid(1), (x.shape[0] + 7) // 8, cuda.gridsize(1)):
        _write_signs(x, 8 * g, packed)


@cuda.jit
def feed_kernel(x, residual, scale, packed):  # type: ignore[no-untyped-def]
    """Write the signs of a = x + residual, a byte a thread, and a - (+-scale)."""
    n = x.shape[0]
    for g in range(cuda.grid(1), (n + 7) // 8, cuda.gridsize(1)):
        first = 8 * g
        byte = np.int32(0)
        for j in range(min(8, n - first)):
            a = _add(x[first + j], residual[first + j])
            sent = scale
            if a < _ZERO:
                byte |= np.int32(1) << np.int32(j)
                sent = -scale
            residual[first + j] = _add(a, -sent)
        _write_byte(byte, first, n, packed)


@cuda.jit
def means_kernel(x, bucket, means, packed, bad):  # type: ignore[no-untyped-def]
    """Write signs and means of a bucket a block."""
    lanes = cuda.shared.array(_SIDES, np.float64)
    count = cuda.shared.array(1, np.int32)
    t, n = cuda.threadIdx.x, x.shape[0]
    for b in range(cuda.blockIdx.x, means.shape[0], cuda.gridDim.x):
        start, stop = b * bucket, min((b + 1) * bucket, n)
        if t == 0:
            count[0] = 0
        cuda.syncthreads()
        below, above = np.float64(0.0), np.float64(0.0)
        negatives = 0
        for i in range(start + t, stop, LANES):
            if not abs(x[i]) <= _MAX:
                cuda.atomic.min(bad, 0, i)
            if x[i] < _ZERO:
                below += np.float64(x[i])
                negatives += 1
            else:
                above += np.float64(x[i])
        lanes[t], lanes[LANES + t] = below, above
        cuda.atomic.add(count, 0, negatives)
        _fold(lanes, 2)
        if t == 0:
            others = stop - start - count[0]
            means[b, 0] = np.float32(lanes[0] / np.float64(count[0])) if count[0] else _ZERO
            means[b, 1] = np.float32(lanes[LANES] / np.float64(others)) if others else _ZERO
        for first in range(start + 8 * t, stop, 8 * LANES):
            _write_signs(x, first, packed)


@cuda.jit
def decode_kernel(means, packed, bucket, out, add):  # type: ignore[no-untyped-def]
    """Write or add the mean of each number's side, a byte a thread."""
    n = out.shape[0]
    for g in range(cuda.grid(1), (n + 7) // 8, cuda.gridsize(1)):
        byte = np.int32(packed[g])
        b = 8 * g // bucket
        for j in range(min(8, n - 8 * g)):
            value = means[b, 0] if (byte >> np.int32(j)) & np.int32(1) else means[b, 1]
            if add:
                value = _add(out[8 * g + j], value)
            out[8 * g + j] = value


def _grid(pieces: int) -> tuple[int, int]:
    """Return a grid that fills a large device; on the simulator every thread is a real one."""
    return min(pieces, 2 if config.ENABLE_CUDASIM else 8192), LANES


def _per_byte(n: int) -> tuple[int, int]:
    return _grid(-(-n // (8 * LANES)))


def _packed(n: int, packed: Any) -> Any:
    from msl_kernels.signs import packed_nbytes

    return cuda.device_array(packed_nbytes(n), np.uint8) if packed is None else packed


def _first(bad: Any, n: int) -> int:
    first = int(bad.copy_to_host()[0])
    return first if first < n else -1


def _mean(x: Any, residual: Any, fed: bool) -> tuple[np.float32, int]:
    """Return the mean of abs(x), or of abs(x + residual), and the first bad."""
    n = x.shape[0]
    sums = cuda.device_array(-(-n // CHUNK), np.float64)
    bad = cuda.to_device(np.array([n], np.int64))
    sum_kernel[_grid(sums.shape[0])](x, residual, fed, sums, bad)
    return np.float32(total(sums.copy_to_host()) / n), _first(bad, n)


def pack(x: Any, packed: Any) -> tuple[Any, np.float32, int]:
    """Pack on the device of `x`; see `msl_kernels.signs.pack`."""
    n = x.shape[0]
    packed = _packed(n, packed)
    if not n:
        return packed, np.float32(0), -1
    signs_kernel[_per_byte(n)](x, packed)
    return packed, *_mean(x, x, False)


def unpack(packed: Any, scale: float | np.float32, n: int, out: Any, add: bool) -> Any:
    """Decode on the device of `packed`; see `msl_kernels.signs.unpack`."""
    means = cuda.to_device(np.array([[-np.float32(scale), scale]], np.float32))
    return unpack_means(means, packed, n, max(n, 1), out, add)


def feed_back(x: Any, residual: Any, packed: Any) -> tuple[Any, np.float32, int]:
    """Pack on the device of `x`; see `msl_kernels.signs.feed_back`."""
    n = x.shape[0]
    packed = _packed(n, packed)
    if not n:
        return packed, np.float32(0), -1
    scale, bad = _mean(x, residual, True)
    if bad < 0:
        feed_kernel[_per_byte(n)](x, residual, scale, packed)
    return packed, scale, bad


def pack_means(x: Any, bucket: int, means: Any, packed: Any) -> tuple[Any, Any, int]:
    """Pack on the device of `x`; see `msl_kernels.signs.pack_means`."""
    from msl_kernels.signs import n_buckets

    n = x.shape[0]
    packed = _packed(n, packed)
    buckets = n_buckets(n, bucket)
    means = cuda.device_array((buckets, 2), np.float32) if means is None else means
    if not n:
        return means, packed, -1
    bad = cuda.to_device(np.array([n], np.int64))
    means_kernel[_grid(buckets)](x, bucket, means, packed, bad)
    return means, packed, _first(bad, n)


def unpack_means(means: Any, packed: Any, n: int, bucket: int, out: Any, add: bool) -> Any:
    """Decode on the device of `means`; see `msl_kernels.signs.unpack_means`."""
    out = cuda.device_array(n, np.float32) if out is None else out
    if n:
        decode_kernel[_per_byte(n)](means, packed, bucket, out, add)
    return out
