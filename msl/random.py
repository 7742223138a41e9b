"""Counter-based keys: every draw is a pure function of (seed, round, source, purpose).

A key is an integer below 2**64. Deriving a key never consumes anything, so the order and the
place in which sources run cannot change what they draw.
"""

import zlib
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

__all__ = ["derive", "generator"]

_MASK = (1 << 64) - 1


def _mix(z: int) -> int:
    """Finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a bijection of 64 bits."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def derive(key: int, *words: int | str) -> int:
    """Return the key of a named branch; equal words give equal keys on every machine.

    Parameters
    ----------
    key : int
        The parent, 0 <= key < 2**64.
    *words : int or str
        Round numbers, ranks and purposes, in a fixed order.

    Examples
    --------
    >>> derive(7, 3, "encode") == derive(7, 3, "encode")
    True
    >>> derive(7, 3, "encode") == derive(7, "encode", 3)
    False
    """
    state = _mix((key + 0x9E3779B97F4A7C15) & _MASK)
    for word in words:
        number = zlib.crc32(word.encode()) | 1 << 32 if isinstance(word, str) else word
        state = _mix((state ^ _mix((number + 0x9E3779B97F4A7C15) & _MASK)) * 5 + 1 & _MASK)
    return state


class _Key(ISeedSequence):
    """Hands Philox its key; told by name, Philox draws entropy as well, which takes longer."""

    def __init__(self, key: int) -> None:
        self.words = np.array([key, 0], np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Any:
        return self.words


def generator(key: int) -> np.random.Generator:
    """Return a NumPy generator on the counter-based Philox stream of this key."""
    words: Any = _Key(key)
    return np.random.Generator(np.random.Philox(words))
