"""QSGD on the CPU: the norm of a bucket, then its fields, while it lies in L1.

Built as `msl_kernels.quantize.cpu`, with its dithers and its packing.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from msl_kernels.dither import dither, draw_dithers
from msl_kernels.quantize.packing import pack_part, unpack_part
from msl_kernels.simd import address, prefer_wide, prefetch

__all__ = ["PARTIALS", "dequantize_buckets", "level_buckets", "quantize_buckets"]

PARTIALS = 64
"""Partial sums of squares."""
_MAGNITUDE = np.int32(0x7FFFFFFF)
_INF = np.int32(0x7F800000)
_ZERO = np.int32(0)
_ONE = np.int32(1)
_MAX = np.float64(np.finfo(np.float32).max)


@intrinsic
def _add_squares(_typing_context, x, _whole, sums):  # type: ignore[no-untyped-def]
    """Write to `sums` the partial sums of the first `whole` numbers, a multiple of 64.

    Written in IR because numba keeps an array of sums in memory. A square is exact in float64,
    so it does not matter whether its addition is fused.
    """

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        floats = ir.VectorType(ir.FloatType(), PARTIALS)
        doubles = ir.VectorType(ir.DoubleType(), PARTIALS)
        total = cgutils.alloca_once_value(builder, ir.Constant(doubles, [0.0] * PARTIALS))
        zero, step = (context.get_constant(types.intp, i) for i in (0, PARTIALS))
        with cgutils.for_range_slice(builder, zero, arguments[1], step) as (at, _):
            numbers = builder.load(address(context, builder, x, arguments[0], at, floats), align=4)
            wide = builder.fpext(numbers, doubles)
            square = builder.fmul(wide, wide, flags=["contract"])
            builder.store(builder.fadd(builder.load(total), square, flags=["contract"]), total)
        out = address(context, builder, sums, arguments[2], zero, doubles)
        builder.store(builder.load(total), out, align=8)
        return context.get_dummy_value()

    return types.void(x, types.intp, sums), emit


@intrinsic
def _add_halves(_typing_context, sums):  # type: ignore[no-untyped-def]
    """Return the sum of 64 numbers: the upper half is added to the lower until one is left."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        doubles = ir.VectorType(ir.DoubleType(), PARTIALS)
        zero = context.get_constant(types.intp, 0)
        total = builder.load(address(context, builder, sums, arguments[0], zero, doubles), align=8)
        half = PARTIALS // 2
        while half:
            lower, upper = (
                builder.shuffle_vector(
                    total,
                    total,
                    ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(i, i + half))),
                )
                for i in (0, half)
            )
            total = builder.fadd(lower, upper)
            half //= 2
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.float64(sums), emit


@njit(nogil=True, forceinline=True, _nrt=False)
def _root_of_squares(x, sums):  # type: ignore[no-untyped-def]
    """Return the Euclidean norm in float64."""
    whole = len(x) // PARTIALS * PARTIALS
    _add_squares(x, whole, sums)
    for i in range(whole, len(x)):
        sums[i - whole] += np.float64(x[i]) * np.float64(x[i])
    return math.sqrt(_add_halves(sums))


@njit(nogil=True, forceinline=True, _nrt=False)
def _largest(raw):  # type: ignore[no-untyped-def]
    """Return the bits of the largest magnitude."""
    prefer_wide()
    largest = np.int32(0)
    for i in range(len(raw)):
        largest = max(largest, np.int32(raw[i] & _MAGNITUDE))
    return largest


@njit(nogil=True, forceinline=True, error_model="numpy", _nrt=False)
def _measure(x, b, bucket, s, euclidean, norms, sums):  # type: ignore[no-untyped-def]
    """Write the norm of bucket b; return s / norm, 0 where that is not finite, -1 if bad."""
    part = x[b * bucket : (b + 1) * bucket]
    if euclidean:
        root = _root_of_squares(part, sums)
        if not root <= _MAX:
            return np.float32(-1.0)
        norms[b] = np.float32(root)
    else:
        largest = _largest(part.view(np.int32))
        if largest >= _INF:
            return np.float32(-1.0)
        norms.view(np.int32)[b] = largest
    scale = np.float32(s) / norms[b]
    return scale if scale <= _MAX else np.float32(0.0)


@njit(nogil=True, forceinline=True, _nrt=False)
def _level(x, scale, half, s):  # type: ignore[no-untyped-def]
    return min(np.int32(abs(x) * scale + dither(half)), s)


