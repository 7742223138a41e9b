"""Sums over pairs of rows on CUDA: a block per 16 x 16 pairs and chunk of columns.

A thread holds 2 x 2 pairs and reads the rows from shared memory. float32 sums run over 32
coordinates, then enter a float64 sum; the chunks are added in their order by a second kernel.
"""

from typing import Any

import numpy as np
from numba import config, cuda

from msl_kernels.quantize.cuda import _add, _mul

__all__ = [
    "add_chunks_kernel",
    "combine",
    "combine_kernel",
    "gram",
    "pair_sums_kernel",
    "squared_distances",
]

THREADS = 64
_SIDE = 16
"""Rows and columns of the square of pairs a block sums."""
_HALF = 8
_WIDTH = 32
"""Coordinates in shared memory at once, and in a float32 sum."""
_LOW, _HIGH = np.float32(2.0**-116), np.float32(3.4028234663852886e38)
"""Sums of another magnitude may have under- or overflowed."""

if config.ENABLE_CUDASIM:
    from fractions import Fraction

    @cuda.jit(device=True)
    def _fma(a, b, c):  # type: ignore[no-untyped-def]
        if not np.isfinite((a, b, c)).all():
            return a * b + c
        return np.float64(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))

else:
    from numba.cuda import libdevice

    @cuda.jit(device=True)
    def _fma(a, b, c):  # type: ignore[no-untyped-def]
        return libdevice.fma(a, b, c)


@cuda.jit(device=True)
def _load(rows, centre, first, start, stop, to):  # type: ignore[no-untyped-def]
    """Copy 16 rows of 32 coordinates, less the centre; zeros where there is none."""
    for k in range(cuda.threadIdx.x, _SIDE * _WIDTH, THREADS):
        i, c = k // _WIDTH, k % _WIDTH
        value = np.float32(0.0)
        if first + i < rows.shape[0] and start + c < stop:
            value = rows[first + i, start + c]
            if centre.shape[0]:
                value = _add(value, -centre[start + c])
        to[i, c] = value


@cuda.jit(device=True)
def _exact(rows, centre, i, j, start, stop, squared):  # type: ignore[no-untyped-def]
    """Return the sum of one pair in float64."""
    total = 0.0
    for c in range(start, stop):
        x, y = np.float64(rows[i, c]), np.float64(rows[j, c])
        if squared:
            x = y = x - y
        elif centre.shape[0]:
            x -= np.float64(centre[c])
            y -= np.float64(centre[c])
        total += x * y
    return total


@cuda.jit(device=True)
def _sum(left, right, p, q, squared):  # type: ignore[no-untyped-def]
    """Return the sum of one pair over the coordinates in shared memory."""
    total = np.float32(0.0)
    for c in range(_WIDTH):
        x, y = left[p, c], right[q, c]
        if squared:
            x = y = _add(x, -y)
        total = _add(total, _mul(x, y))
    return total


@cuda.jit
def pair_sums_kernel(rows, centre, squared, step, partial):  # type: ignore[no-untyped-def]
    """Write the upper triangle of the sums of every `step` columns to partial (chunks, n, n)."""
    left = cuda.shared.array((16, 33), np.float32)  # a 33rd number keeps threads off one bank
    right = cuda.shared.array((16, 33), np.float32)
    totals = cuda.local.array(4, np.float64)
    n, d = rows.shape
    row, column = cuda.threadIdx.x // _HALF, cuda.threadIdx.x % _HALF
    sides = (n + _SIDE - 1) // _SIDE
    squares = sides * (sides + 1) // 2
    for work in range(cuda.blockIdx.x, squares * partial.shape[0], cuda.gridDim.x):
        chunk, of = work // squares, work % squares
        i = 0
        while of >= sides - i:
            of -= sides - i
            i += 1
        i, j = _SIDE * i, _SIDE * (i + of)
        for k in range(4):
            totals[k] = 0.0
        end = min(d, (chunk + 1) * step)
        for start in range(chunk * step, end, _WIDTH):
            stop = min(end, start + _WIDTH)
            _load(rows, centre, i, start, stop, left)
            _load(rows, centre, j, start, stop, right)
            cuda.syncthreads()
            for k in range(4):
                p, q = row + k // 2 * _HALF, column + k % 2 * _HALF
                if i + p > j + q or j + q >= n or (squared and i + p == j + q):
                    continue
                value = _sum(left, right, p, q, squared)
                if abs(value) >= _LOW and abs(value) <= _HIGH:
                    totals[k] += np.float64(value)
                else:
                    totals[k] += _exact(rows, centre, i + p, j + q, start, stop, squared)
            # The next coordinates overwrite what the slowest thread may still read.
            cuda.syncthreads()
        for k in range(4):
            p, q = i + row + k // 2 * _HALF, j + column + k % 2 * _HALF
            if p <= q and q < n:
                partial[chunk, p, q] = totals[k]


