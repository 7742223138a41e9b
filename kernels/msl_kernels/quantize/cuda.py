"""Bucketed min-max quantiser on CUDA: a block per bucket, a thread per group of 8 numbers.

Each number is read twice (for the range, then for its level, the second time from cache), each
packed byte is written once. The arithmetic is that of the CPU, rounding by rounding: products
and sums go through `_mul` and `_add`, which the compiler may not fuse.
"""

from typing import Any

import numpy as np
from numba import config, cuda

from msl_kernels.dither import ROUNDS
from msl_kernels.philox import draw, split

__all__ = ["THREADS", "dequantize", "dequantize_kernel", "quantize", "quantize_kernel"]

THREADS = 64
_FLIP = np.int32(0x7FFFFFFF)
_INF_KEY = np.int32(0x7F800000)
_TINY = np.float32(1e-10)
_HALF = np.float32(0.5)
_DITHER = np.float32(1.0 / 65536.0)
_MAX = np.float32(3.4028234663852886e38)
_LOW = np.uint64(0xFFFF)

_draw = cuda.jit(device=True)(draw)

if config.ENABLE_CUDASIM:

    @cuda.jit(device=True)
    def _mul(a, b):  # type: ignore[no-untyped-def]
        return np.float32(a * b)

    @cuda.jit(device=True)
    def _add(a, b):  # type: ignore[no-untyped-def]
        with np.errstate(over="ignore"):
            return np.float32(a + b)

    @cuda.jit(device=True)
    def _div(a, b):  # type: ignore[no-untyped-def]
        with np.errstate(over="ignore"):
            return np.float32(a / b)

    @cuda.jit(device=True)
    def _bits(x):  # type: ignore[no-untyped-def]
        return x.view(np.int32)

    @cuda.jit(device=True)
    def _float(bits):  # type: ignore[no-untyped-def]
        return bits.view(np.float32)

else:
    from numba.cuda import libdevice

    @cuda.jit(device=True)
    def _mul(a, b):  # type: ignore[no-untyped-def]
        return libdevice.fmul_rn(a, b)

    @cuda.jit(device=True)
    def _add(a, b):  # type: ignore[no-untyped-def]
        return libdevice.fadd_rn(a, b)

    @cuda.jit(device=True)
    def _div(a, b):  # type: ignore[no-untyped-def]
        return libdevice.fdiv_rn(a, b)

    @cuda.jit(device=True)
    def _bits(x):  # type: ignore[no-untyped-def]
        return np.int32(libdevice.float_as_int(x))

    @cuda.jit(device=True)
    def _float(bits):  # type: ignore[no-untyped-def]
        return libdevice.int_as_float(bits)


@cuda.jit(device=True)
def _flip(raw):  # type: ignore[no-untyped-def]
    """Return the bits of a float as a key that orders like the float; its own inverse."""
    return np.int32(raw ^ ((raw >> np.int32(31)) & _FLIP))


@cuda.jit(device=True)
def _range(x, start, stop, low, high):  # type: ignore[no-untyped-def]
    """Leave the smallest and largest key of a bucket in low[0] and high[0]."""
    t = cuda.threadIdx.x
    low[t] = np.int32(0x7FFFFFFF)
    high[t] = np.int32(-0x80000000)
    for i in range(start + t, stop, THREADS):
        key = _flip(_bits(x[i]))
        low[t] = min(low[t], key)
        high[t] = max(high[t], key)
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if t < half:
            low[t] = min(low[t], low[t + half])
            high[t] = max(high[t], high[t + half])
        cuda.syncthreads()
        half //= 2


@cuda.jit(device=True)
def _first_bad(x, start, stop):  # type: ignore[no-untyped-def]
    """Return the first NaN or Inf of a bucket, or the largest magnitude when there is none."""
    worst = start
    for i in range(start, stop):
        if not abs(x[i]) <= _MAX:
            return i
        if abs(x[i]) > abs(x[worst]):
            worst = i
    return worst


@cuda.jit(device=True)
def _dither(early, late, j):  # type: ignore[no-untyped-def]
    """Return the dither of number j of a group."""
    half = ((early if j < 4 else late) >> np.uint64(16 * (j % 4))) & _LOW
    return _mul(_add(np.float32(half), _HALF), _DITHER)


