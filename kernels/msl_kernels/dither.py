"""Dithers of stochastic rounding, 16 bits a number: r = (h + 1/2) / 2^16, h a half-word.

Number i takes half-word i % 8 of counter i // 8. Seven rounds of Philox4x32 pass BigCrush (Salmon
et al., SC 2011, table 2); the three more of the usual ten are a margin that rounding can spare.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from msl_kernels.philox import draw, draw_on_cpu
from msl_kernels.simd import Lanes, address, splat

__all__ = ["ROUNDS", "dither", "draw_dithers"]

ROUNDS = 7
_LANES = 32
"""Counters at once: a counter's rounds wait for each other, so several registers take turns."""
_UNIT = np.float32(1.0 / 65536.0)
_SHIFT = np.float32(0.5 / 65536.0)


@njit(nogil=True, forceinline=True, _nrt=False, fastmath={"contract"})
def dither(half):  # type: ignore[no-untyped-def]
    """Return r of a half-word: exact, hence the same with or without a fused multiply-add."""
    return np.float32(half) * _UNIT + _SHIFT


@intrinsic
def _draw_lanes(_typing_context, _group, _key0, _key1, words, _at):  # type: ignore[no-untyped-def]
    """Write the words of counters group..group+31 from words[at] on."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        *seeds, out, at = arguments
        group, key0, key1 = (Lanes(builder, splat(builder, seed, _LANES)) for seed in seeds)
        lanes = range(_LANES)
        counters = group + Lanes(builder, ir.Constant(group.value.type, list(lanes)))
        early, late = draw(counters, key0, key1, ROUNDS)
        order = ir.Constant(
            ir.VectorType(ir.IntType(32), 2 * _LANES), [i for j in lanes for i in (j, j + _LANES)]
        )
        both = builder.shuffle_vector(early.value, late.value, order)
        builder.store(both, address(context, builder, words, out, at, both.type), align=8)
        return context.get_dummy_value()

    word = types.uint64
    return types.void(word, word, word, words, types.intp), emit


@njit(nogil=True, forceinline=True, _nrt=False)
def draw_dithers(first_group, groups, key0, key1, words):  # type: ignore[no-untyped-def]
    """Write the half-words of `groups` groups of 8 numbers into words (2 * groups,) uint64."""
    whole = groups // _LANES * _LANES
    for g in range(0, whole, _LANES):
        _draw_lanes(np.uint64(first_group) + np.uint64(g), key0, key1, words, 2 * g)
    for g in range(whole, groups):
        index = np.uint64(first_group) + np.uint64(g)
        words[2 * g], words[2 * g + 1] = draw_on_cpu(index, key0, key1, ROUNDS)
