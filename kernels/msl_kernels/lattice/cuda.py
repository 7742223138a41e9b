"""Cubic-lattice codec on CUDA: a thread per group of 8 numbers, one call of the generator each.

The arithmetic is that of the CPU, rounding by rounding: products and sums of float64 go through
`_mul` and `_add`, which the compiler may not fuse. Sums mod 2^64 may be taken in any order.
"""

from typing import Any

import numpy as np
from numba import config, cuda

from msl_kernels.dither import ROUNDS
from msl_kernels.lattice.cpu import (
    BLOCK,
    EXPONENT,
    MAGIC,
    SHIFT,
    STEP,
    odd,
)
from msl_kernels.philox import draw, split

__all__ = ["THREADS", "decode", "decode_kernel", "encode", "encode_kernel", "quantised"]

THREADS = 64
_LOW = np.uint64(0xFFFF)

_draw = cuda.jit(device=True)(draw)

if config.ENABLE_CUDASIM:

    @cuda.jit(device=True)
    def _mul(a, b):  # type: ignore[no-untyped-def]
        return np.float64(a * b)

    @cuda.jit(device=True)
    def _add(a, b):  # type: ignore[no-untyped-def]
        return np.float64(a + b)

    @cuda.jit(device=True)
    def _bits(x):  # type: ignore[no-untyped-def]
        return x.view(np.int64)

    @cuda.jit(device=True)
    def _single(x):  # type: ignore[no-untyped-def]
        return np.float32(x)

    # NumPy warns where the product or the sum of two scalars wraps around.
    @cuda.jit(device=True)
    def _odd(i):  # type: ignore[no-untyped-def]
        with np.errstate(over="ignore"):
            return odd(i)

    @cuda.jit(device=True)
    def _times(a, b):  # type: ignore[no-untyped-def]
        with np.errstate(over="ignore"):
            return a * b

    @cuda.jit(device=True)
    def _plus(a, b):  # type: ignore[no-untyped-def]
        with np.errstate(over="ignore"):
            return a + b

else:
    from numba.cuda import libdevice

    @cuda.jit(device=True)
    def _mul(a, b):  # type: ignore[no-untyped-def]
        return libdevice.dmul_rn(a, b)

    @cuda.jit(device=True)
    def _add(a, b):  # type: ignore[no-untyped-def]
        return libdevice.dadd_rn(a, b)

    @cuda.jit(device=True)
    def _bits(x):  # type: ignore[no-untyped-def]
        return np.int64(libdevice.double_as_longlong(x))

    @cuda.jit(device=True)
    def _single(x):  # type: ignore[no-untyped-def]
        return libdevice.double2float_rn(x)

    _odd = cuda.jit(device=True)(odd)

    @cuda.jit(device=True)
    def _times(a, b):  # type: ignore[no-untyped-def]
        return a * b

    @cuda.jit(device=True)
    def _plus(a, b):  # type: ignore[no-untyped-def]
        return a + b


@cuda.jit(device=True)
def _dither(early, late, j):  # type: ignore[no-untyped-def]
    half = ((early if j < 4 else late) >> np.uint64(16 * (j % 4))) & _LOW
    return _add(_mul(np.float64(half), STEP), SHIFT)


