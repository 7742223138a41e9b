"""Bucketed min-max quantiser on CUDA: a block per bucket, a thread per group of 8 numbers.

Each number is read twice (once for the range, once for its level, the second time from L1/L2)
and every packed byte is written once. The arithmetic is that of the CPU, rounding by rounding:
products and sums go through `_mul` and `_add`, which the compiler may not fuse.
"""

from typing import Any

import numpy as np
from numba import config, cuda

from msl_kernels.philox import draw, split

__all__ = ["dequantize", "quantize"]

THREADS = 64
_FLIP = np.int32(0x7FFFFFFF)
_INF_KEY = 0x7F800000
_TINY = np.float32(1e-10)
_CENTRE = np.float32(0.5)
_DITHER = np.float32(1.0 / 65536.0)
_MAX = np.float32(3.4028234663852886e38)

if config.ENABLE_CUDASIM:

    @cuda.jit(device=True)
    def _mul(a, b):  # type: ignore[no-untyped-def]
        return np.float32(np.float32(a) * np.float32(b))

    @cuda.jit(device=True)
    def _add(a, b):  # type: ignore[no-untyped-def]
        return np.float32(np.float32(a) + np.float32(b))

    @cuda.jit(device=True)
    def _bits(x):  # type: ignore[no-untyped-def]
        return np.float32(x).view(np.int32)

    @cuda.jit(device=True)
    def _float(bits):  # type: ignore[no-untyped-def]
        return np.int32(bits).view(np.float32)

else:
    from numba.cuda import libdevice

    @cuda.jit(device=True)
    def _mul(a, b):  # type: ignore[no-untyped-def]
        return libdevice.fmul_rn(a, b)

    @cuda.jit(device=True)
    def _add(a, b):  # type: ignore[no-untyped-def]
        return libdevice.fadd_rn(a, b)

    @cuda.jit(device=True)
    def _bits(x):  # type: ignore[no-untyped-def]
        return libdevice.float_as_int(x)

    @cuda.jit(device=True)
    def _float(bits):  # type: ignore[no-untyped-def]
        return libdevice.int_as_float(bits)


@cuda.jit(device=True)
def _key(x):  # type: ignore[no-untyped-def]
    """Return an integer that orders like the float."""
    raw = _bits(x)
    return np.int32(raw ^ ((raw >> 31) & _FLIP))


_draw = cuda.jit(device=True)(draw)


@cuda.jit(device=True)
def _range(x, start, stop, low, high):  # type: ignore[no-untyped-def]
    """Leave the smallest and largest key of a bucket in low[0] and high[0]."""
    t = cuda.threadIdx.x
    low[t] = np.int32(0x7FFFFFFF)
    high[t] = np.int32(-0x80000000)
    for i in range(start + t, stop, THREADS):
        key = _key(x[i])
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


@cuda.jit
def quantize_kernel(x, bits, bucket, stochastic, key0, key1, meta, packed, bad):  # type: ignore[no-untyped-def]
    """Quantise buckets blockIdx.x, blockIdx.x + gridDim.x, ..."""
    low = cuda.shared.array(64, np.int32)
    high = cuda.shared.array(64, np.int32)
    words = cuda.local.array(2, np.uint64)
    n, t = x.shape[0], cuda.threadIdx.x
    top = (1 << bits) - 1
    padding = (n * bits + 7) // 8 + t
    if cuda.blockIdx.x == 0 and padding < packed.shape[0]:
        packed[padding] = np.uint8(0)
    for b in range(cuda.blockIdx.x, meta.shape[0], cuda.gridDim.x):
        start, stop = b * bucket, min((b + 1) * bucket, n)
        _range(x, start, stop, low, high)
        low_key, high_key = low[0], high[0]
        lo = _float(low_key ^ ((low_key >> 31) & _FLIP))
        hi = _float(high_key ^ ((high_key >> 31) & _FLIP))
        unit = _add(hi, -lo) / np.float32(top)
        inverse = np.float32(0.0)
        if high_key >= _INF_KEY or low_key <= -_INF_KEY - 1 or not _add(hi, -lo) <= _MAX:
            if t == 0:
                cuda.atomic.min(bad, 0, b)
        elif unit >= _TINY:
            inverse = np.float32(1.0) / unit
        if t == 0:
            meta[b, 0], meta[b, 1] = unit, lo
        for g in range(t, (stop - start + 7) // 8, THREADS):
            first = start + 8 * g
            if stochastic:
                words[0], words[1] = _draw(np.uint64(first // 8), key0, key1)
            packed_word = np.uint64(0)
            for j in range(min(8, stop - first)):
                dither = _CENTRE
                if stochastic:
                    half = (words[j // 4] >> np.uint64(16 * (j % 4))) & np.uint64(0xFFFF)
                    dither = _mul(_add(np.float32(half), _CENTRE), _DITHER)
                if inverse > 0:
                    scaled = _add(_mul(_add(x[first + j], -lo), inverse), dither)
                    level = min(np.int32(scaled), top)
                    packed_word |= np.uint64(level) << np.uint64(j * bits)
            at = (b * bucket * bits) // 8 + g * bits
            for i in range(min(bits, packed.shape[0] - at)):
                packed[at + i] = np.uint8((packed_word >> np.uint64(8 * i)) & np.uint64(255))
        # The range of the next bucket overwrites what the slowest thread may still read.
        cuda.syncthreads()


@cuda.jit
def dequantize_kernel(meta, packed, bits, bucket, out, add):  # type: ignore[no-untyped-def]
    """Decode groups of 8, a thread each."""
    n = out.shape[0]
    mask = np.uint64((1 << bits) - 1)
    for g in range(cuda.grid(1), (n + 7) // 8, cuda.gridsize(1)):
        word = np.uint64(0)
        for i in range(min(bits, packed.shape[0] - g * bits)):
            word |= np.uint64(packed[g * bits + i]) << np.uint64(8 * i)
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
    return max(1, min(pieces, 4 if config.ENABLE_CUDASIM else 4096))


def quantize(
    x: Any, bits: int, bucket: int, key: int | None, meta: Any, packed: Any
) -> tuple[Any, Any, int]:
    """Quantise on the device of `x`; see `msl_kernels.quantize.quantize`."""
    from msl_kernels.quantize import n_buckets, packed_nbytes

    x = cuda.as_cuda_array(x)
    buckets = n_buckets(x.shape[0], bucket)
    meta = cuda.device_array((buckets, 2), np.float32) if meta is None else meta
    if packed is None:
        packed = cuda.to_device(np.zeros(packed_nbytes(x.shape[0], bits), np.uint8))
    if not buckets:
        return meta, packed, -1
    bad = cuda.to_device(np.array([buckets], np.int64))
    quantize_kernel[_blocks(buckets), THREADS](
        x, bits, bucket, key is not None, *split(key or 0), meta, packed, bad
    )
    first = int(bad.copy_to_host()[0])
    return meta, packed, -1 if first == buckets else _first_bad(x, first * bucket, bucket)


def _first_bad(x: Any, start: int, bucket: int) -> int:
    from msl_kernels.quantize import _first_bad as first_bad

    return start + first_bad(x[start : start + bucket].copy_to_host(), 0, bucket)


def dequantize(meta: Any, packed: Any, n: int, bits: int, bucket: int, out: Any, add: bool) -> Any:
    """Decode on the device of `meta`; see `msl_kernels.quantize.dequantize`."""
    out = cuda.device_array(n, np.float32) if out is None else out
    if n:
        dequantize_kernel[_blocks(-(-n // (8 * THREADS))), THREADS](
            meta, packed, bits, bucket, out, add
        )
    return out
