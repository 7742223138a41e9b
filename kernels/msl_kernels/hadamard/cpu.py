"""Fast Walsh-Hadamard transform on the CPU: radix 16 in registers, two passes per 4096 numbers.

The first pass takes 256 neighbours as 16 vectors of 16 lanes and runs eight stages: four inside
the vectors (shuffle and add), four between them. The second takes 16 vectors a sixteenth of the
block apart and runs four more. A block stays in L1 between the passes. An intrinsic emits the
vector IR, since the compiler finds neither the shuffles nor the register blocking by itself.

Inside a vector, lane i becomes v[i ^ h] + v[i] or v[i ^ h] - v[i]. That is written as a product
with +1 or -1, which is exact, so the compiler may fuse it with the sum: still one rounding.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from msl_kernels.philox import draw_on_cpu
from msl_kernels.simd import address, prefer_wide, splat

__all__ = ["WORDS", "rotate_block", "rotate_blocks", "unrotate_block", "unrotate_blocks"]

WORDS = 128
"""Words of signs that the largest block, of 8192 numbers, needs."""

# Lengths of tuples are types: they choose what an intrinsic emits.
_NO: tuple[()] = ()
_YES = (0,)
_R1, _R2, _R3, _R4 = (0,) * 1, (0,) * 2, (0,) * 3, (0,) * 4
_EXACT = ("contract",)
_AHEAD = 4096
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


def _inside(builder: Any, vector: Any, h: int) -> Any:
    """One stage between lanes h apart."""
    lanes = vector.type.count
    swap = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [i ^ h for i in range(lanes)])
    partner = builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), swap)
    sign = ir.Constant(vector.type, [-1.0 if i & h else 1.0 for i in range(lanes)])
    return builder.fadd(partner, builder.fmul(vector, sign, flags=_EXACT), flags=_EXACT)


def _between(builder: Any, vectors: list[Any], h: int) -> None:
    """One stage between vectors h apart."""
    for i in range(len(vectors)):
        if not i & h:
            a, b = vectors[i], vectors[i | h]
            vectors[i], vectors[i | h] = builder.fadd(a, b), builder.fsub(a, b)


def _flip(context: Any, builder: Any, vector: Any, kind: Any, words: Any, bit: Any) -> Any:
    """Change the sign of lane i where bit `bit` + i of the words is set."""
    lanes = vector.type.count
    byte = builder.lshr(bit, ir.Constant(bit.type, 3))
    array = context.make_array(kind)(context, builder, words)
    octets = builder.bitcast(array.data, ir.IntType(8).as_pointer())
    some = builder.bitcast(builder.gep(octets, [byte]), ir.IntType(lanes).as_pointer())
    chosen = builder.bitcast(builder.load(some, align=1), ir.VectorType(ir.IntType(1), lanes))
    return builder.select(chosen, builder.fneg(vector), vector)


def _prefetch(builder: Any, pointer: Any, write: int) -> None:
    """Ask for the line `_AHEAD` bytes further on: the passes are too bursty for the hardware."""
    octet, word = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [octet, word, word, word])
    call = builder.module.declare_intrinsic("llvm.prefetch", [octet], kind)
    at = builder.gep(builder.bitcast(pointer, octet), [ir.Constant(ir.IntType(64), _AHEAD)])
    builder.call(call, [at, word(write), word(3), word(1)])


@intrinsic
def _lower(_typing_context, source, target, _at, words, _bit, lanes, stages, flip):  # type: ignore[no-untyped-def]
    """Stages h = 1, 2, ... of the 2^(lanes + stages) numbers from `at`, source to target."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        source_value, target_value, at, words_value, bit = arguments[:5]
        width = 1 << len(lanes)
        kind = ir.VectorType(ir.FloatType(), width)
        steps = [ir.Constant(at.type, i * width) for i in range(1 << len(stages))]
        vectors = []
        for step in steps:
            index = builder.add(at, step)
            pointer = address(context, builder, source, source_value, index, kind)
            vector = builder.load(pointer, align=4)
            _prefetch(builder, pointer, 0)
            if len(flip):
                place = builder.add(bit, step)
                vector = _flip(context, builder, vector, words, words_value, place)
            for i in range(len(lanes)):
                vector = _inside(builder, vector, 1 << i)
            vectors.append(vector)
        for i in range(len(stages)):
            _between(builder, vectors, 1 << i)
        for step, vector in zip(steps, vectors, strict=True):
            index = builder.add(at, step)
            pointer = address(context, builder, target, target_value, index, kind)
            _prefetch(builder, pointer, 1)
            builder.store(vector, pointer, align=4)
        return context.get_dummy_value()

    size = types.intp
    return types.void(source, target, size, words, size, lanes, stages, flip), emit


