"""Rotated Lloyd-Max quantiser on CUDA: a thread block per Hadamard block, in shared memory.

The arithmetic is that of the CPU, rounding by rounding; sums run on 64 threads, which is what
keeps their order. All shared arrays together take 42 of the 48 KiB that every device has.
"""

import math
from typing import Any

import numpy as np
from numba import cuda

from msl_kernels.hadamard.cuda import (
    BLOCK_MAX,
    THREADS,
    WORDS,
    draw_signs,
    flip,
    grid,
    rotate_into,
    transform,
)
from msl_kernels.philox import split
from msl_kernels.quantize.cuda import _add, _first_bad, _mul

__all__ = ["decode", "decode_kernel", "encode", "encode_kernel"]

_PARTIALS = 64
_EDGES = 7
_MAX = np.float32(3.4028234663852886e38)


@cuda.jit(device=True)
def _norm2(data, m, partial):  # type: ignore[no-untyped-def]
    """Return the sum of squares, from 64 strided partial sums in float64."""
    width, t = min(m, _PARTIALS), cuda.threadIdx.x
    for j in range(t, width, THREADS):
        total = np.float64(0.0)
        for i in range(j, m, width):
            total += np.float64(data[i]) * np.float64(data[i])
        partial[j] = total
    cuda.syncthreads()
    while width > 1:
        width //= 2
        if t < width:
            partial[t] += partial[t + width]
        cuda.syncthreads()
    return partial[0]


@cuda.jit(device=True)
def _along(data, fields, levels, m, along, squares):  # type: ignore[no-untyped-def]
    """Leave <c, y> in along[0] and <c, c> in squares[0]."""
    width, t = min(m, _PARTIALS), cuda.threadIdx.x
    for j in range(t, width, THREADS):
        total, square = np.float32(0.0), np.float32(0.0)
        for i in range(j, m, width):
            c = levels[fields[i]]
            total = _add(total, _mul(c, data[i]))
            square = _add(square, _mul(c, c))
        along[j], squares[j] = total, square
    cuda.syncthreads()
    while width > 1:
        width //= 2
        if t < width:
            along[t] = _add(along[t], along[t + width])
            squares[t] = _add(squares[t], squares[t + width])
        cuda.syncthreads()


@cuda.jit(device=True)
def _choose(data, m, edges, top, fields):  # type: ignore[no-untyped-def]
    """Write the field of every number: count the edges that it exceeds, and add its sign."""
    for i in range(cuda.threadIdx.x, m, THREADS):
        field = top if math.copysign(1.0, data[i]) < 0.0 else 0
        for j in range(_EDGES):
            if abs(data[i]) > edges[j]:
                field += 1
        fields[i] = np.uint8(field)
    cuda.syncthreads()


