"""Levels to a stream of bits: lengths first, so that every piece knows where it begins."""

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from msl_kernels.elias.codes import (
    LENGTHS,
    ONE,
    PIECE,
    SIXTY_FOUR,
    SMALL,
    is_gap,
    n_pieces,
    omega_of,
)
from msl_kernels.parallel import spread

__all__ = ["bits_of", "encode"]


@intrinsic
def _bit_length(_typing_context, _x):  # type: ignore[no-untyped-def]
    """Return 64 less the leading zeros of a uint64."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        x = arguments[0]
        return builder.sub(x.type(64), builder.ctlz(x, ir.IntType(1)(0)))

    return types.uint64(types.uint64), emit


@njit(nogil=True, forceinline=True, _nrt=False)
def _magnitude(level):  # type: ignore[no-untyped-def]
    return np.uint64(abs(np.int64(level)))


@njit(nogil=True, forceinline=True, _nrt=False)
def _non_zeros(levels):  # type: ignore[no-untyped-def]
    """Return bit i set where level i of up to 64 is not 0: a branch on each would be a guess."""
    mask = np.uint64(0)
    for i in range(len(levels)):
        mask |= np.uint64(levels[i] != 0) << np.uint64(i)
    return mask


@njit(nogil=True, forceinline=True, _nrt=False)
def _lowest(mask):  # type: ignore[no-untyped-def]
    """Return the index of the lowest bit that is set."""
    return np.int64(_bit_length(mask & (~mask + ONE))) - 1


@njit(nogil=True, cache=True, _nrt=False)
def _measure_dense(levels, first, last, table, bits):  # type: ignore[no-untyped-def]
    """Write the bits of pieces first..last-1."""
    for p in range(first, last):
        part = levels[p * PIECE : (p + 1) * PIECE]
        total = np.int64(0)
        for i in range(len(part)):
            total += table[_bit_length(_magnitude(part[i]) + ONE)] + np.int64(part[i] != 0)
        bits[p] = total


@njit(nogil=True, cache=True, _nrt=False)
def _measure_gap(levels, first, last, table, bits):  # type: ignore[no-untyped-def]
    """Write the bits of pieces first..last-1."""
    for p in range(first, last):
        part = levels[p * PIECE : (p + 1) * PIECE]
        total, count = np.int64(0), np.uint64(0)
        for i in range(len(part)):
            # The code of 0, which is none, has length 0.
            total += table[_bit_length(_magnitude(part[i]))]
            count += np.uint64(part[i] != 0)
        before = -1
        for start in range(0, len(part), 64):
            mask = _non_zeros(part[start : start + 64])
            while mask:
                i = start + _lowest(mask)
                mask &= mask - ONE
                total += table[_bit_length(np.uint64(i - before))]
                before = i
        bits[p] = total + np.int64(count) + table[_bit_length(count + ONE)]


def _measure(levels: NDArray[np.int32], gap: bool) -> NDArray[np.int64]:
    """Return the bits of every piece."""
    bits = np.empty(n_pieces(len(levels)), np.int64)
    kernel = _measure_gap if gap else _measure_dense
    spread(lambda a, b: kernel(levels, a, b, LENGTHS, bits), len(bits), len(levels))
    return bits


def bits_of(levels: NDArray[np.int32]) -> tuple[int, int]:
    """Return the exact bits of the stream in either layout, dense and gap.

    Parameters
    ----------
    levels : array of shape (n,)
        int32, contiguous.

    Examples
    --------
    >>> bits_of(np.array([0, 0, 1, -2], np.int32))  # 1 + 1 + 4 + 4; 3 + (3 + 2) + (1 + 4)
    (10, 13)
    """
    return int(_measure(levels, False).sum()), int(_measure(levels, True).sum())


@cache
def _codes() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return (code << 8 | length) of the small levels, from -SMALL on, and of omega(k)."""

    def dense(level: int) -> int:
        code, length = omega_of(abs(level) + 1)
        if level:
            code, length = code << 1 | (level < 0), length + 1
        return code << 8 | length

    def omega(k: int) -> int:
        code, length = omega_of(k)
        return code << 8 | length

    small = range(-SMALL, SMALL)
    return (
        np.array([dense(level) for level in small], np.uint64),
        np.array([0] + [omega(k) for k in range(1, SMALL)], np.uint64),
    )


@njit(nogil=True, forceinline=True, _nrt=False)
def _omega(k):  # type: ignore[no-untyped-def]
    """Return code and length of k, 1 <= k < 2^33."""
    code, length = np.uint64(0), ONE
    while k > ONE:
        b = _bit_length(k)
        code |= k << length
        length += b
        k = b - ONE
    return code, length


