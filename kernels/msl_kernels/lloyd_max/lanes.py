"""Vector IR of the rotated Lloyd-Max quantiser: what the compiler would not vectorise well.

Up to 64 numbers go through a loop body at once, as vectors of 8 or 16 lanes. Lengths of tuples
are types: `lanes` stands for 2^len lanes, `unroll` for 2^len vectors, `depth` for a binary search
among 2^len magnitudes. Only the sum of squares may be fused with its products: those of float32
are exact in float64, so it changes no bit.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from msl_kernels.simd import address, splat

__all__ = ["choose", "norm2", "values"]

_DOUBLE, _FLOAT, _INT, _OCTET = ir.DoubleType(), ir.FloatType(), ir.IntType(32), ir.IntType(8)
_EXACT = ("contract",)
_MAGNITUDE = 0x7FFFFFFF


def _vector(kind: Any, lanes: Any) -> Any:
    return ir.VectorType(kind, 1 << len(lanes))


def _constant(kind: Any, value: Any) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _accumulate(builder: Any, total: Any, a: Any, b: Any, flags: Any = ()) -> None:
    """Add the products of two vectors to a vector in memory."""
    product = builder.fmul(a, b, flags=flags)
    builder.store(builder.fadd(builder.load(total), product, flags=flags), total)


def _fold(builder: Any, totals: list[Any]) -> Any:
    """Add the upper half of the partial sums to the lower until one is left."""
    sums = [builder.load(total) for total in totals]
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [builder.fadd(sums[i], sums[half + i]) for i in range(half)]
    rest = sums[0]
    while rest.type.count > 1:
        half = rest.type.count // 2
        index = ir.VectorType(_INT, half)
        lower, upper = (
            builder.shuffle_vector(rest, rest, ir.Constant(index, list(range(at, at + half))))
            for at in (0, half)
        )
        rest = builder.fadd(lower, upper)
    return builder.extract_element(rest, ir.Constant(_INT, 0))


def _totals(builder: Any, kind: Any, unroll: Any) -> list[Any]:
    """Return vectors of partial sums, from +0.0."""
    zero = _constant(kind, 0.0)
    return [cgutils.alloca_once_value(builder, zero) for _ in range(1 << len(unroll))]


def _places(builder: Any, size: Any, lanes: Any, unroll: Any) -> Any:
    """Loop over `size` numbers; return a context that yields where each vector begins."""
    width = 1 << len(lanes)
    zero, step = (ir.Constant(size.type, k) for k in (0, width << len(unroll)))
    return cgutils.for_range_slice(builder, zero, size, step, size.type), width


@intrinsic
def norm2(_typing_context, y, _size, lanes, unroll):  # type: ignore[no-untyped-def]
    """Sum of the squares of `size` numbers, a multiple of 2^(lanes + unroll)."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        y_value, size = arguments[:2]
        totals = _totals(builder, _vector(_DOUBLE, lanes), unroll)
        loop, width = _places(builder, size, lanes, unroll)
        with loop as (at, _count):
            for i, total in enumerate(totals):
                place = builder.add(at, ir.Constant(at.type, i * width))
                numbers = _load(context, builder, y, y_value, place, _vector(_FLOAT, lanes))
                wide = builder.fpext(numbers, _vector(_DOUBLE, lanes))
                _accumulate(builder, total, wide, wide, _EXACT)
        return _fold(builder, totals)

    return types.float64(y, types.intp, lanes, unroll), emit


def _search(builder: Any, magnitudes: Any, edges: list[Any]) -> list[Any]:
    """Return the masks of the bits of the count of exceeded edges, the highest bit first."""
    masks: list[Any] = []
    half = (len(edges) + 1) // 2
    while half:
        # The masks so far choose between the middles of the intervals that are left.
        middle = _pick(builder, edges[half - 1 :: 2 * half], masks)
        masks.append(builder.fcmp_ordered(">", magnitudes, middle))
        half //= 2
    return masks


