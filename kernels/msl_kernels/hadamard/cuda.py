"""Randomised block Hadamard rotation on CUDA: a thread block per Hadamard block, in shared memory.

Two stages at a time halve the traffic and change no bit. The largest block, 8192 numbers, and its
signs fill 33 of the 48 KiB that every device has.
"""

import math
from typing import Any

import numpy as np
from numba import config, cuda

from msl_kernels.philox import draw, split
from msl_kernels.quantize.cuda import _add, _mul

__all__ = [
    "BLOCK_MAX",
    "THREADS",
    "WORDS",
    "draw_signs",
    "flip",
    "grid",
    "rotate",
    "rotate_into",
    "rotate_kernel",
    "transform",
    "unrotate",
    "unrotate_kernel",
]

# On the simulator every thread is a real one.
THREADS = 32 if config.ENABLE_CUDASIM else 256
BLOCK_MAX = 8192
WORDS = BLOCK_MAX // 64

_draw = cuda.jit(device=True)(draw)


@cuda.jit(device=True)
def draw_signs(start, m, key0, key1, words):  # type: ignore[no-untyped-def]
    """Leave the signs of numbers start..start+m-1 in shared words, from bit start % 128 on."""
    for i in range(cuda.threadIdx.x, (m + 127) // 128, THREADS):
        index = np.uint64(start // 128 + i)
        words[2 * i], words[2 * i + 1] = _draw(index, key0, key1)
    cuda.syncthreads()


@cuda.jit(device=True)
def flip(value, words, bit):  # type: ignore[no-untyped-def]
    """Return a number, negated where its bit is set."""
    if (words[bit // 64] >> np.uint64(bit % 64)) & np.uint64(1):
        return -value
    return value


@cuda.jit(device=True)
def transform(data, m):  # type: ignore[no-untyped-def]
    """Leave H data, scaled, in the first m shared numbers; wait before and after."""
    cuda.syncthreads()
    t, h = cuda.threadIdx.x, 1
    while 4 * h <= m:
        for q in range(t, m // 4, THREADS):
            i = q // h * (4 * h) + q % h
            a, b, c, d = data[i], data[i + h], data[i + 2 * h], data[i + 3 * h]
            a, b, c, d = _add(a, b), _add(a, -b), _add(c, d), _add(c, -d)
            data[i], data[i + h] = _add(a, c), _add(b, d)
            data[i + 2 * h], data[i + 3 * h] = _add(a, -c), _add(b, -d)
        cuda.syncthreads()
        h *= 4
    if h < m:
        for i in range(t, h, THREADS):
            a, b = data[i], data[i + h]
            data[i], data[i + h] = _add(a, b), _add(a, -b)
        cuda.syncthreads()
    scale = np.float32(1.0 / math.sqrt(np.float64(m)))
    for i in range(t, m, THREADS):
        data[i] = _mul(data[i], scale)
    cuda.syncthreads()


@cuda.jit(device=True)
def rotate_into(x, start, m, key0, key1, words, data):  # type: ignore[no-untyped-def]
    """Leave the rotation of x[start : start + m], padded with zeros, in shared data."""
    draw_signs(start, m, key0, key1, words)
    for i in range(cuda.threadIdx.x, m, THREADS):
        value = x[start + i] if start + i < x.shape[0] else np.float32(0.0)
        data[i] = flip(value, words, start % 128 + i)
    transform(data, m)


@cuda.jit
def rotate_kernel(x, block, key0, key1, y):  # type: ignore[no-untyped-def]
    """Rotate blocks blockIdx.x, blockIdx.x + gridDim.x, ..."""
    data = cuda.shared.array(BLOCK_MAX, np.float32)
    words = cuda.shared.array(WORDS, np.uint64)
    size = y.shape[0]
    for start in range(cuda.blockIdx.x * block, size, cuda.gridDim.x * block):
        m = min(block, size - start)
        rotate_into(x, start, m, key0, key1, words, data)
        for i in range(cuda.threadIdx.x, m, THREADS):
            y[start + i] = data[i]
        # The next block overwrites what the slowest thread may still read.
        cuda.syncthreads()


@cuda.jit
def unrotate_kernel(y, block, key0, key1, x):  # type: ignore[no-untyped-def]
    """Rotate blocks blockIdx.x, blockIdx.x + gridDim.x, ... back."""
    data = cuda.shared.array(BLOCK_MAX, np.float32)
    words = cuda.shared.array(WORDS, np.uint64)
    size, n, t = y.shape[0], x.shape[0], cuda.threadIdx.x
    for start in range(cuda.blockIdx.x * block, size, cuda.gridDim.x * block):
        m = min(block, size - start)
        draw_signs(start, m, key0, key1, words)
        for i in range(t, m, THREADS):
            data[i] = y[start + i]
        transform(data, m)
        for i in range(t, min(m, n - start), THREADS):
            x[start + i] = flip(data[i], words, start % 128 + i)
        cuda.syncthreads()


def grid(blocks: int) -> int:
    """Return a grid that fills a large device."""
    return min(blocks, 2 if config.ENABLE_CUDASIM else 4096)


def rotate(x: Any, key: int, block: int, out: Any) -> Any:
    """Rotate on the device of `x`; see `msl_kernels.hadamard.rotate`."""
    from msl_kernels.hadamard import padded_size

    n = x.shape[0]
    y = cuda.device_array(padded_size(n, block), np.float32) if out is None else out
    if n:
        rotate_kernel[grid(-(-n // block)), THREADS](x, block, *split(key), y)
    return y


def unrotate(y: Any, key: int, n: int, block: int, out: Any) -> Any:
    """Rotate back on the device of `y`; see `msl_kernels.hadamard.unrotate`."""
    x = cuda.device_array(n, np.float32) if out is None else out
    if n:
        unrotate_kernel[grid(-(-n // block)), THREADS](y, block, *split(key), x)
    return x
