"""Vector IR of sums over pairs of rows: numba keeps no block of sums in registers by itself.

Lengths of tuples are types: `a` and `b` stand for len(a) and len(b) rows (up to 4), `of` for
differences when it is empty, for products when it holds one entry. Products are fused with their
sums by name, not by leave, so every machine gives the same bits.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from msl_kernels.simd import address, fold, splat

__all__ = ["GROUP", "LANES", "TILE", "block", "dot", "fma", "mix"]

GROUP = 4
"""Rows of a block: 4 x 4 sums and their 8 operands fit in 32 registers."""
LANES = 16
"""Floats of a 512-bit register; LLVM splits them where registers are smaller."""
TILE = 1024
"""Coordinates summed in float32: 64 in a lane. Eight rows of them fit in the first cache."""
_LOW = 2.0**-116
"""Below this a sum of TILE products may have lost more than 2**-24 of itself to underflow."""

_DOUBLE, _FLOAT, _INT = ir.DoubleType(), ir.FloatType(), ir.IntType(32)
_FLOATS, _DOUBLES = ir.VectorType(_FLOAT, LANES), ir.VectorType(_DOUBLE, LANES)
_SUFFIX = {_FLOATS: "v16f32", _DOUBLES: "v16f64", _DOUBLE: "f64"}


def _call(builder: Any, name: str, *operands: Any) -> Any:
    """Call an LLVM intrinsic whose operands and result are of one kind."""
    kind = operands[0].type
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(kind, [kind] * len(operands)),
        f"llvm.{name}.{_SUFFIX[kind]}",
    )
    return builder.call(function, operands)


@intrinsic
def block(_typing_context, tile, _i, _j, totals, _at, a, b, of):  # type: ignore[no-untyped-def]
    """Add the sums of rows i.. with rows j.. of a tile to totals[at + GROUP * row + column].

    Returns a bit for each sum left out: where float32 over- or underflowed. In a block on the
    diagonal (i == j, `b` empty) only the upper triangle is summed.
    """
    diagonal, products = not len(b), len(of)
    pairs = [
        (row, column)
        for row in range(len(a))
        for column in range(len(a) if diagonal else len(b))
        if not diagonal or column > row or (products and column == row)
    ]

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        tile_value, i, j, totals_value, at = arguments[:5]
        zero = ir.Constant(_FLOATS, [0.0] * LANES)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in pairs]

        def rows(first: Any, count: int, column: Any) -> list[Any]:
            start = builder.add(builder.mul(first, ir.Constant(first.type, TILE)), column)
            places = [builder.add(start, ir.Constant(first.type, TILE * r)) for r in range(count)]
            return [
                builder.load(address(context, builder, tile, tile_value, p, _FLOATS), align=4)
                for p in places
            ]

        first, last, step = (ir.Constant(i.type, number) for number in (0, TILE, LANES))
        with cgutils.for_range_slice(builder, first, last, step, i.type) as (column, _count):
            left = rows(i, len(a), column)
            right = left if diagonal else rows(j, len(b), column)
            for total, (p, q) in zip(sums, pairs, strict=True):
                x, y = left[p], right[q]
                if not products:
                    x = y = builder.fsub(x, y)
                builder.store(_call(builder, "fma", x, y, builder.load(total)), total)
        wanted = {
            GROUP * p + q: builder.load(total) for total, (p, q) in zip(sums, pairs, strict=True)
        }
        found = fold(builder, [wanted.get(lane, zero) for lane in range(LANES)])
        size = _call(builder, "fabs", found)
        low, high = (ir.Constant(_FLOATS, [edge] * LANES) for edge in (_LOW, float("inf")))
        good = builder.and_(
            builder.fcmp_ordered(">=", size, low), builder.fcmp_ordered("<", size, high)
        )
        pointer = address(context, builder, totals, totals_value, at, _DOUBLES)
        more = builder.fpext(builder.select(good, found, zero), _DOUBLES)
        builder.store(builder.fadd(builder.load(pointer, align=8), more), pointer, align=8)
        mask = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [k in wanted for k in range(LANES)])
        bad = builder.bitcast(builder.and_(builder.not_(good), mask), ir.IntType(LANES))
        return builder.zext(bad, ir.IntType(64))

    size = types.intp
    return types.int64(tile, size, size, totals, size, a, b, of), emit


@intrinsic
def dot(_typing_context, x, y):  # type: ignore[no-untyped-def]
    """Return the inner product of TILE float64 numbers."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        zero = ir.Constant(_DOUBLES, [0.0] * LANES)
        total = cgutils.alloca_once_value(builder, zero)
        kind = context.get_value_type(types.intp)
        first, last, step = (ir.Constant(kind, number) for number in (0, TILE, LANES))
        with cgutils.for_range_slice(builder, first, last, step, kind) as (at, _count):
            one, two = (
                builder.load(address(context, builder, array, value, at, _DOUBLES), align=8)
                for array, value in zip((x, y), arguments, strict=True)
            )
            builder.store(_call(builder, "fma", one, two, builder.load(total)), total)
        found = fold(builder, [builder.load(total)] + [zero] * (LANES - 1))
        return builder.extract_element(found, ir.Constant(_INT, 0))

    return types.float64(x, y), emit


@intrinsic
def fma(_typing_context, _a, _b, _c):  # type: ignore[no-untyped-def]
    """Return a * b + c, rounded once."""

    def emit(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        return _call(builder, "fma", *arguments)

    return types.float64(types.float64, types.float64, types.float64), emit


@intrinsic
def mix(_typing_context, tile, _at, _pitch, shares, _first, _n, out, _place, _step, k):  # type: ignore[no-untyped-def]
    """Write len(k) combinations of 16 columns, `step` numbers apart.

    Row i of them begins at at + pitch * i, its shares at first + len(k) * i.
    """

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        tile_value, at, pitch, shares_value, start, n, out_value, place, step = arguments[:9]
        zero = ir.Constant(_DOUBLES, [0.0] * LANES)
        totals = [cgutils.alloca_once_value(builder, zero) for _ in range(len(k))]

        def number(value: int) -> Any:
            return ir.Constant(n.type, value)

        with cgutils.for_range_slice(builder, number(0), n, number(1), n.type) as (i, _count):
            row = builder.add(at, builder.mul(i, pitch))
            x = builder.load(address(context, builder, tile, tile_value, row, _FLOATS), align=4)
            x = builder.fpext(x, _DOUBLES)
            base = builder.add(start, builder.mul(i, number(len(k))))
            for j, total in enumerate(totals):
                of = builder.add(base, number(j))
                share = builder.load(address(context, builder, shares, shares_value, of, _DOUBLE))
                wide = splat(builder, share, LANES)
                builder.store(_call(builder, "fma", wide, x, builder.load(total)), total)
        for j, total in enumerate(totals):
            to = builder.add(place, builder.mul(step, number(j)))
            value = builder.fptrunc(builder.load(total), _FLOATS)
            builder.store(value, address(context, builder, out, out_value, to, _FLOATS), align=4)
        return context.get_dummy_value()

    size = types.intp
    return types.void(tile, size, size, shares, size, size, out, size, size, k), emit
