"""Counter-based keys: every draw is a pure function of (seed, round, source, purpose).

A key is an integer below 2**64. Deriving a key never consumes anything, so the order and the
place in which sources run cannot change what they draw.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

__all__ = ["derive", "derive_each", "generator", "generators"]

_MASK = (1 << 64) - 1


def _mix(z: Any) -> Any:
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
    found: int = _derive(key, (_number(word) for word in words))
    return found


def derive_each(
    key: int, round: int, ranks: Sequence[int], purposes: Sequence[str]
) -> list[list[int]]:
    """Return derive(key, round, rank, purpose) of many sources at once: a list per purpose.

    Examples
    --------
    >>> derive_each(7, 3, [4, 5], ["solve", "encode"])[1][0] == derive(7, 3, 4, "encode")
    True
    """
    columns = np.array(ranks, np.uint64)
    rows = np.array([_number(purpose) for purpose in purposes], np.uint64)[:, None]
    found: list[list[int]] = _derive(key, (round, columns, rows)).tolist()
    return found


def _number(word: int | str) -> int:
    return zlib.crc32(word.encode()) | 1 << 32 if isinstance(word, str) else word


def _derive(key: int, numbers: Iterable[Any]) -> Any:
    """Return the key of a branch, or an array of keys: NumPy's uint64 cuts products likewise."""
    state = _mix((key + 0x9E3779B97F4A7C15) & _MASK)
    for number in numbers:
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


def generators(keys: Iterable[int]) -> Iterator[np.random.Generator]:
    """Yield `generator(key)` of each key: one object by turns, which takes half the time.

    Examples
    --------
    >>> [draw.integers(99) for draw in generators([7, 7, 8])] == [
    ...     generator(key).integers(99) for key in (7, 7, 8)
    ... ]
    True
    """
    draw = generator(0)
    start = draw.bit_generator.state
    for key in keys:
        start["state"]["key"][0] = key
        draw.bit_generator.state = start
        yield draw
