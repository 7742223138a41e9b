"""Elias-omega codes of signed levels (Elias, 1975), as QSGD and NUQSGD send them; CPU only.

The code of k >= 1 ends in a 0; before it, while k > 1, stands k in binary, and k becomes its
length in bits less one. Levels are coded in pieces of 2^16 coordinates, in one of two layouts:

- dense: per coordinate omega(|level| + 1), and a sign bit unless the level is 0;
- gap: omega(m + 1) with the m non-zeros of the piece, then per non-zero omega(gap), its sign bit
  and omega(|level|); a gap counts from the non-zero before, the first from just before the piece.

A sign bit is 1 for a negative level. Bits fill 64-bit words from the highest to the lowest;
pieces follow one another without a gap, the last word ends in zeros.
"""

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from msl_kernels.parallel import spread

__all__ = ["PIECE", "bits_of", "decode", "encode", "lengths", "n_pieces"]

PIECE = 1 << 16
"""Coordinates coded, and decoded, on their own."""
SMALL = 128
"""Levels and gaps below are coded by a table: 4 of them fit a word."""
WINDOW = 11
"""Bits that index the tables of the decoder, which stay in L1."""
SYMBOLS = 8
"""Levels at most that a window holds; more than 8 zeros are rare enough."""

_ONE = np.uint64(1)
_63 = np.uint64(63)
_64 = np.uint64(64)


def _omega_of(k: int) -> tuple[int, int]:
    """Return code and length of k."""
    code, length = 0, 1
    while k > 1:
        code |= k << length
        length += k.bit_length()
        k = k.bit_length() - 1
    return code, length


LENGTHS = np.array([0] + [_omega_of(1 << b)[1] for b in range(64)], np.int64)
"""Bits of the code of a number, by the number's own length in bits."""


def lengths(k: ArrayLike) -> NDArray[np.int64]:
    """Return the bits of omega(k), 1 <= k < 2**53.

    Examples
    --------
    >>> lengths([1, 2, 4, 8, 16, 32, 64, 128, 256]).tolist()
    [1, 3, 6, 7, 11, 12, 13, 14, 16]
    """
    return LENGTHS.take(np.frexp(np.asarray(k, np.float64))[1])