def _pick(builder: Any, choices: list[Any], masks: list[Any]) -> Any:
    """Return choices[index], the masks being its bits, the highest first."""
    for mask in reversed(masks):
        pairs = zip(choices[::2], choices[1::2], strict=True)
        choices = [builder.select(mask, upper, lower) for lower, upper in pairs]
    return choices[0]


def _look_up(builder: Any, table: Any, index: Any) -> Any:
    """Return table[index], lane by lane; written so that it becomes one vpermps."""
    result = ir.Constant(ir.VectorType(_FLOAT, index.type.count), ir.Undefined)
    index = builder.and_(index, _constant(index.type, table.type.count - 1))
    for i in range(index.type.count):
        lane = ir.Constant(_INT, i)
        entry = builder.extract_element(table, builder.extract_element(index, lane))
        result = builder.insert_element(result, entry, lane)
    return result


def _load(context: Any, builder: Any, kind: Any, array: Any, place: Any, to: Any) -> Any:
    """Load from an array, given as its type and its value."""
    return builder.load(address(context, builder, kind, array, place, to), align=1)


@intrinsic
def choose(_typing_context, y, _size, edges, levels, _top, fields, lanes, unroll, depth):  # type: ignore[no-untyped-def]
    """Write the field of every number; return <c, y> and <c, c>."""

    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        y_value, size, edges_value, levels_value, top, fields_value = arguments[:6]
        ints, reals, octets = (_vector(kind, lanes) for kind in (_INT, _FLOAT, _OCTET))
        zero = ir.Constant(size.type, 0)
        steps = [
            _load(context, builder, edges, edges_value, ir.Constant(size.type, i), _FLOAT)
            for i in range((1 << len(depth)) - 1)
        ]
        steps = [splat(builder, step, reals.count) for step in steps]
        table = _load(context, builder, levels, levels_value, zero, ir.VectorType(_FLOAT, 16))
        tops = splat(builder, top, ints.count)
        along, squares = (_totals(builder, reals, unroll) for _ in range(2))
        loop, width = _places(builder, size, lanes, unroll)
        with loop as (at, _count):
            for i in range(1 << len(unroll)):
                place = builder.add(at, ir.Constant(at.type, i * width))
                raw = _load(context, builder, y, y_value, place, ints)
                magnitude = builder.bitcast(builder.and_(raw, _constant(ints, _MAGNITUDE)), reals)
                field = builder.and_(builder.ashr(raw, _constant(ints, 31)), tops)
                for j, mask in enumerate(reversed(_search(builder, magnitude, steps))):
                    more = builder.or_(field, _constant(ints, 1 << j))
                    field = builder.select(mask, more, field)
                pointer = address(context, builder, fields, fields_value, place, octets)
                builder.store(builder.trunc(field, octets), pointer, align=1)
                c = _look_up(builder, table, field)
                _accumulate(builder, along[i], c, builder.bitcast(raw, reals))
                _accumulate(builder, squares[i], c, c)
        both = [_fold(builder, along), _fold(builder, squares)]
        return context.make_tuple(builder, signature.return_type, both)

    size, pair = types.intp, types.UniTuple(types.float32, 2)
    return pair(y, size, edges, levels, types.int32, fields, lanes, unroll, depth), emit


@intrinsic
def values(_typing_context, fields, _size, levels, y, lanes):  # type: ignore[no-untyped-def]
    """Write levels[field] for `size` fields, a multiple of 2^lanes."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        fields_value, size, levels_value, y_value = arguments[:4]
        zero = ir.Constant(size.type, 0)
        table = _load(context, builder, levels, levels_value, zero, ir.VectorType(_FLOAT, 16))
        loop, _ = _places(builder, size, lanes, ())
        with loop as (at, _count):
            field = _load(context, builder, fields, fields_value, at, _vector(_OCTET, lanes))
            value = _look_up(builder, table, builder.zext(field, _vector(_INT, lanes)))
            pointer = address(context, builder, y, y_value, at, _vector(_FLOAT, lanes))
            builder.store(value, pointer, align=4)
        return context.get_dummy_value()

    return types.void(fields, types.intp, levels, y, lanes), emit