@cuda.jit
def add_chunks_kernel(partial, out):  # type: ignore[no-untyped-def]
    """Add the chunks in their order; write both triangles."""
    n = out.shape[0]
    for k in range(cuda.grid(1), n * n, cuda.gridsize(1)):
        i, j = k // n, k % n
        if i <= j:
            total = 0.0
            for chunk in range(partial.shape[0]):
                total += partial[chunk, i, j]
            out[i, j] = total
            out[j, i] = total


@cuda.jit
def combine_kernel(shares, rows, out):  # type: ignore[no-untyped-def]
    """Write columns t, t + threads, ... of out (k, d), four combinations at once."""
    n, d = rows.shape
    k = shares.shape[0]
    for c in range(cuda.grid(1), d, cuda.gridsize(1)):
        for first in range(0, k, 4):
            # Beyond the end the last combination is written again.
            second, third = min(first + 1, k - 1), min(first + 2, k - 1)
            fourth = min(first + 3, k - 1)
            a = b = e = f = 0.0
            for i in range(n):
                x = np.float64(rows[i, c])
                a = _fma(shares[first, i], x, a)
                b = _fma(shares[second, i], x, b)
                e = _fma(shares[third, i], x, e)
                f = _fma(shares[fourth, i], x, f)
            out[first, c] = np.float32(a)
            out[second, c] = np.float32(b)
            out[third, c] = np.float32(e)
            out[fourth, c] = np.float32(f)


def _blocks(pieces: int) -> int:
    """Return a grid that fills a large device; on the simulator every thread is a real one."""
    return min(pieces, 2 if config.ENABLE_CUDASIM else 4096)


def _pairs(rows: Any, centre: Any, squared: bool) -> Any:
    """Return the (n, n) sums of all pairs."""
    n, d = rows.shape
    if not d:
        return cuda.to_device(np.zeros((n, n)))
    # The sums of the chunks take a 16th of the memory of the rows at most.
    step = 4096 * -(-n // 128)
    chunks, sides = -(-d // step), -(-n // _SIDE)
    if centre is None:
        centre = cuda.device_array(0, np.float32)
    partial = cuda.device_array((chunks, n, n), np.float64)
    out = cuda.device_array((n, n), np.float64)
    squares = sides * (sides + 1) // 2
    pair_sums_kernel[_blocks(squares * chunks), THREADS](rows, centre, squared, step, partial)
    add_chunks_kernel[_blocks(-(-n * n // THREADS)), THREADS](partial, out)
    return out


def squared_distances(rows: Any) -> Any:
    """Run on the device of `rows`; see `msl_kernels.pairs.squared_distances`."""
    return _pairs(rows, None, True)


def gram(rows: Any, centre: Any) -> Any:
    """Run on the device of `rows`; see `msl_kernels.pairs.gram`."""
    return _pairs(rows, centre, False)


def combine(shares: Any, rows: Any, out: Any) -> Any:
    """Run on the device of `rows`; see `msl_kernels.pairs.combine`."""
    d, one = rows.shape[1], len(shares.shape) == 1
    k = 1 if one else shares.shape[0]
    if isinstance(shares, np.ndarray):
        shares = cuda.to_device(shares)
    if out is None:
        out = cuda.device_array(d if one else (k, d), np.float32)
    if k and d:
        combine_kernel[_blocks(-(-d // THREADS)), THREADS](
            shares.reshape(k, -1), rows, out.reshape(k, d)
        )
    return out
