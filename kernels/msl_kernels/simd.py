"""What numba has no words for and LLVM has: vectors, wide registers, prefetch, unaligned words.

Vectors of any length are legal IR: LLVM splits them into the registers there are.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "Lanes",
    "address",
    "fold",
    "load_word",
    "prefer_wide",
    "prefetch",
    "splat",
    "store_word",
]

_INT = ir.IntType(32)
_WORD = ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()
_LINE = 64
"""Bytes of a cache line; a prefetch too many costs little."""


def splat(builder: Any, value: Any, lanes: int) -> Any:
    """Return a vector of one value."""
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(
        first, empty, ir.Constant(ir.VectorType(_INT, lanes), [0] * lanes)
    )


def address(context: Any, builder: Any, kind: Any, array: Any, at: Any, pointee: Any) -> Any:
    """Return the address of number `at` of a one-dimensional array, as one of a `pointee`."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), pointee.as_pointer())


def fold(builder: Any, sums: list[Any]) -> Any:
    """Return a vector whose lane k is the sum of vector k, of as many vectors as lanes.

    Each step takes halves of two vectors into one: 15 steps, not one tree per vector.
    """
    lanes = sums[0].type.count
    half = lanes // 2
    while len(sums) > 1:
        # Lanes of one sum are neighbours; lower and upper halves of each are added.
        lower = [at for at in range(lanes) if at // half % 2 == 0]
        upper = [at + half for at in lower]
        index = ir.VectorType(_INT, lanes)
        sums = [
            builder.fadd(
                *(
                    builder.shuffle_vector(
                        one, two, ir.Constant(index, part + [lanes + at for at in part])
                    )
                    for part in (lower, upper)
                )
            )
            for one, two in zip(sums[::2], sums[1::2], strict=True)
        ]
        half //= 2
    return sums[0]


class Lanes:
    """A vector of uint64 under construction: a Python function of it emits its instructions."""

    __array_ufunc__ = None  # NumPy's scalars leave the arithmetic to this class

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _apply(self, operation: Any, other: Any) -> "Lanes":
        kind = self.value.type
        if not isinstance(other, Lanes):
            other = Lanes(self.builder, ir.Constant(kind, [int(other)] * kind.count))
        return Lanes(self.builder, operation(self.value, other.value))

    def __add__(self, other: Any) -> "Lanes":
        return self._apply(self.builder.add, other)

    def __mul__(self, other: Any) -> "Lanes":
        return self._apply(self.builder.mul, other)

    def __and__(self, other: Any) -> "Lanes":
        return self._apply(self.builder.and_, other)

    def __or__(self, other: Any) -> "Lanes":
        return self._apply(self.builder.or_, other)

    def __xor__(self, other: Any) -> "Lanes":
        return self._apply(self.builder.xor, other)

    def __lshift__(self, _half: Any) -> "Lanes":
        """Shift by 32 as a shuffle: LLVM would fold a shift into a product, at thrice its price."""
        lanes = self.value.type.count
        halves = ir.VectorType(_INT, 2 * lanes)
        order = [i for lane in range(0, 2 * lanes, 2) for i in (2 * lanes, lane)]
        shuffled = self.builder.shuffle_vector(
            self.builder.bitcast(self.value, halves),
            ir.Constant(halves, [0] * 2 * lanes),
            ir.Constant(halves, order),
        )
        return Lanes(self.builder, self.builder.bitcast(shuffled, self.value.type))

    def __rshift__(self, other: Any) -> "Lanes":
        return self._apply(self.builder.lshr, other)

    __rmul__, __rxor__ = __mul__, __xor__


@intrinsic
def prefer_wide(_typing_context):  # type: ignore[no-untyped-def]
    """Let the loops of the calling function use 512-bit registers.

    Belongs in the function that holds the loop: it is vectorised before it is inlined. LLVM
    holds back to 256 bits on many Intel CPUs. llvmlite's `add` refuses attributes it does not
    know; LLVM ignores those it does not.
    """

    def emit(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def prefetch(_typing_context, array, _first, _last):  # type: ignore[no-untyped-def]
    """Ask for numbers first..last-1 of an array; they may lie beyond its end."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.VoidType(), [_BYTES, _INT, _INT, _INT])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, near, data = (ir.Constant(_INT, flag) for flag in (0, 3, 1))
        numbers, first, last = arguments
        step = context.get_constant(types.intp, _LINE * 8 // array.dtype.bitwidth)
        with cgutils.for_range_slice(builder, first, last, step) as (at, _):
            line = address(context, builder, array, numbers, at, ir.IntType(8))
            builder.call(fetch, [line, read, near, data])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), emit


@intrinsic
def load_word(_typing_context, octets, _at):  # type: ignore[no-untyped-def]
    """Return the eight bytes from byte `at` on."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        array, at = arguments
        pointer = address(context, builder, octets, array, at, _WORD)
        return builder.load(pointer, align=1)

    return types.uint64(octets, types.intp), emit


@intrinsic
def store_word(_typing_context, octets, _at, _word):  # type: ignore[no-untyped-def]
    """Write eight bytes from byte `at` on."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        array, at, word = arguments
        builder.store(word, address(context, builder, octets, array, at, _WORD), align=1)
        return context.get_dummy_value()

    return types.void(octets, types.intp, types.uint64), emit