@intrinsic
def _upper(_typing_context, data, _at, _stride, _scale, words, _bit, lanes, stages, flip):  # type: ignore[no-untyped-def]
    """Stages h = stride, 2 stride, ... of a vector of columns from `at`, in place; then scale."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        value, at, stride, scale, words_value, bit = arguments[:6]
        kind = ir.VectorType(ir.FloatType(), 1 << len(lanes))
        factor = splat(builder, scale, kind.count)
        steps = [builder.mul(stride, ir.Constant(stride.type, i)) for i in range(1 << len(stages))]
        pointers = [
            address(context, builder, data, value, builder.add(at, step), kind) for step in steps
        ]
        vectors = [builder.load(pointer, align=4) for pointer in pointers]
        for i in range(len(stages)):
            _between(builder, vectors, 1 << i)
        for step, vector, pointer in zip(steps, vectors, pointers, strict=True):
            scaled = builder.fmul(vector, factor)
            if len(flip):
                place = builder.add(bit, step)
                scaled = _flip(context, builder, scaled, words, words_value, place)
            builder.store(scaled, pointer, align=4)
        return context.get_dummy_value()

    size = types.intp
    return types.void(data, size, size, types.float32, words, size, lanes, stages, flip), emit


@njit(nogil=True, _nrt=False)
def _columns(data, stride, scale, words, bit, stages, flip):  # type: ignore[no-untyped-def]
    for at in range(0, stride, 16):
        _upper(data, at, stride, scale, words, bit + at, _R4, stages, flip)


@njit(nogil=True, forceinline=True, _nrt=False)
def _transform(source, target, words, bit, before, after):  # type: ignore[no-untyped-def]
    """Write H source / sqrt(m), with signs applied before or after; m = len(target)."""
    m = len(target)
    scale = np.float32(1.0 / np.sqrt(np.float64(m)))
    if m == 8:
        _lower(source, target, 0, words, bit, _R3, _NO, before)
        _upper(target, 0, 8, scale, words, bit, _R3, _NO, after)
        return
    stride = 16 if m < 256 else 256
    if m < 256:
        for at in range(0, m, 16):
            _lower(source, target, at, words, bit + at, _R4, _NO, before)
    else:
        for at in range(0, m, 256):
            _lower(source, target, at, words, bit + at, _R4, _R4, before)
    if m == 8192:
        _columns(target[:4096], 256, _ONE, words, bit, _R4, _NO)
        _columns(target[4096:], 256, _ONE, words, bit, _R4, _NO)
        stride = 4096
    radix = m // stride
    if radix == 16:
        _columns(target, stride, scale, words, bit, _R4, after)
    elif radix == 8:
        _columns(target, stride, scale, words, bit, _R3, after)
    elif radix == 4:
        _columns(target, stride, scale, words, bit, _R2, after)
    elif radix == 2:
        _columns(target, stride, scale, words, bit, _R1, after)
    else:
        _columns(target, stride, scale, words, bit, _NO, after)


@njit(nogil=True, forceinline=True, _nrt=False)
def _signs(start, m, key0, key1, words):  # type: ignore[no-untyped-def]
    """Draw the signs of numbers start..start+m-1; return the bit of the first in `words`."""
    prefer_wide()
    first = start // 128
    for i in range((m + 127) // 128):
        index = np.uint64(first) + np.uint64(i)
        words[2 * i], words[2 * i + 1] = draw_on_cpu(index, key0, key1)
    return start % 128


@njit(nogil=True, forceinline=True, _nrt=False)
def rotate_block(x, start, key0, key1, y, words):  # type: ignore[no-untyped-def]
    """Write H D x / sqrt(m) into y (m,), m a power of two from 8 to 8192.

    `x`, up to m numbers from number `start` of the vector, is padded with zeros; `words` (WORDS,)
    uint64 is scratch.
    """
    bit = _signs(start, len(y), key0, key1, words)
    if len(x) == len(y):
        _transform(x, y, words, bit, _YES, _NO)
        return
    for i in range(len(y)):
        y[i] = x[i] if i < len(x) else _ZERO
    _transform(y, y, words, bit, _YES, _NO)


@njit(nogil=True, forceinline=True, _nrt=False)
def unrotate_block(y, start, key0, key1, x, words):  # type: ignore[no-untyped-def]
    """Write D H y / sqrt(m) into x (m,); x may be y."""
    _transform(y, x, words, _signs(start, len(y), key0, key1, words), _NO, _YES)


@njit(nogil=True, cache=True, _nrt=False)
def rotate_blocks(x, first, last, block, key0, key1, y, words):  # type: ignore[no-untyped-def]
    """Rotate blocks first..last-1 of x (n,) into y (padded,)."""
    for b in range(first, last):
        start, stop = b * block, (b + 1) * block
        rotate_block(x[start:stop], start, key0, key1, y[start:stop], words)


@njit(nogil=True, cache=True, _nrt=False)
def unrotate_blocks(y, first, last, block, key0, key1, x, words, whole):  # type: ignore[no-untyped-def]
    """Rotate blocks first..last-1 back; `whole` (block,) float32 takes a padded last block."""
    for b in range(first, last):
        start, stop = b * block, (b + 1) * block
        part, target = y[start:stop], x[start:stop]
        if len(part) == len(target):
            unrotate_block(part, start, key0, key1, target, words)
            continue
        unrotate_block(part, start, key0, key1, whole[: len(part)], words)
        for i in range(len(target)):
            target[i] = whole[i]