@njit(nogil=True, forceinline=True, _nrt=False)
def _put(code, length, word, free, at, words):  # type: ignore[no-untyped-def]
    """Append a code of 1..63 bits to a word with 1..64 free bits; return the new state."""
    if length < free:
        return word | (code << (free - length)), free - length, at
    words[at] = word | (code >> (length - free))
    left = SIXTY_FOUR - (length - free)
    # A shift by 64 is not defined.
    return (code << ONE) << (left - ONE), left, at + 1


@njit(nogil=True, forceinline=True, _nrt=False)
def _dense_code(level, small):  # type: ignore[no-untyped-def]
    if -SMALL <= level < SMALL:
        entry = small[level + SMALL]
        return entry >> np.uint64(8), entry & np.uint64(255)
    code, length = _omega(_magnitude(level) + ONE)
    return (code << ONE) | np.uint64(level < 0), length + ONE


@njit(nogil=True, forceinline=True, _nrt=False)
def _omega_code(k, small):  # type: ignore[no-untyped-def]
    if k < np.uint64(SMALL):
        entry = small[k]
        return entry >> np.uint64(8), entry & np.uint64(255)
    return _omega(k)


@njit(nogil=True, cache=True, _nrt=False)
def _encode_dense(levels, first, last, begin, small, _small_omega, words):  # type: ignore[no-untyped-def]
    """Write pieces first..last-1 from bit `begin` on; return the last word, which is not full."""
    part = levels[first * PIECE : last * PIECE]
    word, free, at = np.uint64(0), SIXTY_FOUR - np.uint64(begin & 63), begin >> 6
    whole = len(part) // 4 * 4
    for i in range(0, whole, 4):
        # One unsigned comparison each; four codes of up to 15 bits go in at once.
        worst = np.uint32(0)
        for j in range(4):
            worst = max(worst, np.uint32(part[i + j] + np.int32(SMALL)))
        if worst < np.uint32(2 * SMALL):
            code, length = np.uint64(0), np.uint64(0)
            for j in range(4):
                entry = small[np.int64(part[i + j]) + SMALL]
                code = (code << (entry & np.uint64(255))) | (entry >> np.uint64(8))
                length += entry & np.uint64(255)
            word, free, at = _put(code, length, word, free, at, words)
        else:
            for j in range(4):
                code, length = _dense_code(part[i + j], small)
                word, free, at = _put(code, length, word, free, at, words)
    for i in range(whole, len(part)):
        code, length = _dense_code(part[i], small)
        word, free, at = _put(code, length, word, free, at, words)
    return word


@njit(nogil=True, cache=True, _nrt=False)
def _encode_gap(levels, first, last, begin, _small_dense, small, words):  # type: ignore[no-untyped-def]
    """Write pieces first..last-1 from bit `begin` on; return the last word, which is not full."""
    word, free, at = np.uint64(0), SIXTY_FOUR - np.uint64(begin & 63), begin >> 6
    for p in range(first, last):
        part = levels[p * PIECE : (p + 1) * PIECE]
        count = np.uint64(0)
        for i in range(len(part)):
            count += np.uint64(part[i] != 0)
        code, length = _omega_code(count + ONE, small)
        word, free, at = _put(code, length, word, free, at, words)
        before = -1
        for start in range(0, len(part), 64):
            mask = _non_zeros(part[start : start + 64])
            while mask:
                i = start + _lowest(mask)
                mask &= mask - ONE
                code, length = _omega_code(np.uint64(i - before), small)
                before = i
                code, length = (code << ONE) | np.uint64(part[i] < 0), length + ONE
                more, its_length = _omega_code(_magnitude(part[i]), small)
                # A gap and the sign have at most 29 bits.
                if its_length < np.uint64(32):
                    code, length = (code << its_length) | more, length + its_length
                else:
                    word, free, at = _put(code, length, word, free, at, words)
                    code, length = more, its_length
                word, free, at = _put(code, length, word, free, at, words)
    return word


def encode(levels: NDArray[np.int32], layout: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Code levels.

    Parameters
    ----------
    levels : array of shape (n,)
        int32, contiguous.
    layout : {"dense", "gap"}
        `bits_of` tells which is the shorter.

    Returns
    -------
    words : array of shape (ceil(bits / 64),)
        The stream.
    offsets : array of shape (n_pieces(n),)
        Where every piece begins in the stream, in bits.
    """
    gap = is_gap(layout)
    edges = np.concatenate([[0], np.cumsum(_measure(levels, gap))])
    words = np.zeros(-(-int(edges[-1]) // 64), np.uint64)
    kernel = _encode_gap if gap else _encode_dense

    def run(first: int, last: int) -> tuple[int, Any]:
        begin, end = int(edges[first]), int(edges[last])
        return end, kernel(levels, first, last, begin, *_codes(), words)

    # Where one run ends another begins in the same word: that word is completed here.
    for end, word in spread(run, len(edges) - 1, len(levels)):
        if end % 64:
            words[end // 64] |= np.uint64(word)
    return words, edges[:-1].astype(np.uint64)
