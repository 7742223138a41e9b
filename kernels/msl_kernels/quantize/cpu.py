"""Bucketed min-max quantiser on the CPU: two passes over a bucket while it lies in L1.

What the compiler vectorises decides the speed: minimum and maximum run on integer keys in the
order of the floats, levels go to a byte scratch, and groups of eight are packed by shifts of
64-bit words.
"""

import numpy as np
from numba import njit

from msl_kernels.philox import draw_on_cpu
from msl_kernels.quantize.packing import pack, unpack

__all__ = ["dequantize_buckets", "quantize_buckets"]

_FLIP = np.int32(0x7FFFFFFF)
_INF_KEY = np.int32(0x7F800000)
_TINY = np.float32(1e-10)
_HALF = np.float32(0.5)
_DITHER = np.float32(1.0 / 65536.0)
_ONE = np.float32(1.0)


@njit(nogil=True, forceinline=True)
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


@njit(nogil=True, forceinline=True)
def _unkey(key, scratch):  # type: ignore[no-untyped-def]
    """Return the float of a key (the map is its own inverse)."""
    scratch.view(np.int32)[0] = np.int32(key ^ ((key >> np.int32(31)) & _FLIP))
    return scratch[0]


@njit(nogil=True, forceinline=True)
def _level_nearest(x, lo, inverse, top, levels):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        levels[i] = np.uint8(min(np.int32((x[i] - lo) * inverse + _HALF), top))


@njit(nogil=True, forceinline=True)
def _level_stochastic(x, lo, inverse, top, first_group, key0, key1, words, levels):  # type: ignore[no-untyped-def]
    for g in range((len(x) + 7) // 8):
        index = np.uint64(first_group) + np.uint64(g)
        words[2 * g], words[2 * g + 1] = draw_on_cpu(index, key0, key1)
    halves = words.view(np.uint16)
    for i in range(len(x)):
        dither = (np.float32(np.int32(halves[i])) + _HALF) * _DITHER
        levels[i] = np.uint8(min(np.int32((x[i] - lo) * inverse + dither), top))


@njit(nogil=True, forceinline=True)
def _emit(levels, bits, count, packed):  # type: ignore[no-untyped-def]
    """Pack the first `count` levels; a cut last group has fewer than `bits` bytes to fill."""
    groups = (count + 7) // 8
    if len(packed) == bits * groups:
        pack(levels, bits, groups, packed)
    else:
        levels[count:] = 0
        whole = np.empty(bits * groups, np.uint8)
        pack(levels, bits, groups, whole)
        packed[:] = whole[: len(packed)]


@njit(nogil=True, cache=True, error_model="numpy")
def quantize_buckets(  # type: ignore[no-untyped-def]
    x, first, last, bits, bucket, stochastic, key0, key1, meta, packed
):
    """Quantise buckets first..last-1; return the first that has no finite range, or -1."""
    levels = np.empty(bucket, np.uint8)
    words = np.empty(bucket // 4, np.uint64)
    scratch = np.empty(1, np.float32)
    top = np.int32((1 << bits) - 1)
    stride = bucket * bits // 8
    for b in range(first, last):
        part = x[b * bucket : (b + 1) * bucket]
        low, high = _range(part.view(np.int32))
        lo = _unkey(low, scratch)
        spread = _unkey(high, scratch) - lo
        if high >= _INF_KEY or low <= ~_INF_KEY or not spread < np.inf:
            return b
        unit = spread / np.float32(top)
        if unit < _TINY:
            levels[:] = 0
        elif stochastic:
            group = b * (bucket // 8)
            _level_stochastic(part, lo, _ONE / unit, top, group, key0, key1, words, levels)
        else:
            _level_nearest(part, lo, _ONE / unit, top, levels)
        meta[b, 0], meta[b, 1] = unit, lo
        start = b * stride
        _emit(levels, bits, len(part), packed[start : start + (len(part) * bits + 7) // 8])
    return -1


@njit(nogil=True, forceinline=True)
def _write(levels, unit, lo, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] = lo + unit * np.float32(np.int32(levels[i]))


@njit(nogil=True, forceinline=True)
def _add(levels, unit, lo, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] += lo + unit * np.float32(np.int32(levels[i]))


@njit(nogil=True, cache=True)
def dequantize_buckets(meta, packed, first, last, bits, bucket, out, add):  # type: ignore[no-untyped-def]
    """Decode buckets first..last-1 as lo + unit * level."""
    levels = np.empty(bucket, np.uint8)
    stride = bucket * bits // 8
    for b in range(first, last):
        part = out[b * bucket : (b + 1) * bucket]
        groups = (len(part) + 7) // 8
        room = packed[b * stride : b * stride + bits * groups]
        if len(room) < bits * groups:
            whole = np.zeros(bits * groups, np.uint8)
            whole[: len(room)] = room
            unpack(whole, bits, groups, levels)
        else:
            unpack(room, bits, groups, levels)
        unit, lo = meta[b, 0], meta[b, 1]
        if add:
            _add(levels, unit, lo, part)
        else:
            _write(levels, unit, lo, part)
