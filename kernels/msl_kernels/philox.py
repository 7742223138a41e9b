"""Philox4x32, the counter-based generator shared by every kernel (Salmon et al., SC 2011).

Four random words are a pure function of a 64-bit key and a 64-bit counter, so a result depends
neither on the number of threads nor on the launch geometry, and CPU and CUDA give equal bits.
"""

import numpy as np
from numba import njit

__all__ = ["draw", "draw_on_cpu", "split"]

_MULTIPLY0 = np.uint64(0xD2511F53)
_MULTIPLY1 = np.uint64(0xCD9E8D57)
_BUMP0 = np.uint64(0x9E3779B9)
_BUMP1 = np.uint64(0xBB67AE85)
_WORD = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def split(key: int) -> tuple[np.uint64, np.uint64]:
    """Return the low and the high word of a key, 0 <= key < 2**64."""
    return np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)


def draw(index, key0, key1, rounds=10):  # type: ignore[no-untyped-def]
    """Return 128 random bits as two uint64: words 0 and 1, words 2 and 3, the lower word first.

    The one source of the CPU and the CUDA function, and of the instructions for `simd.Lanes`. A
    32-bit word has a 64-bit lane to itself: products need no widening, and what gathers in the
    upper half of a lane is cut only where it would count. A loop over `index` vectorises, the
    rounds unrolled inside it.

    Parameters
    ----------
    index : uint64
        Counter (index, 0, 0) of three words.
    key0, key1 : uint64
        Words of the key, see `split`.
    rounds : int
        10 is the authors' choice, 7 the fewest that pass BigCrush.
    """
    w0, w1, w2, w3 = index & _WORD, index >> _SHIFT, np.uint64(0), np.uint64(0)
    for _ in range(rounds):
        p0, p1 = _MULTIPLY0 * (w0 & _WORD), _MULTIPLY1 * (w2 & _WORD)
        w0, w1, w2, w3 = (p1 >> _SHIFT) ^ w1 ^ key0, p1, (p0 >> _SHIFT) ^ w3 ^ key1, p0
        key0 += _BUMP0
        key1 += _BUMP1
    return (w0 & _WORD) | (w1 << _SHIFT), (w2 & _WORD) | (w3 << _SHIFT)


draw_on_cpu = njit(nogil=True, forceinline=True)(draw)
