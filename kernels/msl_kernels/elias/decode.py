"""A stream of bits to levels; streams come from strangers, so nothing is read unchecked."""

from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from msl_kernels.elias.codes import (
    ONE,
    PIECE,
    SIXTY_THREE,
    SMALL,
    SYMBOLS,
    WINDOW,
    is_gap,
    n_pieces,
    omega_of,
)
from msl_kernels.parallel import spread

__all__ = ["decode"]


@njit(nogil=True, forceinline=True, _nrt=False)
def _peek(words, at):  # type: ignore[no-untyped-def]
    """Return 64 bits from bit `at` on, zeros past the end."""
    index, shift = at >> 6, np.uint64(at & 63)
    window = words[index] << shift if index < len(words) else np.uint64(0)
    after = words[index + 1] if index + 1 < len(words) else np.uint64(0)
    return window | ((after >> ONE) >> (SIXTY_THREE - shift))


@njit(nogil=True, forceinline=True, _nrt=False)
def _read(window):  # type: ignore[no-untyped-def]
    """Return the number below 2^32 at the head of a window and its code's length; 0 if none."""
    k, used = ONE, np.uint64(0)
    while (window << used) >> SIXTY_THREE:
        # Such a number has 33 bits or more; at most 5 rounds come before.
        if k >= np.uint64(32):
            return np.uint64(0), np.uint64(0)
        k, used = (window << used) >> (SIXTY_THREE - k), used + k + ONE
    return k, used + ONE


@njit(nogil=True, forceinline=True, _nrt=False)
def _read_dense(window):  # type: ignore[no-untyped-def]
    """Return the level at the head of a window, its bits, and whether it is one."""
    k, used = _read(window)
    level, valid = np.int64(k) - 1, k > np.uint64(0)
    if level > 0:
        if (window << used) >> SIXTY_THREE:
            level = -level
        used += ONE
    return level, np.int64(used), valid and -(2**31) <= level < 2**31


@njit(nogil=True, forceinline=True, _nrt=False)
def _read_gap(window):  # type: ignore[no-untyped-def]
    """Return the level at the head of a window, sign first, its bits, and whether it is one."""
    k, used = _read(window << ONE)
    level, valid = np.int64(k), k > np.uint64(0)
    if window >> SIXTY_THREE:
        level = -level
    return level, np.int64(used) + 1, valid and -(2**31) <= level < 2**31


@njit(nogil=True, forceinline=True, _nrt=False)
def _ends(words, at, end):  # type: ignore[no-untyped-def]
    """Tell whether a piece read up to bit `at` ends there; the last one does before zeros."""
    if end < 64 * len(words):
        return at == end
    return 0 <= end - at < 64 and _peek(words, at) == 0


