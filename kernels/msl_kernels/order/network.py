"""Batcher's odd-even merge sorting network, pruned to the ranks that are wanted."""

from collections.abc import Iterable
from functools import lru_cache

__all__ = ["sorting_network"]


@lru_cache(maxsize=256)
def sorting_network(n: int, wanted: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Return comparators (i, j), i < j, after which the wanted positions hold their ranks.

    Parameters
    ----------
    n : int
        Numbers to sort.
    wanted : tuple of int
        Positions of the sorted order, 0..n-1; comparators that cannot reach them are left out.

    Examples
    --------
    >>> sorting_network(3, (1,))
    ((0, 1), (0, 2), (1, 2))
    >>> len(sorting_network(20, (9, 10)))
    84
    """
    needed = set(wanted)
    kept = []
    for i, j in reversed(list(_batcher(n))):
        if i in needed or j in needed:
            needed |= {i, j}
            kept.append((i, j))
    return tuple(reversed(kept))


def _batcher(n: int) -> Iterable[tuple[int, int]]:
    """Yield the whole network for any n (Knuth, TAOCP 3, 5.2.2, Algorithm M)."""
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(min(k, n - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        yield i + j, i + j + k
            k //= 2
        p *= 2