@cuda.jit(device=True)
def _pack(fields, start, m, bits, packed):  # type: ignore[no-untyped-def]
    """Pack groups of eight fields, a thread each."""
    for g in range(cuda.threadIdx.x, m // 8, THREADS):
        word = np.uint64(0)
        for j in range(8):
            word |= np.uint64(fields[8 * g + j]) << np.uint64(j * bits)
        for i in range(bits):
            packed[(start // 8 + g) * bits + i] = np.uint8(word & np.uint64(255))
            word >>= np.uint64(8)


@cuda.jit
def encode_kernel(  # type: ignore[no-untyped-def]
    x, size, block, bits, key0, key1, unbiased, levels, midpoints, scales, packed, bad
):
    """Encode blocks blockIdx.x, blockIdx.x + gridDim.x, ... of the `size` padded numbers."""
    data = cuda.shared.array(BLOCK_MAX, np.float32)
    words = cuda.shared.array(WORDS, np.uint64)
    fields = cuda.shared.array(BLOCK_MAX, np.uint8)
    partial = cuda.shared.array(_PARTIALS, np.float64)
    along = cuda.shared.array(_PARTIALS, np.float32)
    squares = cuda.shared.array(_PARTIALS, np.float32)
    edges = cuda.shared.array(_EDGES, np.float32)
    t = cuda.threadIdx.x
    for b in range(cuda.blockIdx.x, scales.shape[0], cuda.gridDim.x):
        start = b * block
        m = min(block, size - start)
        rotate_into(x, start, m, key0, key1, words, data)
        norm2 = _norm2(data, m, partial)
        if norm2 == 0.0:
            for i in range(t, m, THREADS):
                fields[i] = 0
            cuda.syncthreads()
        else:
            if t < _EDGES:
                edges[t] = np.float32(midpoints[t] * math.sqrt(norm2 / np.float64(m)))
            cuda.syncthreads()
            _choose(data, m, edges, 1 << (bits - 1), fields)
            _along(data, fields, levels, m, along, squares)
        _pack(fields, start, m, bits, packed)
        if t == 0:
            c_y, c_c = np.float64(along[0]), np.float64(squares[0])
            scale = np.float32(0.0)
            if norm2 != 0.0:
                scale = np.float32(norm2 / c_y if unbiased else c_y / c_c)
            scales[b] = scale
            if not (along[0] <= _MAX and scale <= _MAX):
                cuda.atomic.min(bad, 0, _first_bad(x, start, min(start + m, x.shape[0])))
            if start + m == size:
                for i in range(size * bits // 8, packed.shape[0]):
                    packed[i] = 0
        # The next block overwrites what the slowest thread may still read.
        cuda.syncthreads()


@cuda.jit
def decode_kernel(scales, packed, size, block, bits, key0, key1, levels, out, add):  # type: ignore[no-untyped-def]
    """Decode blocks blockIdx.x, blockIdx.x + gridDim.x, ... of the `size` padded numbers."""
    data = cuda.shared.array(BLOCK_MAX, np.float32)
    words = cuda.shared.array(WORDS, np.uint64)
    n, t = out.shape[0], cuda.threadIdx.x
    mask = np.uint64((1 << bits) - 1)
    for b in range(cuda.blockIdx.x, scales.shape[0], cuda.gridDim.x):
        start = b * block
        m = min(block, size - start)
        draw_signs(start, m, key0, key1, words)
        for g in range(t, m // 8, THREADS):
            word = np.uint64(0)
            for i in range(bits):
                word |= np.uint64(packed[(start // 8 + g) * bits + i]) << np.uint64(8 * i)
            for j in range(8):
                field = (word >> np.uint64(j * bits)) & mask
                data[8 * g + j] = _mul(scales[b], levels[field])
        transform(data, m)
        for i in range(t, min(m, n - start), THREADS):
            value = flip(data[i], words, start % 128 + i)
            if add:
                value = _add(out[start + i], value)
            out[start + i] = value
        cuda.syncthreads()


def encode(
    x: Any, bits: int, key: int, block: int, unbiased: bool, scales: Any, packed: Any
) -> tuple[Any, Any, int]:
    """Encode on the device of `x`; see `msl_kernels.lloyd_max.encode`."""
    from msl_kernels.hadamard import padded_size
    from msl_kernels.lloyd_max.tables import tables
    from msl_kernels.quantize import n_buckets, packed_nbytes

    n = x.shape[0]
    size, count = padded_size(n, block), n_buckets(n, block)
    scales = cuda.device_array(count, np.float32) if scales is None else scales
    packed = cuda.device_array(packed_nbytes(size, bits), np.uint8) if packed is None else packed
    if not n:
        return scales, packed, -1
    bad = cuda.to_device(np.array([n], np.int64))
    levels, midpoints = (cuda.to_device(table) for table in tables(bits))
    encode_kernel[grid(count), THREADS](
        x, size, block, bits, *split(key), unbiased, levels, midpoints, scales, packed, bad
    )
    first = int(bad.copy_to_host()[0])
    return scales, packed, first if first < n else -1


def decode(
    scales: Any, packed: Any, n: int, bits: int, key: int, block: int, out: Any, add: bool
) -> Any:
    """Decode on the device of `scales`; see `msl_kernels.lloyd_max.decode`."""
    from msl_kernels.hadamard import padded_size
    from msl_kernels.lloyd_max.tables import tables

    out = cuda.device_array(n, np.float32) if out is None else out
    if n:
        levels = cuda.to_device(tables(bits)[0])
        decode_kernel[grid(scales.shape[0]), THREADS](
            scales, packed, padded_size(n, block), block, bits, *split(key), levels, out, add
        )
    return out
