"""Bucketed min-max quantiser on the CPU: two passes over a bucket while it lies in L1.

What the compiler vectorises decides the speed: minimum and maximum run on integer keys in the
order of the floats, levels go to a byte scratch, and eight bytes are packed by shifts of one
64-bit word. Random words are made for a whole bucket, lanes inside and rounds outside.
"""

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from msl_kernels.philox import BUMP0, BUMP1, MULTIPLY0, MULTIPLY1, ROUNDS

__all__ = ["dequantize", "dequantize_parallel", "quantize", "quantize_parallel"]

_FLIP = np.int32(0x7FFFFFFF)
_INF_KEY = np.int32(0x7F800000)
_TINY = np.float32(1e-10)
_WORD = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_DITHER = np.float32(1.0 / 65536.0)
_CENTRE = np.float32(0.5)
_ONE = np.float32(1.0)
# Buckets per parallel piece: a few hundred kB, enough to hide the cost of handing it out.
CHUNK = 128


@njit(nogil=True, cache=True, forceinline=True)
def _range(bits_of_x):  # type: ignore[no-untyped-def]
    """Return smallest and largest key of a bucket; keys order like the floats they come from."""
    low = np.int32(0x7FFFFFFF)
    high = np.int32(-0x80000000)
    for i in range(len(bits_of_x)):
        raw = bits_of_x[i]
        key = np.int32(raw ^ ((raw >> np.int32(31)) & _FLIP))
        low = min(low, key)
        high = max(high, key)
    return low, high


@njit(nogil=True, cache=True, forceinline=True)
def _unkey(key, scratch):  # type: ignore[no-untyped-def]
    """Return the float of a key (the map is its own inverse)."""
    scratch.view(np.int32)[0] = np.int32(key ^ ((key >> np.int32(31)) & _FLIP))
    return scratch[0]


@njit(nogil=True, cache=True, forceinline=True)
def _draw(lanes, first_group, groups, key0, key1, words):  # type: ignore[no-untyped-def]
    """Write four Philox words per group of 8 numbers, in the order of the numbers.

    A 32-bit word keeps a 64-bit lane to itself: the products then need no widening.
    """
    w0, w1, w2, w3 = lanes[0][:groups], lanes[1][:groups], lanes[2][:groups], lanes[3][:groups]
    for g in range(groups):
        index = np.uint64(first_group) + np.uint64(g)
        w0[g] = index & _WORD
        w1[g] = index >> _SHIFT
        w2[g] = 0
        w3[g] = 0
    k0, k1 = np.uint64(key0), np.uint64(key1)
    for _ in range(ROUNDS):
        for g in range(groups):
            p0 = MULTIPLY0 * (w0[g] & _WORD)
            p1 = MULTIPLY1 * (w2[g] & _WORD)
            w0[g] = (p1 >> _SHIFT) ^ w1[g] ^ k0
            w2[g] = (p0 >> _SHIFT) ^ w3[g] ^ k1
            w1[g] = p1 & _WORD
            w3[g] = p0 & _WORD
        k0 = (k0 + np.uint64(BUMP0)) & _WORD
        k1 = (k1 + np.uint64(BUMP1)) & _WORD
    for g in range(groups):
        words[2 * g] = w0[g] | (w1[g] << _SHIFT)
        words[2 * g + 1] = w2[g] | (w3[g] << _SHIFT)


@njit(nogil=True, cache=True, forceinline=True)
def _levels_nearest(x, lo, inverse, top, levels):  # type: ignore[no-untyped-def]
    """levels = min(floor((x - lo) * inverse + 1/2), top), one rounding per operation."""
    for i in range(len(x)):
        levels[i] = np.uint8(min(np.int32((x[i] - lo) * inverse + _CENTRE), top))


@njit(nogil=True, cache=True, forceinline=True)
def _levels_stochastic(x, lo, inverse, top, halves, levels):  # type: ignore[no-untyped-def]
    """levels = min(floor((x - lo) * inverse + (half + 1/2) / 65536), top)."""
    for i in range(len(x)):
        dither = (np.float32(np.int32(halves[i])) + _CENTRE) * _DITHER
        levels[i] = np.uint8(min(np.int32((x[i] - lo) * inverse + dither), top))


@njit(nogil=True, cache=True, forceinline=True)
def _pack(levels, bits, groups, packed):  # type: ignore[no-untyped-def]
    """Pack groups of 8 levels into `bits` bytes each, level j at bit offset j * bits."""
    if bits == 8:
        for i in range(8 * groups):
            packed[i] = levels[i]
        return
    if bits == 4:
        pairs = levels.view(np.uint16)
        out = packed[: 4 * groups]
        for i in range(4 * groups):
            out[i] = np.uint8(pairs[i] | (pairs[i] >> np.uint16(4)))
        return
    words = levels.view(np.uint64)
    for g in range(groups):
        word = words[g]
        packed_word = np.uint64(0)
        for j in range(8):
            level = (word >> np.uint64(8 * j)) & np.uint64(255)
            packed_word |= level << np.uint64(j * bits)
        for b in range(bits):
            packed[bits * g + b] = np.uint8(packed_word >> np.uint64(8 * b))


