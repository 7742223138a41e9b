"""64 numbers side by side: their signs are one 64-bit word, bit i set where number i is negative.

numba has no way to say "compare 64 floats into a word", so intrinsics emit vector IR; the compiler
cuts the vectors to the registers it has. No operation may be fused or reordered.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "LANES",
    "add_magnitudes",
    "add_sides",
    "feed",
    "load_word",
    "negatives",
    "ones",
    "store_word",
    "write",
    "write_added",
]

LANES = 64
_WORD = ir.IntType(LANES)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BITS = ir.VectorType(ir.IntType(32), LANES)
_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
_ZEROS = ir.Constant(_FLOATS, [0.0] * LANES)


def _pointer(context: Any, builder: Any, kind: Any, value: Any, at: Any, to: Any) -> Any:
    """Return the address of value[at] as that of a wider type."""
    array = context.make_array(kind)(context, builder, value)
    pointer = cgutils.get_item_pointer(context, builder, kind, array, [at])
    return builder.bitcast(pointer, to.as_pointer())


def _all(builder: Any, value: Any) -> Any:
    """Return a vector of one float."""
    one = builder.insert_element(
        ir.Constant(_FLOATS, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
    )
    return builder.shuffle_vector(one, one, ir.Constant(_BITS, [0] * LANES))


def _grow(builder: Any, pointer: Any, floats: Any) -> None:
    """Add floats to 64 doubles in memory."""
    sums = builder.fadd(builder.load(pointer, align=8), builder.fpext(floats, _DOUBLES))
    builder.store(sums, pointer, align=8)


@intrinsic
def negatives(_typing_context, x, _at):  # type: ignore[no-untyped-def]
    """Return the word of x[at : at + 64]."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        a, at = arguments
        values = builder.load(_pointer(context, builder, x, a, at, _FLOATS), align=4)
        return builder.bitcast(builder.fcmp_ordered("<", values, _ZEROS), _WORD)

    return types.uint64(x, types.intp), emit


@intrinsic
def add_magnitudes(_typing_context, x, residual, _at, lanes):  # type: ignore[no-untyped-def]
    """Add abs(x + residual) of 64 numbers from `at` on to 64 doubles; residual may be None."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        a, e, at, sums = arguments
        values = builder.load(_pointer(context, builder, x, a, at, _FLOATS), align=4)
        if residual != types.none:
            pointer = _pointer(context, builder, residual, e, at, _FLOATS)
            values = builder.fadd(values, builder.load(pointer, align=4))
        bits = builder.and_(
            builder.bitcast(values, _BITS), ir.Constant(_BITS, [0x7FFFFFFF] * LANES)
        )
        zero = context.get_constant(types.intp, 0)
        pointer = _pointer(context, builder, lanes, sums, zero, _DOUBLES)
        _grow(builder, pointer, builder.bitcast(bits, _FLOATS))
        return context.get_dummy_value()

    return types.void(x, residual, types.intp, lanes), emit


@intrinsic
def add_sides(_typing_context, x, _at, lanes):  # type: ignore[no-untyped-def]
    """Add the negatives of x[at : at + 64] to lanes[:64], the others to lanes[64:].

    Return the word.
    """

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        a, at, sums = arguments
        values = builder.load(_pointer(context, builder, x, a, at, _FLOATS), align=4)
        negative = builder.fcmp_ordered("<", values, _ZEROS)
        for place, yes, no in ((0, values, _ZEROS), (LANES, _ZEROS, values)):
            start = context.get_constant(types.intp, place)
            pointer = _pointer(context, builder, lanes, sums, start, _DOUBLES)
            _grow(builder, pointer, builder.select(negative, yes, no))
        return builder.bitcast(negative, _WORD)

    return types.uint64(x, types.intp, lanes), emit


@intrinsic
def feed(_typing_context, x, residual, _at, _scale):  # type: ignore[no-untyped-def]
    """Put a - (+-scale) into residual[at : at + 64], a = x + residual; return the word of a."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        a, e, at, scale = arguments
        values = builder.load(_pointer(context, builder, x, a, at, _FLOATS), align=4)
        pointer = _pointer(context, builder, residual, e, at, _FLOATS)
        values = builder.fadd(values, builder.load(pointer, align=4))
        negative = builder.fcmp_ordered("<", values, _ZEROS)
        scales = _all(builder, scale)
        sent = builder.select(negative, builder.fneg(scales), scales)
        builder.store(builder.fsub(values, sent), pointer, align=4)
        return builder.bitcast(negative, _WORD)

    return types.uint64(x, residual, types.intp, types.float32), emit


def _writer(add: bool) -> Any:
    def typed(_typing_context, _word, _negative, _other, out, _at):  # type: ignore[no-untyped-def]
        def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            word, negative, other, values, at = arguments
            bits = builder.bitcast(word, ir.VectorType(ir.IntType(1), LANES))
            chosen = builder.select(bits, _all(builder, negative), _all(builder, other))
            pointer = _pointer(context, builder, out, values, at, _FLOATS)
            if add:
                chosen = builder.fadd(builder.load(pointer, align=4), chosen)
            builder.store(chosen, pointer, align=4)
            return context.get_dummy_value()

        return types.void(types.uint64, types.float32, types.float32, out, types.intp), emit

    return typed


write = intrinsic(_writer(add=False))
"""Put `negative` or `other` into out[at : at + 64]."""
write_added = intrinsic(_writer(add=True))
"""Add `negative` or `other` to out[at : at + 64]."""


@intrinsic
def store_word(_typing_context, _word, packed, _at):  # type: ignore[no-untyped-def]
    """Put a word into packed[at : at + 8]."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        word, octets, at = arguments
        builder.store(word, _pointer(context, builder, packed, octets, at, _WORD), align=1)
        return context.get_dummy_value()

    return types.void(types.uint64, packed, types.intp), emit


@intrinsic
def load_word(_typing_context, packed, _at):  # type: ignore[no-untyped-def]
    """Return packed[at : at + 8] as a word."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        octets, at = arguments
        return builder.load(_pointer(context, builder, packed, octets, at, _WORD), align=1)

    return types.uint64(packed, types.intp), emit


@intrinsic
def ones(_typing_context, _word):  # type: ignore[no-untyped-def]
    """Return how many bits are set."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), emit
