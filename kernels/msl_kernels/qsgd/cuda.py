"""QSGD on CUDA: a block per bucket, a thread per group of 8 numbers.

The arithmetic is that of the CPU, rounding by rounding, with the pieces of
`msl_kernels.quantize.cuda`. Squares are exact in float64, so their sum may be fused there.
"""

import math
from typing import Any

import numpy as np
from numba import cuda

from msl_kernels.dither import ROUNDS
from msl_kernels.philox import split
from msl_kernels.quantize.cuda import (
    THREADS,
    _add,
    _bits,
    _blocks,
    _dither,
    _div,
    _draw,
    _first_bad,
    _float,
    _load,
    _mul,
    _store,
)

__all__ = ["dequantize", "dequantize_kernel", "quantize", "quantize_kernel"]

_MAGNITUDE = np.int32(0x7FFFFFFF)
_MAX = np.float64(np.finfo(np.float32).max)


@cuda.jit(device=True)
def _root_of_squares(x, start, stop, sums):  # type: ignore[no-untyped-def]
    """Return the Euclidean norm; a thread has the partial sum of its number."""
    t = cuda.threadIdx.x
    sums[t] = 0.0
    for i in range(start + t, stop, THREADS):
        sums[t] += np.float64(x[i]) * np.float64(x[i])
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if t < half:
            sums[t] += sums[t + half]
        cuda.syncthreads()
        half //= 2
    return math.sqrt(sums[0])


@cuda.jit(device=True)
def _largest(x, start, stop, largest):  # type: ignore[no-untyped-def]
    """Return the largest magnitude; as bits a NaN is above all numbers."""
    t = cuda.threadIdx.x
    largest[t] = 0
    for i in range(start + t, stop, THREADS):
        largest[t] = max(largest[t], _bits(x[i]) & _MAGNITUDE)
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if t < half:
            largest[t] = max(largest[t], largest[t + half])
        cuda.syncthreads()
        half //= 2
    return np.float64(_float(largest[0]))


@cuda.jit(device=True)
def _group(x, first, stop, scale, s, bits, key0, key1):  # type: ignore[no-untyped-def]
    """Return the packed fields of up to 8 numbers."""
    word = np.uint64(0)
    early, late = _draw(np.uint64(first // 8), key0, key1, ROUNDS)
    for j in range(min(8, stop - first)):
        number = x[first + j]
        scaled = _add(_mul(abs(number), scale), _dither(early, late, j))
        field = np.uint64(min(np.int32(scaled), s))
        if _bits(number) < 0:
            field |= np.uint64(s + 1)
        word |= field << np.uint64(j * bits)
    return word


@cuda.jit
def quantize_kernel(x, bits, bucket, euclidean, key0, key1, norms, packed, bad):  # type: ignore[no-untyped-def]
    """Quantise buckets blockIdx.x, blockIdx.x + gridDim.x, ..."""
    sums = cuda.shared.array(THREADS, np.float64)
    largest = cuda.shared.array(THREADS, np.int32)
    n, t = x.shape[0], cuda.threadIdx.x
    s = np.int32((1 << (bits - 1)) - 1)
    for b in range(cuda.blockIdx.x, norms.shape[0], cuda.gridDim.x):
        start, stop = b * bucket, min((b + 1) * bucket, n)
        if euclidean:
            size = _root_of_squares(x, start, stop, sums)
        else:
            size = _largest(x, start, stop, largest)
        finite = size <= _MAX
        norm = np.float32(size if finite else 0.0)
        if t == 0:
            norms[b] = norm
            if not finite:
                cuda.atomic.min(bad, 0, _first_bad(x, start, stop))
        scale = _div(np.float32(s), norm) if norm > 0 else np.float32(0.0)
        for g in range(t, (stop - start + 7) // 8, THREADS):
            first = start + 8 * g
            word = np.uint64(0)
            if 0 < scale <= _MAX:
                word = _group(x, first, stop, scale, s, bits, key0, key1)
            _store(word, packed, first, n, bits)
        # The norm of the next bucket overwrites what the slowest thread may still read.
        cuda.syncthreads()


@cuda.jit
def dequantize_kernel(norms, packed, bits, bucket, out, add):  # type: ignore[no-untyped-def]
    """Decode groups of 8, a thread each."""
    n = out.shape[0]
    s = np.int32((1 << (bits - 1)) - 1)
    mask = np.uint64((1 << bits) - 1)
    for g in range(cuda.grid(1), (n + 7) // 8, cuda.gridsize(1)):
        word = _load(packed, g, bits)
        unit = _div(norms[8 * g // bucket], np.float32(s))
        for j in range(min(8, n - 8 * g)):
            field = np.int32((word >> np.uint64(j * bits)) & mask)
            level = field & s
            value = _mul(np.float32(-level if field > s else level), unit)
            if add:
                value = _add(out[8 * g + j], value)
            out[8 * g + j] = value


def quantize(
    x: Any, bits: int, bucket: int, euclidean: bool, key: int, norms: Any, packed: Any
) -> tuple[Any, Any, int]:
    """Quantise on the device of `x`; see `msl_kernels.qsgd.quantize`."""
    from msl_kernels.quantize import n_buckets, packed_nbytes

    n = x.shape[0]
    buckets = n_buckets(n, bucket)
    norms = cuda.device_array(buckets, np.float32) if norms is None else norms
    packed = cuda.device_array(packed_nbytes(n, bits), np.uint8) if packed is None else packed
    if not buckets:
        return norms, packed, -1
    bad = cuda.to_device(np.array([n], np.int64))
    quantize_kernel[_blocks(buckets), THREADS](
        x, bits, bucket, euclidean, *split(key), norms, packed, bad
    )
    first = int(bad.copy_to_host()[0])
    return norms, packed, first if first < n else -1


def dequantize(norms: Any, packed: Any, n: int, bits: int, bucket: int, out: Any, add: bool) -> Any:
    """Decode on the device of `norms`; see `msl_kernels.qsgd.dequantize`."""
    out = cuda.device_array(n, np.float32) if out is None else out
    if n:
        blocks = _blocks(-(-n // (8 * THREADS)))
        dequantize_kernel[blocks, THREADS](norms, packed, bits, bucket, out, add)
    return out
