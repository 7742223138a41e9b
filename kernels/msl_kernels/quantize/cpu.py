"""Bucketed min-max quantiser on the CPU: two passes over a bucket while it lies in L1.

What the compiler vectorises decides the speed: minimum and maximum run on integer keys in the
order of the floats, levels go to a byte scratch, and groups of eight are packed by shifts of
64-bit words. Four bits, the usual choice, go to their bytes at once. The functions own no memory
(``_nrt=False``): counting the references of every slice would take as long as the arithmetic.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from msl_kernels.philox import draw_on_cpu
from msl_kernels.quantize.packing import pack, unpack

__all__ = ["dequantize_buckets", "quantize_buckets"]

_FLIP = np.int32(0x7FFFFFFF)
_INF_KEY = np.int32(0x7F800000)
_TINY = np.float32(1e-10)
_HALF = np.float32(0.5)
_DITHER = np.float32(1.0 / 65536.0)
_ONE = np.float32(1.0)
_LOW = np.int32(0xFFFF)


@njit(nogil=True, forceinline=True, _nrt=False)
def _flip(raw):  # type: ignore[no-untyped-def]
    """Return the bits of a float as a key that orders like the float; its own inverse."""
    return np.int32(raw ^ ((raw >> np.int32(31)) & _FLIP))


@njit(nogil=True, forceinline=True, _nrt=False)
def _range(raw):  # type: ignore[no-untyped-def]
    """Return smallest and largest key of a bucket given as bits."""
    low = np.int32(0x7FFFFFFF)
    high = np.int32(-0x80000000)
    for i in range(len(raw)):
        key = _flip(raw[i])
        low = min(low, key)
        high = max(high, key)
    return low, high


@intrinsic
def _prefer_wide(_typing_context):  # type: ignore[no-untyped-def]
    """Let the loops of the calling function use 512-bit registers: Philox runs twice as fast.

    LLVM holds back to 256 bits on many Intel CPUs. llvmlite's `add` refuses attributes it does
    not know; LLVM ignores those it does not.
    """

    def emit(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), emit


@njit(nogil=True, forceinline=True, _nrt=False)
def _draw(first_group, groups, key0, key1, words):  # type: ignore[no-untyped-def]
    """Write the random words of `groups` groups; number i takes the i-th half-word."""
    _prefer_wide()
    for g in range(groups):
        index = np.uint64(first_group) + np.uint64(g)
        words[2 * g], words[2 * g + 1] = draw_on_cpu(index, key0, key1)


@njit(nogil=True, forceinline=True, _nrt=False)
def _level(x, lo, inverse, r, top):  # type: ignore[no-untyped-def]
    return min(np.int32((x - lo) * inverse + r), top)


@njit(nogil=True, forceinline=True, _nrt=False)
def _dither(half):  # type: ignore[no-untyped-def]
    return (np.float32(half) + _HALF) * _DITHER


@njit(nogil=True, forceinline=True, _nrt=False)
def _nibbles(x, lo, inverse, top, stochastic, words, packed):  # type: ignore[no-untyped-def]
    """Quantise to 4 bits and pack: two neighbours to a byte."""
    if stochastic:
        halves = words.view(np.int32)
        for i in range(len(packed)):
            r0 = _dither(halves[i] & _LOW)
            r1 = _dither((halves[i] >> np.int32(16)) & _LOW)
            upper = _level(x[2 * i + 1], lo, inverse, r1, top) << np.int32(4)
            packed[i] = np.uint8(_level(x[2 * i], lo, inverse, r0, top) | upper)
    else:
        for i in range(len(packed)):
            upper = _level(x[2 * i + 1], lo, inverse, _HALF, top) << np.int32(4)
            packed[i] = np.uint8(_level(x[2 * i], lo, inverse, _HALF, top) | upper)


@njit(nogil=True, forceinline=True, _nrt=False)
def _bytes(x, lo, inverse, top, stochastic, words, levels):  # type: ignore[no-untyped-def]
    """Quantise to a byte per number."""
    if stochastic:
        halves = words.view(np.uint16)
        for i in range(len(x)):
            r = _dither(np.int32(halves[i]))
            levels[i] = np.uint8(_level(x[i], lo, inverse, r, top))
    else:
        for i in range(len(x)):
            levels[i] = np.uint8(_level(x[i], lo, inverse, _HALF, top))


@njit(nogil=True, forceinline=True, _nrt=False)
def _emit(x, lo, inverse, top, stochastic, words, levels, bits, packed):  # type: ignore[no-untyped-def]
    """Quantise a bucket; a cut last group has fewer than `bits` bytes to fill."""
    groups = (len(x) + 7) // 8
    if bits == 4 and 2 * len(packed) == len(x):
        _nibbles(x, lo, inverse, top, stochastic, words, packed)
        return
    _bytes(x, lo, inverse, top, stochastic, words, levels)
    for i in range(len(x), 8 * groups):
        levels[i] = 0
    if len(packed) == bits * groups:
        pack(levels, bits, groups, packed)
        return
    whole = words.view(np.uint8)
    pack(levels, bits, groups, whole)
    for i in range(len(packed)):
        packed[i] = whole[i]


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
        raw_meta[b, 0], raw_meta[b, 1] = _flip(high), _flip(low)
        lo = meta[b, 1]
        spread = meta[b, 0] - lo
        if high >= _INF_KEY or low <= ~_INF_KEY or not spread < np.inf:
            return b
        unit = spread / np.float32(top)
        meta[b, 0] = unit
        if unit < _TINY:
            for i in range(len(room)):
                room[i] = 0
            continue
        if stochastic:
            _draw(b * (bucket // 8), (len(part) + 7) // 8, key0, key1, words)
        _emit(part, lo, _ONE / unit, top, stochastic, words, levels, bits, room)
    return -1


@njit(nogil=True, forceinline=True, _nrt=False)
def _write(levels, unit, lo, out, add):  # type: ignore[no-untyped-def]
    if add:
        for i in range(len(out)):
            out[i] += lo + unit * np.float32(np.int32(levels[i]))
    else:
        for i in range(len(out)):
            out[i] = lo + unit * np.float32(np.int32(levels[i]))


@njit(nogil=True, cache=True, _nrt=False)
def dequantize_buckets(meta, packed, first, last, bits, bucket, out, add, levels, whole):  # type: ignore[no-untyped-def]
    """Decode buckets first..last-1 as lo + unit * level.

    `levels` and `whole`, both (bucket,) uint8, are scratch.
    """
    stride = bucket * bits // 8
    for b in range(first, last):
        part = out[b * bucket : (b + 1) * bucket]
        groups = (len(part) + 7) // 8
        room = packed[b * stride : b * stride + bits * groups]
        if len(room) == bits * groups:
            unpack(room, bits, groups, levels)
        else:
            for i in range(bits * groups):
                whole[i] = room[i] if i < len(room) else 0
            unpack(whole, bits, groups, levels)
        _write(levels, meta[b, 0], meta[b, 1], part, add)
