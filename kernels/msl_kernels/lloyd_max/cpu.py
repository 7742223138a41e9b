"""Rotated Lloyd-Max quantiser on the CPU: every step on one block while it lies in L1.

Short blocks fill fewer lanes and take the search among the most levels, whatever their bits: edges
that nothing exceeds change no result.
"""

import numpy as np
from numba import njit

from msl_kernels.hadamard.cpu import rotate_block, unrotate_block
from msl_kernels.lloyd_max.lanes import choose, norm2, values
from msl_kernels.quantize.packing import pack, unpack

__all__ = ["decode_blocks", "encode_blocks"]

_MAX = np.float32(3.4028234663852886e38)
_ZERO = np.float32(0.0)
_0: tuple[()] = ()
_1, _2, _3, _4 = (0,) * 1, (0,) * 2, (0,) * 3, (0,) * 4


@njit(nogil=True, forceinline=True, _nrt=False)
def _norm2(y):  # type: ignore[no-untyped-def]
    """Sum the squares; a power of two of numbers, at least 8."""
    m = len(y)
    if m == 8:
        return norm2(y, m, _3, _0)
    if m == 16:
        return norm2(y, m, _4, _0)
    if m == 32:
        return norm2(y, m, _4, _1)
    return norm2(y, m, _4, _2)


@njit(nogil=True, forceinline=True, _nrt=False)
def _choose(y, edges, levels, bits, fields):  # type: ignore[no-untyped-def]
    """Write the fields; return <c, y> and <c, c>."""
    m, top = len(y), np.int32(1 << (bits - 1))
    if m == 8:
        return choose(y, m, edges, levels, top, fields, _3, _0, _3)
    if m == 16:
        return choose(y, m, edges, levels, top, fields, _4, _0, _3)
    if m == 32:
        return choose(y, m, edges, levels, top, fields, _4, _1, _3)
    if bits == 1:
        return choose(y, m, edges, levels, top, fields, _4, _2, _0)
    if bits == 2:
        return choose(y, m, edges, levels, top, fields, _4, _2, _1)
    if bits == 3:
        return choose(y, m, edges, levels, top, fields, _4, _2, _2)
    return choose(y, m, edges, levels, top, fields, _4, _2, _3)


@njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def encode_blocks(  # type: ignore[no-untyped-def]
    x, first, last, size, block, bits, key0, key1, unbiased, levels, midpoints, scales, packed,
    words, y, fields, edges,
):  # fmt: skip
    """Encode blocks first..last-1 of the `size` padded numbers; return the first bad one, or -1.

    `words` (hadamard.WORDS,) uint64, `y` (block,) float32, `fields` (block,) uint8 and
    `edges` (LEVELS / 2 - 1,) float32 are scratch.
    """
    for b in range(first, last):
        start = b * block
        m = min(block, size - start)
        rotated = y[:m]
        rotate_block(x[start : start + m], start, key0, key1, rotated, words)
        room = packed[start * bits // 8 : (start + m) * bits // 8]
        length2 = _norm2(rotated)
        if length2 == 0.0:
            scales[b] = _ZERO
            for i in range(len(room)):
                room[i] = 0
            continue
        rms = np.sqrt(length2 / m)
        for j in range(len(edges)):
            edges[j] = np.float32(midpoints[j] * rms)
        along, squares = _choose(rotated, edges, levels, bits, fields)
        scale = length2 / along if unbiased else np.float64(along) / squares
        scales[b] = np.float32(scale)
        if not (along <= _MAX and scales[b] <= _MAX):
            return b
        pack(fields[:m], bits, m // 8, room)
    return -1


@njit(nogil=True, cache=True, _nrt=False)
def decode_blocks(  # type: ignore[no-untyped-def]
    scales, packed, first, last, size, block, bits, key0, key1, levels, out, add,
    words, y, fields, scaled,
):  # fmt: skip
    """Decode blocks first..last-1; scratch as in `encode_blocks`, `scaled` (LEVELS,) float32."""
    for b in range(first, last):
        start = b * block
        m = min(block, size - start)
        target, rotated = out[start : start + m], y[:m]
        unpack(packed[start * bits // 8 : (start + m) * bits // 8], bits, m // 8, fields)
        for j in range(len(levels)):
            scaled[j] = scales[b] * levels[j]
        if m == 8:
            values(fields, m, scaled, rotated, _3)
        else:
            values(fields, m, scaled, rotated, _4)
        if len(target) == m and not add:
            unrotate_block(rotated, start, key0, key1, target, words)
            continue
        unrotate_block(rotated, start, key0, key1, rotated, words)
        if add:
            for i in range(len(target)):
                target[i] += rotated[i]
        else:
            for i in range(len(target)):
                target[i] = rotated[i]