@cuda.jit(device=True)
def _group(x, first, stop, lo, inverse, top, bits, stochastic, key0, key1):  # type: ignore[no-untyped-def]
    """Return the packed levels of up to 8 numbers."""
    word = np.uint64(0)
    early, late = np.uint64(0), np.uint64(0)
    if stochastic:
        early, late = _draw(np.uint64(first // 8), key0, key1, ROUNDS)
    for j in range(min(8, stop - first)):
        r = _dither(early, late, j) if stochastic else _HALF
        scaled = _add(_mul(_add(x[first + j], -lo), inverse), r)
        word |= np.uint64(min(np.int32(scaled), top)) << np.uint64(j * bits)
    return word


@cuda.jit(device=True)
def _store(word, packed, first, n, bits):  # type: ignore[no-untyped-def]
    """Write the word of the group that starts at number `first`; the last one adds the padding."""
    at = first // 8 * bits
    end = packed.shape[0] if first + 8 >= n else at + bits
    for i in range(at, end):
        packed[i] = np.uint8(word & np.uint64(255))
        word >>= np.uint64(8)


@cuda.jit(device=True)
def _load(packed, g, bits):  # type: ignore[no-untyped-def]
    """Return the word of group g."""
    word = np.uint64(0)
    for i in range(min(bits, packed.shape[0] - g * bits)):
        word |= np.uint64(packed[g * bits + i]) << np.uint64(8 * i)
    return word


@cuda.jit
def quantize_kernel(x, bits, bucket, stochastic, key0, key1, meta, packed, bad):  # type: ignore[no-untyped-def]
    """Quantise buckets blockIdx.x, blockIdx.x + gridDim.x, ..."""
    low = cuda.shared.array(THREADS, np.int32)
    high = cuda.shared.array(THREADS, np.int32)
    n, t = x.shape[0], cuda.threadIdx.x
    top = np.int32((1 << bits) - 1)
    for b in range(cuda.blockIdx.x, meta.shape[0], cuda.gridDim.x):
        start, stop = b * bucket, min((b + 1) * bucket, n)
        _range(x, start, stop, low, high)
        lo, hi = _float(_flip(low[0])), _float(_flip(high[0]))
        spread = _add(hi, -lo)
        finite = high[0] < _INF_KEY and low[0] > ~_INF_KEY and spread <= _MAX
        unit = spread / np.float32(top)
        if t == 0:
            meta[b, 0], meta[b, 1] = unit, lo
            if not finite:
                cuda.atomic.min(bad, 0, _first_bad(x, start, stop))
        for g in range(t, (stop - start + 7) // 8, THREADS):
            first = start + 8 * g
            word = np.uint64(0)
            if finite and unit >= _TINY:
                inverse = np.float32(1.0) / unit
                word = _group(x, first, stop, lo, inverse, top, bits, stochastic, key0, key1)
            _store(word, packed, first, n, bits)
        # The range of the next bucket overwrites what the slowest thread may still read.
        cuda.syncthreads()


@cuda.jit
def dequantize_kernel(meta, packed, bits, bucket, out, add):  # type: ignore[no-untyped-def]
    """Decode groups of 8, a thread each."""
    n = out.shape[0]
    mask = np.uint64((1 << bits) - 1)
    for g in range(cuda.grid(1), (n + 7) // 8, cuda.gridsize(1)):
        word = _load(packed, g, bits)
        b = 8 * g // bucket
        unit, lo = meta[b, 0], meta[b, 1]
        for j in range(min(8, n - 8 * g)):
            level = np.float32((word >> np.uint64(j * bits)) & mask)
            value = _add(lo, _mul(unit, level))
            if add:
                value = _add(out[8 * g + j], value)
            out[8 * g + j] = value


def _blocks(pieces: int) -> int:
    """Return a grid that fills a large device; on the simulator every thread is a real one."""
    return min(pieces, 2 if config.ENABLE_CUDASIM else 4096)


def quantize(
    x: Any, bits: int, bucket: int, key: int | None, meta: Any, packed: Any
) -> tuple[Any, Any, int]:
    """Quantise on the device of `x`; see `msl_kernels.quantize.quantize`."""
    from msl_kernels.quantize import n_buckets, packed_nbytes

    n = x.shape[0]
    buckets = n_buckets(n, bucket)
    meta = cuda.device_array((buckets, 2), np.float32) if meta is None else meta
    packed = cuda.device_array(packed_nbytes(n, bits), np.uint8) if packed is None else packed
    if not buckets:
        return meta, packed, -1
    bad = cuda.to_device(np.array([n], np.int64))
    quantize_kernel[_blocks(buckets), THREADS](
        x, bits, bucket, key is not None, *split(key or 0), meta, packed, bad
    )
    first = int(bad.copy_to_host()[0])
    return meta, packed, first if first < n else -1


def dequantize(meta: Any, packed: Any, n: int, bits: int, bucket: int, out: Any, add: bool) -> Any:
    """Decode on the device of `meta`; see `msl_kernels.quantize.dequantize`."""
    out = cuda.device_array(n, np.float32) if out is None else out
    if n:
        blocks = _blocks(-(-n // (8 * THREADS)))
        dequantize_kernel[blocks, THREADS](meta, packed, bits, bucket, out, add)
    return out
