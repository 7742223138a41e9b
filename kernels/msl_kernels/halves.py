"""float32 <-> 16 bits, rounded to nearest even. CPU only; frameworks have their own on a GPU.

NumPy converts to float16 a number at a time; here an intrinsic hands LLVM whole vectors.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from msl_kernels.parallel import spread

__all__ = ["from_bfloat16", "from_float16", "to_bfloat16", "to_float16"]

LANES = 16
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_HALVES = ir.VectorType(ir.HalfType(), LANES)
_ROUND = np.uint32(0x7FFF)
_ONE = np.uint32(1)
_SIXTEEN = np.uint32(16)
_LARGEST = np.uint32(0x7F7F)
_SIGN = np.uint32(0x8000)


def _pointer(context: Any, builder: Any, kind: Any, value: Any, at: Any, vector: Any) -> Any:
    """Return the address of 16 neighbours of an array."""
    array = context.make_array(kind)(context, builder, value)
    pointer = cgutils.get_item_pointer(context, builder, kind, array, [at])
    return builder.bitcast(pointer, vector.as_pointer())


@intrinsic
def _narrow(_typing_context, x, out, _at):  # type: ignore[no-untyped-def]
    """out[at : at + 16] = float16 bits of x[at : at + 16]."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        x_value, out_value, at = arguments
        floats = builder.load(_pointer(context, builder, x, x_value, at, _FLOATS), align=4)
        target = _pointer(context, builder, out, out_value, at, _HALVES)
        builder.store(builder.fptrunc(floats, _HALVES), target, align=2)
        return context.get_dummy_value()

    return types.void(x, out, types.intp), emit


@intrinsic
def _widen(_typing_context, x, out, _at):  # type: ignore[no-untyped-def]
    """out[at : at + 16] = values of the float16 bits x[at : at + 16]."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        x_value, out_value, at = arguments
        halves = builder.load(_pointer(context, builder, x, x_value, at, _HALVES), align=2)
        target = _pointer(context, builder, out, out_value, at, _FLOATS)
        builder.store(builder.fpext(halves, _FLOATS), target, align=4)
        return context.get_dummy_value()

    return types.void(x, out, types.intp), emit


@njit(nogil=True, cache=True)
def _to_float16(x, scale, out, first, last, scratch, rest):  # type: ignore[no-untyped-def]
    for start in range(first, last, LANES):
        stop = min(start + LANES, last)
        for i in range(start, stop):
            scratch[i - start] = x[i] * scale
        if stop - start == LANES:
            _narrow(scratch, out[start:stop], 0)
        else:
            _narrow(scratch, rest, 0)
            out[start:stop] = rest[: stop - start]


@njit(nogil=True, cache=True)
def _from_float16(x, scale, out, first, last, rest, scratch):  # type: ignore[no-untyped-def]
    for start in range(first, last, LANES):
        stop = min(start + LANES, last)
        if stop - start == LANES:
            _widen(x[start:stop], scratch, 0)
        else:
            rest[: stop - start] = x[start:stop]
            _widen(rest, scratch, 0)
        for i in range(start, stop):
            out[i] = scratch[i - start] * scale


@njit(nogil=True, cache=True)
def _to_bfloat16(raw, out, first, last):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        word = raw[i]
        rounded = (word + _ROUND + ((word >> _SIXTEEN) & _ONE)) >> _SIXTEEN
        # Past the largest number there is only Inf: stay.
        sign = rounded & _SIGN
        out[i] = np.uint16(sign | min(rounded & ~_SIGN, _LARGEST))


@njit(nogil=True, cache=True)
def _from_bfloat16(x, raw, first, last):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        raw[i] = np.uint32(x[i]) << _SIXTEEN


def to_float16(x: NDArray[np.float32], scale: float = 1.0) -> NDArray[np.uint16]:
    """Return the float16 bits of x * scale, (n,); the products must be below 65,520."""
    out = np.empty(len(x), np.uint16)

    def run(first: int, last: int) -> None:
        scratch = np.zeros(LANES, np.float32), np.zeros(LANES, np.uint16)
        _to_float16(x, np.float32(scale), out, first, last, *scratch)

    spread(run, len(x), len(x))
    return out


def from_float16(x: NDArray[np.uint16], scale: float = 1.0, out: Any = None) -> Any:
    """Return the values of float16 bits, times scale, (n,) float32."""
    out = np.empty(len(x), np.float32) if out is None else out

    def run(first: int, last: int) -> None:
        scratch = np.zeros(LANES, np.uint16), np.zeros(LANES, np.float32)
        _from_float16(x, np.float32(scale), out, first, last, *scratch)

    spread(run, len(x), len(x))
    return out


def to_bfloat16(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the upper halves of finite numbers, (n,); beyond the range, the largest number."""
    out = np.empty(len(x), np.uint16)
    spread(lambda first, last: _to_bfloat16(x.view(np.uint32), out, first, last), len(x), len(x))
    return out


def from_bfloat16(x: NDArray[np.uint16], out: Any = None) -> Any:
    """Return the values of bfloat16 bits, (n,) float32."""
    out = np.empty(len(x), np.float32) if out is None else out
    spread(lambda first, last: _from_bfloat16(x, out.view(np.uint32), first, last), len(x), len(x))
    return out