@cache
def _dense_table() -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Return the levels that every window holds whole, and (count << 8 | their bits)."""
    levels = np.zeros((1 << WINDOW, SYMBOLS), np.int8)
    spans = np.zeros(1 << WINDOW, np.int32)
    codes = {0: (0, 1)}
    for level in range(1, 1 << WINDOW):
        code, length = omega_of(level + 1)
        if length + 1 > WINDOW:
            break
        codes[level], codes[-level] = (code << 1, length + 1), (code << 1 | 1, length + 1)
    _fill(levels, spans, codes, (), 0, 0)
    return levels, spans


def _fill(
    levels: NDArray[np.int8],
    spans: NDArray[np.int32],
    codes: dict[int, tuple[int, int]],
    held: tuple[int, ...],
    head: int,
    used: int,
) -> None:
    """Enter the windows that begin with the levels `held`, then those that hold one more."""
    rows = slice(head << (WINDOW - used), (head + 1) << (WINDOW - used))
    levels[rows, : len(held)] = held
    spans[rows] = len(held) << 8 | used
    if len(held) < SYMBOLS:
        for level, (code, length) in codes.items():
            if used + length <= WINDOW:
                more = head << length | code
                _fill(levels, spans, codes, (*held, level), more, used + length)


@cache
def _gap_table() -> NDArray[np.int32]:
    """Return (gap << 16 | (level + 128) << 8 | bits) of the non-zero that heads a window, or 0."""
    table = np.zeros(1 << WINDOW, np.int32)
    for gap in range(1, SMALL):
        gap_code, gap_length = omega_of(gap)
        for level in range(1, SMALL):
            code, length = omega_of(level)
            used = gap_length + 1 + length
            if used > WINDOW:
                break
            for sign in (0, 1):
                head = (gap_code << 1 | sign) << length | code
                rows = slice(head << (WINDOW - used), (head + 1) << (WINDOW - used))
                signed = -level if sign else level
                table[rows] = gap << 16 | (signed + 128) << 8 | used
    return table


@njit(nogil=True, cache=True, _nrt=False)
def _decode_dense(words, edges, first, last, table, spans, out):  # type: ignore[no-untyped-def]
    """Decode pieces first..last-1; return the first that is not valid, or -1."""
    for p in range(first, last):
        part = out[p * PIECE : (p + 1) * PIECE]
        at, end = edges[p], edges[p + 1]
        i = np.int64(0)
        while i < len(part):
            window = _peek(words, at)
            head = np.int64(window >> np.uint64(64 - WINDOW))
            span = np.int64(spans[head])
            if span and i + SYMBOLS <= len(part) and at + WINDOW <= end:
                # All 8 are written; those past the count are written again.
                for j in range(SYMBOLS):
                    part[i + j] = table[head, j]
                i += span >> 8
                at += span & 255
                continue
            level, used, valid = _read_dense(window)
            at += used
            if not valid or at > end:
                return p
            part[i] = level
            i += 1
        if not _ends(words, at, end):
            return p
    return -1


@njit(nogil=True, cache=True, _nrt=False)
def _decode_gap(words, edges, first, last, table, out):  # type: ignore[no-untyped-def]
    """Decode pieces first..last-1; return the first that is not valid, or -1."""
    for p in range(first, last):
        part = out[p * PIECE : (p + 1) * PIECE]
        for i in range(len(part)):
            part[i] = 0
        at, end = edges[p], edges[p + 1]
        k, used = _read(_peek(words, at))
        at += np.int64(used)
        if k == 0 or at > end:
            return p
        place = np.int64(-1)
        for _ in range(np.int64(k) - 1):
            window = _peek(words, at)
            entry = np.int64(table[window >> np.uint64(64 - WINDOW)])
            if entry:
                place += entry >> 16
                level = ((entry >> 8) & 255) - 128
                at += entry & 255
            else:
                gap, used = _read(window)
                level, more, valid = _read_gap(_peek(words, at + np.int64(used)))
                if gap == 0 or not valid:
                    return p
                place += np.int64(gap)
                at += np.int64(used) + more
            if place >= len(part) or at > end:
                return p
            part[place] = level
        if not _ends(words, at, end):
            return p
    return -1


def decode(
    words: NDArray[np.uint64],
    offsets: NDArray[np.uint64],
    n: int,
    layout: str,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Return the n levels of a stream, which need not be an honest one.

    Parameters
    ----------
    words, offsets : arrays
        As `encode` returned them.
    n : int
        Levels.
    layout : {"dense", "gap"}
        As given to `encode`.
    out : array of shape (n,), optional
        int32 to write into.

    Raises
    ------
    ValueError
        If the pieces do not lie in the stream one after another, or one of them is not exactly
        the code of its levels.
    """
    gap = is_gap(layout)
    pieces = n_pieces(n)
    if len(offsets) != pieces:
        raise ValueError(f"{n} levels have {pieces} offsets, not {len(offsets)}")
    size = 64 * len(words)
    if np.any(offsets[:1] != 0) or np.any(offsets[1:] < offsets[:-1]) or np.any(offsets > size):
        raise ValueError(f"offsets must ascend from 0 and stay within {size} bits")
    if not pieces and size:
        raise ValueError("no levels have no stream")
    edges = np.append(offsets.astype(np.int64), size)
    levels = np.empty(n, np.int32) if out is None else out

    def run(first: int, last: int) -> int:
        if gap:
            return int(_decode_gap(words, edges, first, last, _gap_table(), levels))
        return int(_decode_dense(words, edges, first, last, *_dense_table(), levels))

    bad = next((p for p in spread(run, pieces, n) if p >= 0), -1)
    if bad >= 0:
        raise ValueError(f"piece {bad} of the stream is cut or not valid")
    return levels
