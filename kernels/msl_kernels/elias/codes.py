"""The omega code of a number, and what coder and decoder agree on."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "LENGTHS",
    "ONE",
    "PIECE",
    "SIXTY_FOUR",
    "SIXTY_THREE",
    "SMALL",
    "SYMBOLS",
    "WINDOW",
    "is_gap",
    "lengths",
    "n_pieces",
    "omega_of",
]

PIECE = 1 << 16
"""Coordinates coded, and decoded, on their own."""
SMALL = 128
"""Levels and gaps below are coded by a table: 4 of them fit a word."""
WINDOW = 11
"""Bits that index the tables of the decoder, which stay in L1."""
SYMBOLS = 8
"""Levels at most that a window holds; more than 8 zeros are rare enough."""

ONE = np.uint64(1)
SIXTY_THREE = np.uint64(63)
SIXTY_FOUR = np.uint64(64)


def omega_of(k: int) -> tuple[int, int]:
    """Return code and length of k."""
    code, length = 0, 1
    while k > 1:
        code |= k << length
        length += k.bit_length()
        k = k.bit_length() - 1
    return code, length


LENGTHS = np.array([0] + [omega_of(1 << b)[1] for b in range(64)], np.int64)
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


def is_gap(layout: str) -> bool:
    """Return whether the layout is "gap"; anything but it and "dense" is refused."""
    if layout not in ("dense", "gap"):
        raise ValueError(f"layout must be 'dense' or 'gap', not {layout!r}")
    return layout == "gap"
