"""Groups of 8 levels of b bits <-> b bytes: level j at bit offset j * b, little-endian.

A group is one 64-bit word with a level per byte. Three shifts close the gaps between bytes,
pairs and quads of levels, for any b, and run on many groups at once. The words then overlap in
memory: each is moved whole, and the next one overwrites what is not its own.
"""

import numpy as np
from numba import njit

from msl_kernels.simd import load_word, store_word

__all__ = ["pack", "pack_part", "unpack", "unpack_part"]


@njit(nogil=True, forceinline=True, _nrt=False)
def _masks(bits):  # type: ignore[no-untyped-def]
    """Return the masks of the lower level, pair and quad in every lane of twice their room."""
    one = np.uint64(1)
    level = ((one << np.uint64(bits)) - one) * np.uint64(0x0001000100010001)
    pair = ((one << np.uint64(2 * bits)) - one) * np.uint64(0x0000000100000001)
    quad = (one << np.uint64(4 * bits)) - one
    return level, pair, quad


@njit(nogil=True, forceinline=True, _nrt=False)
def _close(word, mask, width, gap):  # type: ignore[no-untyped-def]
    """Move the upper of two neighbours of `width` bits down by `gap`."""
    return (word & mask) | ((word >> np.uint64(gap)) & (mask << np.uint64(width)))


@njit(nogil=True, forceinline=True, _nrt=False)
def _open(word, mask, width, gap):  # type: ignore[no-untyped-def]
    """Undo `_close`."""
    return (word & mask) | ((word & (mask << np.uint64(width))) << np.uint64(gap))


@njit(nogil=True, forceinline=True, _nrt=False)
def _overlapping(groups, bits):  # type: ignore[no-untyped-def]
    """Return how many groups can be moved as 8 bytes without leaving the array."""
    return max(0, groups - 8 // bits)


@njit(nogil=True, forceinline=True, _nrt=False)
def _pack4(levels, groups, packed):  # type: ignore[no-untyped-def]
    pairs = levels.view(np.uint16)
    for i in range(4 * groups):
        packed[i] = np.uint8(pairs[i] | (pairs[i] >> np.uint16(4)))


@njit(nogil=True, forceinline=True, _nrt=False)
def _unpack4(packed, groups, levels):  # type: ignore[no-untyped-def]
    pairs = levels.view(np.uint16)
    for i in range(4 * groups):
        byte = np.int32(packed[i])
        pairs[i] = np.uint16((byte | (byte << np.int32(4))) & np.int32(0x0F0F))


@njit(nogil=True, forceinline=True, _nrt=False)
def pack(levels, bits, groups, packed):  # type: ignore[no-untyped-def]
    """Write bits * groups bytes; the levels, below 2^bits, serve as scratch."""
    if bits == 8:
        for i in range(8 * groups):
            packed[i] = levels[i]
        return
    if bits == 4:
        _pack4(levels, groups, packed)
        return
    words = levels.view(np.uint64)
    level, pair, quad = _masks(bits)
    gap = 8 - bits
    for g in range(groups):
        word = _close(words[g], level, bits, gap)
        word = _close(word, pair, 2 * bits, 2 * gap)
        words[g] = _close(word, quad, 4 * bits, 4 * gap)
    whole = _overlapping(groups, bits)
    for g in range(whole):
        store_word(packed, bits * g, words[g])
    for g in range(whole, groups):
        for i in range(bits):
            packed[bits * g + i] = levels[8 * g + i]


@njit(nogil=True, forceinline=True, _nrt=False)
def unpack(packed, bits, groups, levels):  # type: ignore[no-untyped-def]
    """Write 8 * groups levels."""
    if bits == 8:
        for i in range(8 * groups):
            levels[i] = packed[i]
        return
    if bits == 4:
        _unpack4(packed, groups, levels)
        return
    words = levels.view(np.uint64)
    whole = _overlapping(groups, bits)
    for g in range(whole):
        words[g] = load_word(packed, bits * g)
    for g in range(whole, groups):
        for i in range(bits):
            levels[8 * g + i] = packed[bits * g + i]
    level, pair, quad = _masks(bits)
    gap = 8 - bits
    for g in range(groups):
        word = _open(words[g], quad, 4 * bits, 4 * gap)
        word = _open(word, pair, 2 * bits, 2 * gap)
        words[g] = _open(word, level, bits, gap)


@njit(nogil=True, forceinline=True, _nrt=False)
def pack_part(levels, n, bits, spare, packed):  # type: ignore[no-untyped-def]
    """Pack n levels; a cut last group has fewer than `bits` bytes to fill.

    `levels` and `spare`, uint8, have room for n rounded up to 8.
    """
    groups = (n + 7) // 8
    for i in range(n, 8 * groups):
        levels[i] = 0
    if len(packed) == bits * groups:
        pack(levels, bits, groups, packed)
        return
    pack(levels, bits, groups, spare)
    for i in range(len(packed)):
        packed[i] = spare[i]


@njit(nogil=True, forceinline=True, _nrt=False)
def unpack_part(packed, n, bits, spare, levels):  # type: ignore[no-untyped-def]
    """Undo `pack_part`."""
    groups = (n + 7) // 8
    if len(packed) == bits * groups:
        unpack(packed, bits, groups, levels)
        return
    for i in range(bits * groups):
        spare[i] = packed[i] if i < len(packed) else 0
    unpack(spare, bits, groups, levels)
