"""Philox4x32-7, the counter-based generator shared by every kernel (Salmon et al., SC 2011).

Four random words are a pure function of a 64-bit key and a 64-bit counter, so a result depends
neither on the number of threads nor on the launch geometry, and CPU and CUDA give equal bits.
"""

import numpy as np

__all__ = ["BUMP0", "BUMP1", "MULTIPLY0", "MULTIPLY1", "ROUNDS", "split"]

MULTIPLY0 = np.uint64(0xD2511F53)
MULTIPLY1 = np.uint64(0xCD9E8D57)
BUMP0 = np.uint32(0x9E3779B9)
BUMP1 = np.uint32(0xBB67AE85)
ROUNDS = 7
"""The fewest that pass BigCrush (Salmon et al., Table 2); 10 cost a third more."""


def split(key: int) -> tuple[np.uint32, np.uint32]:
    """Return the low and the high word of a key, 0 <= key < 2**64."""
    return np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)
