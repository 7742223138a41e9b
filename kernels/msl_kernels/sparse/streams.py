"""Sparse streams on the CPU: ascending indices, a value each (SparCML: Renggli et al., SC 2019)."""

import numpy as np
from numba import njit

__all__ = ["ascending", "merge", "scatter", "scatter_add"]


@njit(nogil=True, cache=True, _nrt=False)
def ascending(indices):  # type: ignore[no-untyped-def]
    """Return whether every index is larger than the one before."""
    wrong = np.uint8(0)
    for i in range(1, len(indices)):
        wrong |= np.uint8(indices[i] <= indices[i - 1])
    return wrong == 0


@njit(nogil=True, cache=True, _nrt=False)
def scatter(indices, values, out):  # type: ignore[no-untyped-def]
    """Write each value at its index."""
    for i in range(len(indices)):
        out[indices[i]] = values[i]


@njit(nogil=True, cache=True, _nrt=False)
def scatter_add(indices, values, out):  # type: ignore[no-untyped-def]
    """Add each value at its index."""
    for i in range(len(indices)):
        out[indices[i]] += values[i]


@njit(nogil=True, cache=True, _nrt=False)
def merge(ia, va, ib, vb, indices, values):  # type: ignore[no-untyped-def]
    """Write the union of two streams; return its length.

    The steps choose without a branch: which stream comes next is a coin no predictor guesses.
    """
    a = b = count = 0
    while a < len(ia) and b < len(ib):
        left, right = ia[a], ib[b]
        both = va[a] + vb[b]
        alone = va[a] if left < right else vb[b]
        indices[count] = min(left, right)
        values[count] = both if left == right else alone
        a += left <= right
        b += right <= left
        count += 1
    for i in range(a, len(ia)):
        indices[count] = ia[i]
        values[count] = va[i]
        count += 1
    for i in range(b, len(ib)):
        indices[count] = ib[i]
        values[count] = vb[i]
        count += 1
    return count
