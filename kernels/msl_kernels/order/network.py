"""Sorting networks, cut down to the ranks somebody asks for."""

__all__ = ["selection_network"]


def _batcher(n: int) -> list[tuple[int, int]]:
    """Return Batcher's odd-even merge sort of n wires (AFIPS 1968; Knuth, 5.2.2, Algorithm M)."""
    pairs = []
    top = 1 << max(n - 1, 1).bit_length() - 1
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return pairs


def selection_network(n: int, first: int, last: int) -> list[tuple[int, int]]:
    """Return comparators (i, j) that leave ranks first..last in place; the other wires are void.

    Walking backwards, a comparator counts when one of its wires still does: the median of 20
    needs 81 of 97, of 10 it needs 29 of 31.

    Examples
    --------
    >>> selection_network(3, 1, 1)
    [(0, 2), (0, 1), (1, 2)]
    """
    wanted = set(range(first, last + 1))
    kept = []
    for pair in reversed(_batcher(n)):
        if not wanted.isdisjoint(pair):
            wanted.update(pair)
            kept.append(pair)
    return kept[::-1]