@cuda.jit(device=True)
def _share(point, i):  # type: ignore[no-untyped-def]
    """Return what number i adds to the sum; `point` is a number with `MAGIC` added."""
    ours = _times(_odd(np.uint64(i % BLOCK)), _odd(np.uint64(BLOCK + i // BLOCK)))
    return _times(np.uint64(_bits(point)), ours)


@cuda.jit(device=True)
def _gather(share, sums, totals):  # type: ignore[no-untyped-def]
    """Leave the sum of the shares of a block's threads in its place of `totals`."""
    t = cuda.threadIdx.x
    sums[t] = share
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if t < half:
            sums[t] = _plus(sums[t], sums[t + half])
        cuda.syncthreads()
        half //= 2
    if t == 0:
        totals[cuda.blockIdx.x] = sums[0]


@cuda.jit
def encode_kernel(x, inverse, bits, key0, key1, packed, totals, bad):  # type: ignore[no-untyped-def]
    """Encode groups of 8; a block leaves its sum in `totals`, `bad` (1,) the bad index."""
    sums = cuda.shared.array(THREADS, np.uint64)
    n = x.shape[0]
    mask = np.int64((1 << bits) - 1)
    share = np.uint64(0)
    for g in range(cuda.grid(1), (n + 7) // 8, cuda.gridsize(1)):
        early, late = _draw(np.uint64(g), key0, key1, ROUNDS)
        lower, upper = np.uint64(0), np.uint64(0)
        for j in range(min(8, n - 8 * g)):
            i = 8 * g + j
            t = _add(_mul(np.float64(x[i]), inverse), -_dither(early, late, j))
            point = _add(t, MAGIC)
            if (_bits(point) ^ EXPONENT) >> np.int64(52) != 0:
                cuda.atomic.min(bad, 0, i)
            share = _plus(share, _share(point, i))
            colour = np.uint64(_bits(point) & mask)
            if j * bits < 64:
                lower |= colour << np.uint64(j * bits)
            else:
                upper |= colour << np.uint64(j * bits - 64)
        # The last group also writes the padding.
        at = g * bits
        end = packed.shape[0] if 8 * g + 8 >= n else at + bits
        for i in range(at, end):
            packed[i] = np.uint8(lower & np.uint64(255))
            lower = (lower >> np.uint64(8)) | (upper << np.uint64(56))
            upper >>= np.uint64(8)
    _gather(share, sums, totals)


@cuda.jit
def decode_kernel(packed, reference, side, inverse, bits, key0, key1, out, totals):  # type: ignore[no-untyped-def]
    """Decode groups of 8; an empty reference stands for zeros."""
    sums = cuda.shared.array(THREADS, np.uint64)
    n = out.shape[0]
    mask = np.uint64((1 << bits) - 1)
    magic_of_q = _mul(MAGIC, np.float64(1 << bits))
    share = np.uint64(0)
    for g in range(cuda.grid(1), (n + 7) // 8, cuda.gridsize(1)):
        early, late = _draw(np.uint64(g), key0, key1, ROUNDS)
        lower, upper = np.uint64(0), np.uint64(0)
        for i in range(min(bits, packed.shape[0] - g * bits)):
            byte = np.uint64(packed[g * bits + i])
            if i < 8:
                lower |= byte << np.uint64(8 * i)
            else:
                upper |= byte << np.uint64(8 * i - 64)
        for j in range(min(8, n - 8 * g)):
            i = 8 * g + j
            word = (
                lower >> np.uint64(j * bits) if j * bits < 64 else upper >> np.uint64(j * bits - 64)
            )
            colour = np.float64(np.int64(word & mask))
            u = _dither(early, late, j)
            near = np.float64(reference[i]) if reference.shape[0] else np.float64(0.0)
            t = _add(_mul(near, inverse), -u)
            multiple = _add(_add(_add(t, -colour), magic_of_q), -magic_of_q)
            point = _add(colour, multiple)
            share = _plus(share, _share(_add(point, MAGIC), i))
            out[i] = _single(_mul(side, _add(point, u)))
    _gather(share, sums, totals)


@cuda.jit
def quantised_kernel(x, side, inverse, key0, key1, out):  # type: ignore[no-untyped-def]
    """Write s (z + u), a thread per group of 8."""
    n = x.shape[0]
    for g in range(cuda.grid(1), (n + 7) // 8, cuda.gridsize(1)):
        early, late = _draw(np.uint64(g), key0, key1, ROUNDS)
        for i in range(8 * g, min(8 * g + 8, n)):
            u = _dither(early, late, i - 8 * g)
            t = _add(_mul(np.float64(x[i]), inverse), -u)
            point = _add(_add(t, MAGIC), -MAGIC)
            out[i] = _single(_mul(side, _add(point, u)))


def _blocks(n: int) -> int:
    """Return a grid that fills a large device; on the simulator every thread is a real one."""
    return min(-(-n // (8 * THREADS)), 2 if config.ENABLE_CUDASIM else 4096)


def encode(x: Any, side: float, bits: int, key: int, packed: Any) -> tuple[Any, int, int]:
    """Encode on the device of `x`; see `msl_kernels.lattice.encode`."""
    from msl_kernels.lattice import fold
    from msl_kernels.quantize import packed_nbytes

    n = x.shape[0]
    packed = cuda.device_array(packed_nbytes(n, bits), np.uint8) if packed is None else packed
    if not n:
        return packed, fold([]), -1
    totals = cuda.device_array(_blocks(n), np.uint64)
    bad = cuda.to_device(np.array([n], np.int64))
    encode_kernel[len(totals), THREADS](x, 1.0 / side, bits, *split(key), packed, totals, bad)
    first = int(bad.copy_to_host()[0])
    return packed, fold(totals.copy_to_host()), first if first < n else -1


def decode(
    packed: Any, reference: Any, side: float, n: int, bits: int, key: int, out: Any
) -> tuple[Any, int]:
    """Decode on the device of `packed`; see `msl_kernels.lattice.decode`."""
    from msl_kernels.lattice import fold

    out = cuda.device_array(n, np.float32) if out is None else out
    if not n:
        return out, fold([])
    near = cuda.device_array(0, np.float32) if reference is None else reference
    totals = cuda.device_array(_blocks(n), np.uint64)
    how = (side, 1.0 / side, bits, *split(key))
    decode_kernel[len(totals), THREADS](packed, near, *how, out, totals)
    return out, fold(totals.copy_to_host())


def quantised(x: Any, side: float, key: int, out: Any) -> Any:
    """Write s (z + u) on the device of `x`; see `msl_kernels.lattice.quantised`."""
    n = x.shape[0]
    out = cuda.device_array(n, np.float32) if out is None else out
    if n:
        quantised_kernel[_blocks(n), THREADS](x, side, 1.0 / side, *split(key), out)
    return out