@njit(nogil=True, cache=True, forceinline=True)
def _unpack(packed, bits, groups, levels):  # type: ignore[no-untyped-def]
    """Undo `_pack`."""
    if bits == 8:
        for i in range(8 * groups):
            levels[i] = packed[i]
        return
    if bits == 4:
        pairs = levels.view(np.uint16)
        for i in range(4 * groups):
            byte = np.int32(packed[i])
            pairs[i] = np.uint16((byte | (byte << np.int32(4))) & np.int32(0x0F0F))
        return
    words = levels.view(np.uint64)
    mask = np.uint64((1 << bits) - 1)
    for g in range(groups):
        packed_word = np.uint64(0)
        for b in range(bits):
            packed_word |= np.uint64(packed[bits * g + b]) << np.uint64(8 * b)
        word = np.uint64(0)
        for j in range(8):
            word |= ((packed_word >> np.uint64(j * bits)) & mask) << np.uint64(8 * j)
        words[g] = word


@njit(nogil=True, cache=True, forceinline=True)
def _quantize_buckets(  # type: ignore[no-untyped-def]
    x, first, last, bits, bucket, stochastic, key0, key1, meta, packed
):
    """Quantise buckets first..last-1; return the first that has no finite range, or -1."""
    levels = np.zeros(bucket, np.uint8)
    lanes = np.empty((4, bucket // 8), np.uint64)
    words = np.empty(bucket // 4, np.uint64)
    scratch = np.empty(1, np.float32)
    top = np.int32((1 << bits) - 1)
    stride = bucket * bits // 8
    for b in range(first, last):
        part = x[b * bucket : (b + 1) * bucket]
        groups = (len(part) + 7) // 8
        low, high = _range(part.view(np.int32))
        lo, hi = _unkey(low, scratch), _unkey(high, scratch)
        spread = hi - lo
        if high >= _INF_KEY or low <= ~_INF_KEY or not spread < np.inf:
            return b
        unit = spread / np.float32(top)
        levels[len(part) :] = 0
        if unit < _TINY:
            levels[:] = 0
        elif stochastic:
            _draw(lanes, b * (bucket // 8), groups, key0, key1, words)
            _levels_stochastic(part, lo, _ONE / unit, top, words.view(np.uint16), levels)
        else:
            _levels_nearest(part, lo, _ONE / unit, top, levels)
        meta[b, 0], meta[b, 1] = unit, lo
        room = packed[b * stride : (b + 1) * stride]
        if len(room) == bits * groups:
            _pack(levels, bits, groups, room)
        else:
            # The last bucket: its last group is cut, and the padding behind it is zero.
            whole = np.zeros(max(bits * groups, len(room)), np.uint8)
            _pack(levels, bits, groups, whole)
            room[:] = whole[: len(room)]
    return -1


@njit(nogil=True, cache=True, forceinline=True)
def _write(levels, unit, lo, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] = lo + unit * np.float32(np.int32(levels[i]))


@njit(nogil=True, cache=True, forceinline=True)
def _add(levels, unit, lo, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] += lo + unit * np.float32(np.int32(levels[i]))


@njit(nogil=True, cache=True, forceinline=True)
def _dequantize_buckets(meta, packed, first, last, bits, bucket, out, add):  # type: ignore[no-untyped-def]
    """Decode buckets first..last-1 as lo + unit * level."""
    levels = np.empty(bucket, np.uint8)
    stride = bucket * bits // 8
    for b in range(first, last):
        part = out[b * bucket : (b + 1) * bucket]
        groups = (len(part) + 7) // 8
        room = packed[b * stride : (b + 1) * stride]
        if len(room) < bits * groups:
            whole = np.zeros(bits * groups, np.uint8)
            whole[: len(room)] = room
            room = whole
        _unpack(room, bits, groups, levels)
        unit, lo = meta[b, 0], meta[b, 1]
        if add:
            _add(levels, unit, lo, part)
        else:
            _write(levels, unit, lo, part)


@njit(nogil=True, cache=True, forceinline=True)
def quantize(x, bits, bucket, stochastic, key0, key1, meta, packed):  # type: ignore[no-untyped-def]
    """Quantise all buckets on this thread; return the first bad one, or -1."""
    return _quantize_buckets(
        x, 0, len(meta), bits, bucket, stochastic, key0, key1, meta, packed
    )


@njit(nogil=True, cache=True, parallel=True)
def quantize_parallel(x, bits, bucket, stochastic, key0, key1, meta, packed):  # type: ignore[no-untyped-def]
    """Do the same with chunks of buckets side by side."""
    chunks = (len(meta) + CHUNK - 1) // CHUNK
    bad = np.empty(chunks, np.int64)
    for c in prange(chunks):
        bad[c] = _quantize_buckets(
            x,
            c * CHUNK,
            min((c + 1) * CHUNK, len(meta)),
            bits,
            bucket,
            stochastic,
            key0,
            key1,
            meta,
            packed,
        )
    for c in range(chunks):
        if bad[c] >= 0:
            return bad[c]
    return -1


@njit(nogil=True, cache=True, forceinline=True)
def dequantize(meta, packed, bits, bucket, out, add):  # type: ignore[no-untyped-def]
    """Decode all buckets on this thread."""
    _dequantize_buckets(meta, packed, 0, len(meta), bits, bucket, out, add)


@njit(nogil=True, cache=True, parallel=True)
def dequantize_parallel(meta, packed, bits, bucket, out, add):  # type: ignore[no-untyped-def]
    """Do the same with chunks of buckets side by side."""
    for c in prange((len(meta) + CHUNK - 1) // CHUNK):
        last = min((c + 1) * CHUNK, len(meta))
        _dequantize_buckets(meta, packed, c * CHUNK, last, bits, bucket, out, add)
