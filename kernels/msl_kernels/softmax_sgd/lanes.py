"""Vector IR of small matrix products: numba keeps no block of sums in registers by itself."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from msl_kernels.simd import address, fold, splat

__all__ = ["GROUP", "LANES", "add_rows", "dots", "fold_sums", "pointer"]

GROUP = 4
"""Rows of a block: 4 x 4 sums and their 8 operands fit in 32 registers."""
LANES = 16
"""Floats of a 512-bit register; LLVM splits them where registers are smaller."""

_FLOAT = ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, LANES)
_BYTES = ir.IntType(8).as_pointer()
_INT = ir.IntType(32)


@intrinsic
def pointer(_typing_context, _place):  # type: ignore[no-untyped-def]
    """Return an address, a number of bytes, as a pointer that `numba.carray` takes."""

    def emit(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], _BYTES)

    return types.voidptr(types.intp), emit


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Fuse by name, not by leave, so that every machine gives the same bits."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * 3), f"llvm.fma.v{LANES}f32"
    )
    return builder.call(function, [a, b, c])


def _bring(builder: Any, place: Any) -> None:
    """Ask for the cache line of an address that will be read after a while."""
    kind = ir.FunctionType(ir.VoidType(), [_BYTES, _INT, _INT, _INT])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, second_level, data = (ir.Constant(_INT, flag) for flag in (0, 2, 1))
    builder.call(fetch, [builder.inttoptr(place, _BYTES), read, second_level, data])


def _sides(  # type: ignore[no-untyped-def]
    context, builder, rows, rows_value, row, first, b, b_value, bt, pitch, count
):
    """Return a function from a column to the places of 16 numbers, of four rows and of `count`.

    Rows lie at addresses rows[row], ...; those of `b` are `pitch` numbers apart.
    """
    starts = []
    for k in range(GROUP):
        number = builder.add(row, ir.Constant(row.type, k))
        place = address(context, builder, rows, rows_value, number, row.type)
        starts.append(builder.inttoptr(builder.load(place), _FLOAT.as_pointer()))
    tops = [builder.add(bt, builder.mul(pitch, ir.Constant(pitch.type, k))) for k in range(count)]

    def at(column: Any) -> tuple[list[Any], list[Any]]:
        left = [
            builder.bitcast(builder.gep(start, [builder.add(first, column)]), _FLOATS.as_pointer())
            for start in starts
        ]
        right = [
            address(context, builder, b, b_value, builder.add(top, column), _FLOATS) for top in tops
        ]
        return left, right

    return at


@intrinsic
def dots(  # type: ignore[no-untyped-def]
    _typing_context, rows, _row, _first, b, _bt, _pitch, _width, sums, _to, _stride, _fetch, of
):
    """Add the products of columns of four rows with len(of) rows of `b` to sums of 16 lanes.

    Rows are at addresses rows[row], ..., from column `first` on; those of `b` begin at `bt`,
    `pitch` numbers apart; `width`, a multiple of 16, are summed: lane l has numbers l, l + 16, ...
    Row i and row j of `b` have the sums number to + stride * i + j. `fetch` is an address from
    which on lines are brought near, and how many bytes to go on with every vector.
    """
    pairs = [(row, column) for row in range(GROUP) for column in range(len(of))]

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        rows_value, row, start, b_value, bt, pitch, width, sums_value, to, stride = arguments[:10]
        ahead, pace = cgutils.unpack_tuple(builder, arguments[10])
        at = _sides(context, builder, rows, rows_value, row, start, b, b_value, bt, pitch, len(of))
        places, totals = [], []
        for i, j in pairs:
            number = builder.add(to, builder.mul(stride, ir.Constant(stride.type, i)))
            number = builder.add(number, ir.Constant(number.type, j))
            number = builder.mul(number, ir.Constant(number.type, LANES))
            places.append(address(context, builder, sums, sums_value, number, _FLOATS))
            totals.append(cgutils.alloca_once_value(builder, builder.load(places[-1], align=4)))
        first, step = (ir.Constant(width.type, number) for number in (0, LANES))
        with cgutils.for_range_slice(builder, first, width, step, width.type) as (column, count):
            _bring(builder, builder.add(ahead, builder.mul(count, pace)))
            lefts, rights = at(column)
            left = [builder.load(place, align=4) for place in lefts]
            right = [builder.load(place, align=4) for place in rights]
            for total, (i, j) in zip(totals, pairs, strict=True):
                builder.store(_fma(builder, left[i], right[j], builder.load(total)), total)
        for place, total in zip(places, totals, strict=True):
            builder.store(builder.load(total), place, align=4)
        return context.get_dummy_value()

    size = types.intp
    pair = types.UniTuple(size, 2)
    return types.void(rows, size, size, b, size, size, size, sums, size, size, pair, of), emit


@intrinsic
def fold_sums(_typing_context, sums, _first, z, _to):  # type: ignore[no-untyped-def]
    """Write 16 sums to z[to..to+15]: of each the lanes are added by halves."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        sums_value, first, z_value, to = arguments
        found = []
        for k in range(LANES):
            number = builder.add(first, ir.Constant(first.type, k))
            number = builder.mul(number, ir.Constant(first.type, LANES))
            place = address(context, builder, sums, sums_value, number, _FLOATS)
            found.append(builder.load(place, align=4))
        place = address(context, builder, z, z_value, to, _FLOATS)
        builder.store(fold(builder, found), place, align=4)
        return context.get_dummy_value()

    return types.void(sums, types.intp, z, types.intp), emit


@intrinsic
def add_rows(  # type: ignore[no-untyped-def]
    _typing_context, factors, _to, _stride, rows, _row, _first, b, _bt, _pitch, _width, of
):
    """Add columns of four rows, one after the other, to each of len(of) rows of `b`.

    Row i times factors[to + stride * i + j] goes to row j; rows lie as in `dots`.
    """

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        factors_value, to, stride, rows_value, row, start, b_value, bt, pitch = arguments[:9]
        width = arguments[9]
        at = _sides(context, builder, rows, rows_value, row, start, b, b_value, bt, pitch, len(of))
        wide = []
        for i in range(GROUP):
            base = builder.add(to, builder.mul(stride, ir.Constant(stride.type, i)))
            for column in range(len(of)):
                place = builder.add(base, ir.Constant(base.type, column))
                factor = builder.load(
                    address(context, builder, factors, factors_value, place, _FLOAT)
                )
                wide.append(splat(builder, factor, LANES))
        first, step = (ir.Constant(width.type, number) for number in (0, LANES))
        with cgutils.for_range_slice(builder, first, width, step, width.type) as (column, _count):
            lefts, rights = at(column)
            left = [builder.load(place, align=4) for place in lefts]
            for j, place in enumerate(rights):
                total = builder.load(place, align=4)
                for i, x in enumerate(left):
                    total = _fma(builder, wide[len(of) * i + j], x, total)
                builder.store(total, place, align=4)
        return context.get_dummy_value()

    size = types.intp
    return types.void(factors, size, size, rows, size, size, b, size, size, size, of), emit
