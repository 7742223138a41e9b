"""Cubic-lattice codec on the CPU, block by block: dither, lattice point, colour, packed bytes.

Adding 1.5 * 2^52 to a float64 below 2^51 rounds it to an integer, half to even, and leaves that
integer in the low bits of the sum: a colour is a mask away, with no conversion and no division.
"""

import numpy as np
from numba import njit

from msl_kernels.dither import draw_dithers
from msl_kernels.quantize.packing import pack_part, unpack_part
from msl_kernels.simd import prefer_wide, prefetch

__all__ = ["BLOCK", "MULTIPLIERS", "decode_blocks", "encode_blocks", "odd", "quantised_blocks"]

BLOCK = 1024
"""Numbers whose dither, colours, multipliers and copies lie in L1 together."""
MAGIC = np.float64(1.5 * 2**52)
EXPONENT = np.int64(0x4330000000000000)
"""What rounding by `MAGIC` leaves from bit 52 on, unless a number is too large, Inf or NaN."""
STEP = np.float64(2.0**-16)
SHIFT = np.float64(2.0**-17 - 0.5)
MIX0 = np.uint64(0x9E3779B97F4A7C15)
MIX1 = np.uint64(0xBF58476D1CE4E5B9)


def odd(i):  # type: ignore[no-untyped-def]
    """Return an odd uint64 mixed from i; number i has odd(i % BLOCK) * odd(BLOCK + i // BLOCK).

    A linear function of i would not do: wrap-arounds at i and i + 3 would cancel those at i + 1
    and i + 2. Twice mixed, no pattern of indices cancels.
    """
    h = i * MIX0
    h = (h ^ (h >> np.uint64(32))) * MIX1
    return (h ^ (h >> np.uint64(29))) | np.uint64(1)


odd_on_cpu = njit(nogil=True, forceinline=True)(odd)
MULTIPLIERS = odd(np.arange(BLOCK, dtype=np.uint64))


@njit(nogil=True, forceinline=True, _nrt=False)
def _bits(x):  # type: ignore[no-untyped-def]
    return np.float64(x).view(np.int64)


@njit(nogil=True, forceinline=True, _nrt=False, fastmath={"contract"})
def _dither(half):  # type: ignore[no-untyped-def]
    """Return u of a half-word; exact, hence the same with or without a fused multiply-add."""
    return np.float64(np.uint64(half)) * STEP + SHIFT


@njit(nogil=True, forceinline=True, _nrt=False)
def _points(x, inverse, mask, halves, multipliers, colours):  # type: ignore[no-untyped-def]
    """Write the colours of x; return its sum, and a word: 0 from bit 52 on if all is well."""
    prefer_wide()
    total, spoiled = np.uint64(0), np.int64(0)
    for i in range(len(x)):
        bits = _bits((np.float64(x[i]) * inverse - _dither(halves[i])) + MAGIC)
        spoiled |= bits ^ EXPONENT
        total += np.uint64(bits) * multipliers[i]
        colours[i] = bits & mask
    return total, spoiled


@njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def encode_blocks(  # type: ignore[no-untyped-def]
    x, first, last, inverse, bits, key0, key1, packed, multipliers, colours, words
):
    """Encode blocks first..last-1; return their share of the sum and the first bad index or -1.

    `multipliers` are MULTIPLIERS; `colours` (BLOCK,) uint8 and `words` (BLOCK / 4,) uint64 are
    scratch.
    """
    prefer_wide()
    total = np.uint64(0)
    mask = np.int64((1 << bits) - 1)
    stride = BLOCK * bits // 8
    halves = words.view(np.uint16)
    for b in range(first, last):
        start = b * BLOCK
        part = x[start : start + BLOCK]
        n = len(part)
        room = packed[b * stride : b * stride + (n * bits + 7) // 8]
        prefetch(x, start + BLOCK, start + 2 * BLOCK)
        draw_dithers(b * (BLOCK // 8), (n + 7) // 8, key0, key1, words)
        if bits == 16:
            wide = room.view(np.uint16)
            share, spoiled = _points(part, inverse, mask, halves, multipliers, wide)
        else:
            share, spoiled = _points(part, inverse, mask, halves, multipliers, colours)
        if spoiled >> np.int64(52):
            for i in range(n):
                point = _bits((np.float64(part[i]) * inverse - _dither(halves[i])) + MAGIC)
                if (point ^ EXPONENT) >> np.int64(52):
                    return total, start + i
        total += share * odd_on_cpu(np.uint64(BLOCK + b))
        if bits < 16:
            pack_part(colours, n, bits, words.view(np.uint8), room)
    return total, -1


@njit(nogil=True, forceinline=True, _nrt=False)
def _nearest(near, side, inverse, bits, halves, multipliers, colours, out):  # type: ignore[no-untyped-def]
    """Write the points of the colours nearest to `near`; return their sum.

    Adding 1.5 * 2^52 * q rounds to a multiple of q: no division by it.
    """
    prefer_wide()
    total = np.uint64(0)
    magic_of_q = MAGIC * np.float64(1 << bits)
    for i in range(len(out)):
        u = _dither(halves[i])
        colour = np.float64(np.uint64(colours[i]))
        t = np.float64(near[i]) * inverse - u
        point = colour + (((t - colour) + magic_of_q) - magic_of_q)
        total += np.uint64(_bits(point + MAGIC)) * multipliers[i]
        out[i] = np.float32(side * (point + u))
    return total


@njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def decode_blocks(  # type: ignore[no-untyped-def]
    packed,
    reference,
    first,
    last,
    side,
    inverse,
    bits,
    key0,
    key1,
    out,
    zeros,
    multipliers,
    colours,
    words,
):
    """Decode blocks first..last-1; return their share of the sum.

    An empty reference stands for zeros. `zeros` (BLOCK,) float32 holds them; the other scratch
    is that of `encode_blocks`.
    """
    prefer_wide()
    total = np.uint64(0)
    stride = BLOCK * bits // 8
    halves = words.view(np.uint16)
    for b in range(first, last):
        start = b * BLOCK
        part = out[start : start + BLOCK]
        n = len(part)
        near = reference[start : start + n] if len(reference) else zeros[:n]
        room = packed[b * stride : b * stride + (n * bits + 7) // 8]
        prefetch(reference, start + BLOCK, start + 2 * BLOCK)
        if bits < 16:
            unpack_part(room, n, bits, words.view(np.uint8), colours)
        draw_dithers(b * (BLOCK // 8), (n + 7) // 8, key0, key1, words)
        if bits == 16:
            wide = room.view(np.uint16)
            share = _nearest(near, side, inverse, bits, halves, multipliers, wide, part)
        else:
            share = _nearest(near, side, inverse, bits, halves, multipliers, colours, part)
        total += share * odd_on_cpu(np.uint64(BLOCK + b))
    return total


@njit(nogil=True, forceinline=True, _nrt=False)
def _own(x, side, inverse, halves, out):  # type: ignore[no-untyped-def]
    prefer_wide()
    for i in range(len(x)):
        u = _dither(halves[i])
        point = ((np.float64(x[i]) * inverse - u) + MAGIC) - MAGIC
        out[i] = np.float32(side * (point + u))


@njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def quantised_blocks(x, first, last, side, inverse, key0, key1, out, words):  # type: ignore[no-untyped-def]
    """Write s (z + u) for blocks first..last-1; `words` (BLOCK / 4,) uint64 is scratch."""
    prefer_wide()
    halves = words.view(np.uint16)
    for b in range(first, last):
        start = b * BLOCK
        part = x[start : start + BLOCK]
        prefetch(x, start + BLOCK, start + 2 * BLOCK)
        draw_dithers(b * (BLOCK // 8), (len(part) + 7) // 8, key0, key1, words)
        _own(part, side, inverse, halves, out[start : start + BLOCK])