def n_pieces(n: int) -> int:
    """Return ceil(n / PIECE)."""
    return -(-n // PIECE)


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
    return np.int64(_bit_length(mask & (~mask + _ONE))) - 1


@njit(nogil=True, cache=True, _nrt=False)
def _measure_dense(levels, first, last, table, bits):  # type: ignore[no-untyped-def]
    """Write the bits of pieces first..last-1."""
    for p in range(first, last):
        part = levels[p * PIECE : (p + 1) * PIECE]
        total = np.int64(0)
        for i in range(len(part)):
            total += table[_bit_length(_magnitude(part[i]) + _ONE)] + np.int64(part[i] != 0)
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
                mask &= mask - _ONE
                total += table[_bit_length(np.uint64(i - before))]
                before = i
        bits[p] = total + np.int64(count) + table[_bit_length(count + _ONE)]


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
        code, length = _omega_of(abs(level) + 1)
        if level:
            code, length = code << 1 | (level < 0), length + 1
        return code << 8 | length

    def omega(k: int) -> int:
        code, length = _omega_of(k)
        return code << 8 | length

    small = range(-SMALL, SMALL)
    return (
        np.array([dense(level) for level in small], np.uint64),
        np.array([0] + [omega(k) for k in range(1, SMALL)], np.uint64),
    )


@njit(nogil=True, forceinline=True, _nrt=False)
def _omega(k):  # type: ignore[no-untyped-def]
    """Return code and length of k, 1 <= k < 2^33."""
    code, length = np.uint64(0), _ONE
    while k > _ONE:
        b = _bit_length(k)
        code |= k << length
        length += b
        k = b - _ONE
    return code, length


@njit(nogil=True, forceinline=True, _nrt=False)
def _put(code, length, word, free, at, words):  # type: ignore[no-untyped-def]
    """Append a code of 1..63 bits to a word with 1..64 free bits; return the new state."""
    if length < free:
        return word | (code << (free - length)), free - length, at
    words[at] = word | (code >> (length - free))
    left = _64 - (length - free)
    # A shift by 64 is not defined.
    return (code << _ONE) << (left - _ONE), left, at + 1


@njit(nogil=True, forceinline=True, _nrt=False)
def _dense_code(level, small):  # type: ignore[no-untyped-def]
    if -SMALL <= level < SMALL:
        entry = small[level + SMALL]
        return entry >> np.uint64(8), entry & np.uint64(255)
    code, length = _omega(_magnitude(level) + _ONE)
    return (code << _ONE) | np.uint64(level < 0), length + _ONE


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
    word, free, at = np.uint64(0), _64 - np.uint64(begin & 63), begin >> 6
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
    word, free, at = np.uint64(0), _64 - np.uint64(begin & 63), begin >> 6
    for p in range(first, last):
        part = levels[p * PIECE : (p + 1) * PIECE]
        count = np.uint64(0)
        for i in range(len(part)):
            count += np.uint64(part[i] != 0)
        code, length = _omega_code(count + _ONE, small)
        word, free, at = _put(code, length, word, free, at, words)
        before = -1
        for start in range(0, len(part), 64):
            mask = _non_zeros(part[start : start + 64])
            while mask:
                i = start + _lowest(mask)
                mask &= mask - _ONE
                code, length = _omega_code(np.uint64(i - before), small)
                before = i
                code, length = (code << _ONE) | np.uint64(part[i] < 0), length + _ONE
                more, its_length = _omega_code(_magnitude(part[i]), small)
                # A gap and the sign have at most 29 bits.
                if its_length < np.uint64(32):
                    code, length = (code << its_length) | more, length + its_length
                else:
                    word, free, at = _put(code, length, word, free, at, words)
                    code, length = more, its_length
                word, free, at = _put(code, length, word, free, at, words)
    return word


def _is_gap(layout: str) -> bool:
    if layout not in ("dense", "gap"):
        raise ValueError(f"layout must be 'dense' or 'gap', not {layout!r}")
    return layout == "gap"


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
    gap = _is_gap(layout)
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


@njit(nogil=True, forceinline=True, _nrt=False)
def _peek(words, at):  # type: ignore[no-untyped-def]
    """Return 64 bits from bit `at` on, zeros past the end."""
    index, shift = at >> 6, np.uint64(at & 63)
    window = words[index] << shift if index < len(words) else np.uint64(0)
    after = words[index + 1] if index + 1 < len(words) else np.uint64(0)
    return window | ((after >> _ONE) >> (_63 - shift))


@njit(nogil=True, forceinline=True, _nrt=False)
def _read(window):  # type: ignore[no-untyped-def]
    """Return the number below 2^32 at the head of a window and its code's length; 0 if none."""
    k, used = _ONE, np.uint64(0)
    while (window << used) >> _63:
        # Such a number has 33 bits or more; at most 5 rounds come before.
        if k >= np.uint64(32):
            return np.uint64(0), np.uint64(0)
        k, used = (window << used) >> (_63 - k), used + k + _ONE
    return k, used + _ONE


@njit(nogil=True, forceinline=True, _nrt=False)
def _read_dense(window):  # type: ignore[no-untyped-def]
    """Return the level at the head of a window, its bits, and whether it is one."""
    k, used = _read(window)
    level, valid = np.int64(k) - 1, k > np.uint64(0)
    if level > 0:
        if (window << used) >> _63:
            level = -level
        used += _ONE
    return level, np.int64(used), valid and -(2**31) <= level < 2**31


@njit(nogil=True, forceinline=True, _nrt=False)
def _read_gap(window):  # type: ignore[no-untyped-def]
    """Return the level at the head of a window, sign first, its bits, and whether it is one."""
    k, used = _read(window << _ONE)
    level, valid = np.int64(k), k > np.uint64(0)
    if window >> _63:
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
        code, length = _omega_of(level + 1)
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
        gap_code, gap_length = _omega_of(gap)
        for level in range(1, SMALL):
            code, length = _omega_of(level)
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
    gap = _is_gap(layout)
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
