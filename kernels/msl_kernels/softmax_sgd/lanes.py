"""Vector IR of small matrix products: numba keeps no block of sums in registers by itself."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from msl_kernels.simd import address, fold, splat

__all__ = ["GROUP", "LANES", "add_rows", "dots"]

GROUP = 4
"""Rows of a block: 4 x 4 sums and their 8 operands fit in 32 registers."""
LANES = 16
"""Floats of a 512-bit register; LLVM splits them where registers are smaller."""

_FLOAT = ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, LANES)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Fuse by name, not by leave, so that every machine gives the same bits."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * 3), f"llvm.fma.v{LANES}f32"
    )
    return builder.call(function, [a, b, c])


def _rows(context, builder, kind, value, first, pitch, count):  # type: ignore[no-untyped-def]
    """Return a function from a column to the addresses of 16 numbers of each row."""
    starts = [
        builder.add(first, builder.mul(pitch, ir.Constant(pitch.type, row))) for row in range(count)
    ]

    def at(column: Any) -> list[Any]:
        return [
            address(context, builder, kind, value, builder.add(start, column), _FLOATS)
            for start in starts
        ]

    return at


@intrinsic
def dots(_typing_context, a, _at, b, _bt, _pitch, _width, sums, of):  # type: ignore[no-untyped-def]
    """Write the products of four rows of `a` with len(of) of `b` to sums[len(of) * row + column].

    Rows begin at `at` and `bt`, `pitch` numbers apart; `width`, a multiple of 16, are summed: lane
    l has numbers l, l + 16, ..., then lanes are added by halves, whatever the block.
    """
    pairs = [(row, column) for row in range(GROUP) for column in range(len(of))]

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        a_value, at, b_value, bt, pitch, width, sums_value = arguments[:7]
        zero = ir.Constant(_FLOATS, [0.0] * LANES)
        totals = [cgutils.alloca_once_value(builder, zero) for _ in pairs]
        lefts = _rows(context, builder, a, a_value, at, pitch, GROUP)
        rights = _rows(context, builder, b, b_value, bt, pitch, len(of))
        first, step = (ir.Constant(width.type, number) for number in (0, LANES))
        with cgutils.for_range_slice(builder, first, width, step, width.type) as (column, _count):
            left = [builder.load(place, align=4) for place in lefts(column)]
            right = [builder.load(place, align=4) for place in rights(column)]
            for total, (i, j) in zip(totals, pairs, strict=True):
                builder.store(_fma(builder, left[i], right[j], builder.load(total)), total)
        found = [builder.load(total) for total in totals]
        found = fold(builder, found + [zero] * (LANES - len(found)))
        builder.store(found, address(context, builder, sums, sums_value, first, _FLOATS), align=4)
        return context.get_dummy_value()

    size = types.intp
    return types.void(a, size, b, size, size, size, sums, of), emit


@intrinsic
def add_rows(_typing_context, factors, _first, _stride, a, _at, b, _bt, _pitch, _width, of):  # type: ignore[no-untyped-def]
    """Add four rows of `a`, one after the other, to each of len(of) rows of `b`.

    Row i times factors[first + stride * i + j] goes to row j; rows lie as in `dots`.
    """

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        factors_value, start, stride, a_value, at, b_value, bt, pitch, width = arguments[:9]
        lefts = _rows(context, builder, a, a_value, at, pitch, GROUP)
        rights = _rows(context, builder, b, b_value, bt, pitch, len(of))
        wide = []
        for row in range(GROUP):
            base = builder.add(start, builder.mul(stride, ir.Constant(stride.type, row)))
            for column in range(len(of)):
                place = builder.add(base, ir.Constant(base.type, column))
                factor = builder.load(
                    address(context, builder, factors, factors_value, place, _FLOAT)
                )
                wide.append(splat(builder, factor, LANES))
        first, step = (ir.Constant(width.type, number) for number in (0, LANES))
        with cgutils.for_range_slice(builder, first, width, step, width.type) as (column, _count):
            left = [builder.load(place, align=4) for place in lefts(column)]
            for j, place in enumerate(rights(column)):
                total = builder.load(place, align=4)
                for i, x in enumerate(left):
                    total = _fma(builder, wide[len(of) * i + j], x, total)
                builder.store(total, place, align=4)
        return context.get_dummy_value()

    size = types.intp
    return types.void(factors, size, size, a, size, b, size, size, size, of), emit