@njit(nogil=True, forceinline=True, _nrt=False)
def _fields(x, scale, s, words, fields):  # type: ignore[no-untyped-def]
    """Write the field of every number, a byte each."""
    prefer_wide()
    sign = np.int32(s + _ONE)
    raw, halves = x.view(np.int32), words.view(np.uint16)
    for i in range(len(x)):
        level = _level(x[i], scale, np.int32(halves[i]), s)
        fields[i] = np.uint8(level | (sign if raw[i] < 0 else _ZERO))


@njit(nogil=True, forceinline=True, _nrt=False)
def _signed(x, scale, s, words, out):  # type: ignore[no-untyped-def]
    """Write the signed level of every number."""
    prefer_wide()
    raw, halves = x.view(np.int32), words.view(np.uint16)
    for i in range(len(x)):
        level = _level(x[i], scale, np.int32(halves[i]), s)
        out[i] = -level if raw[i] < 0 else level


@njit(nogil=True, cache=True, _nrt=False)
def quantize_buckets(  # type: ignore[no-untyped-def]
    x, first, last, bits, bucket, euclidean, key0, key1, norms, packed, fields, words, sums
):
    """Quantise buckets first..last-1; return the first that has no finite norm, or -1.

    `fields` (bucket,) uint8, `words` (bucket / 4,) uint64 and `sums` (64,) float64 are scratch.
    """
    s = np.int32((1 << (bits - 1)) - 1)
    stride = bucket * bits // 8
    for b in range(first, last):
        part = x[b * bucket : (b + 1) * bucket]
        room = packed[b * stride : b * stride + (len(part) * bits + 7) // 8]
        scale = _measure(x, b, bucket, s, euclidean, norms, sums)
        if scale < 0:
            return b
        if scale == 0:
            for i in range(len(room)):
                room[i] = 0
            continue
        prefetch(x, (b + 1) * bucket, (b + 2) * bucket)
        draw_dithers(b * (bucket // 8), (len(part) + 7) // 8, key0, key1, words)
        _fields(part, scale, s, words, fields)
        pack_part(fields, len(part), bits, words.view(np.uint8), room)
    return -1


@njit(nogil=True, cache=True, _nrt=False)
def level_buckets(x, first, last, s, bucket, euclidean, key0, key1, norms, out, words, sums):  # type: ignore[no-untyped-def]
    """Write the signed levels of buckets first..last-1; else as `quantize_buckets`."""
    s = np.int32(s)
    for b in range(first, last):
        part = x[b * bucket : (b + 1) * bucket]
        room = out[b * bucket : (b + 1) * bucket]
        scale = _measure(x, b, bucket, s, euclidean, norms, sums)
        if scale < 0:
            return b
        if scale == 0:
            for i in range(len(room)):
                room[i] = 0
            continue
        prefetch(x, (b + 1) * bucket, (b + 2) * bucket)
        draw_dithers(b * (bucket // 8), (len(part) + 7) // 8, key0, key1, words)
        _signed(part, scale, s, words, room)
    return -1


@njit(nogil=True, forceinline=True, _nrt=False)
def _value(field, unit, s):  # type: ignore[no-untyped-def]
    """Return signed level * unit; the sign goes to the integer, so that no zero is negative."""
    level = np.int32(field & s)
    return np.float32(np.int32(-level) if field > s else level) * unit


@njit(nogil=True, forceinline=True, _nrt=False)
def _write(fields, unit, s, out, add):  # type: ignore[no-untyped-def]
    prefer_wide()
    if add:
        for i in range(len(out)):
            out[i] += _value(np.int32(fields[i]), unit, s)
    else:
        for i in range(len(out)):
            out[i] = _value(np.int32(fields[i]), unit, s)


@njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def dequantize_buckets(norms, packed, first, last, bits, bucket, out, add, fields, spare):  # type: ignore[no-untyped-def]
    """Decode buckets first..last-1 as level * (norm / s).

    `fields` and `spare`, both (bucket,) uint8, are scratch.
    """
    s = np.int32((1 << (bits - 1)) - 1)
    stride = bucket * bits // 8
    for b in range(first, last):
        part = out[b * bucket : (b + 1) * bucket]
        room = packed[b * stride : b * stride + (len(part) + 7) // 8 * bits]
        unpack_part(room, len(part), bits, spare, fields)
        _write(fields, norms[b] / np.float32(s), s, part, add)
