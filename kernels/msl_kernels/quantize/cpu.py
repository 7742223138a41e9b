"""Bucketed min-max quantiser on the CPU: two passes over a bucket while it lies in L1.

What the compiler vectorises decides the speed: minimum and maximum run on integers, levels go to
a byte scratch, and are packed from there. Dithers are drawn while the memory fetches the next
bucket. The functions own no memory (``_nrt=False``): counting the references of every slice
would take as long as the arithmetic.
"""

import numpy as np
from numba import njit

from msl_kernels.dither import dither, draw_dithers
from msl_kernels.quantize.packing import pack_part, unpack_part
from msl_kernels.simd import prefer_wide, prefetch

__all__ = ["dequantize_buckets", "quantize_buckets"]

_INF = np.int32(0x7F800000)
_MINUS_INF = np.uint32(0xFF800000)
_TINY = np.float32(1e-10)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)


@njit(nogil=True, forceinline=True, _nrt=False)
def _range(raw):  # type: ignore[no-untyped-def]
    """Return the bits of the smallest and of the largest number of a bucket given as bits.

    Bits order by magnitude within a sign; read without sign, negative numbers lie above the
    others, read with sign below. So the greatest bits are the two ends of a range of both signs.
    """
    prefer_wide()
    low = np.uint32(0)
    high = np.int32(-0x80000000)
    for i in range(len(raw)):
        low = max(low, np.uint32(raw[i]))
        high = max(high, raw[i])
    if (high < 0) == (np.int32(low) < 0):
        nearest = np.int32(0x7FFFFFFF)
        for i in range(len(raw)):
            nearest = min(nearest, raw[i])
        if high < 0:
            high = nearest
        else:
            low = np.uint32(nearest)
    return low, high


@njit(nogil=True, forceinline=True, _nrt=False)
def _level(x, lo, inverse, r, top):  # type: ignore[no-untyped-def]
    return min(np.int32((x - lo) * inverse + r), top)


@njit(nogil=True, forceinline=True, _nrt=False)
def _levels(x, lo, inverse, top, stochastic, words, levels):  # type: ignore[no-untyped-def]
    """Quantise to a byte per number."""
    prefer_wide()
    if stochastic:
        halves = words.view(np.uint16)
        for i in range(len(x)):
            r = dither(np.int32(halves[i]))
            levels[i] = np.uint8(_level(x[i], lo, inverse, r, top))
    else:
        for i in range(len(x)):
            levels[i] = np.uint8(_level(x[i], lo, inverse, _HALF, top))


@njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def quantize_buckets(  # type: ignore[no-untyped-def]
    x, first, last, bits, bucket, stochastic, key0, key1, meta, packed, levels, words
):
    """Quantise buckets first..last-1; return the first that has no finite range, or -1.

    `levels` (bucket,) uint8 and `words` (bucket / 4,) uint64 are scratch.
    """
    raw, raw_meta = x.view(np.int32), meta.view(np.int32)
    top = np.int32((1 << bits) - 1)
    stride = bucket * bits // 8
    for b in range(first, last):
        part = x[b * bucket : (b + 1) * bucket]
        room = packed[b * stride : b * stride + (len(part) * bits + 7) // 8]
        low, high = _range(raw[b * bucket : (b + 1) * bucket])
        raw_meta[b, 0], raw_meta[b, 1] = high, low
        lo = meta[b, 1]
        spread = meta[b, 0] - lo
        if high >= _INF or low >= _MINUS_INF or not spread < np.inf:
            return b
        unit = spread / np.float32(top)
        meta[b, 0] = unit
        if unit < _TINY:
            for i in range(len(room)):
                room[i] = 0
            continue
        prefetch(x, (b + 1) * bucket, (b + 2) * bucket)
        if stochastic:
            draw_dithers(b * (bucket // 8), (len(part) + 7) // 8, key0, key1, words)
        _levels(part, lo, _ONE / unit, top, stochastic, words, levels)
        pack_part(levels, len(part), bits, words.view(np.uint8), room)
    return -1


@njit(nogil=True, forceinline=True, _nrt=False)
def _write(levels, unit, lo, out, add):  # type: ignore[no-untyped-def]
    prefer_wide()
    if add:
        for i in range(len(out)):
            out[i] += lo + unit * np.float32(np.int32(levels[i]))
    else:
        for i in range(len(out)):
            out[i] = lo + unit * np.float32(np.int32(levels[i]))


@njit(nogil=True, cache=True, _nrt=False)
def dequantize_buckets(meta, packed, first, last, bits, bucket, out, add, levels, spare):  # type: ignore[no-untyped-def]
    """Decode buckets first..last-1 as lo + unit * level.

    `levels` and `spare`, both (bucket,) uint8, are scratch.
    """
    stride = bucket * bits // 8
    for b in range(first, last):
        part = out[b * bucket : (b + 1) * bucket]
        room = packed[b * stride : b * stride + (len(part) + 7) // 8 * bits]
        unpack_part(room, len(part), bits, spare, levels)
        _write(levels, meta[b, 0], meta[b, 1], part, add)
