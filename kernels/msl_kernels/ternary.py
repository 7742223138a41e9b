"""TernGrad: every number becomes -1, 0 or 1 times a common scale. CPU only.

With the scale m, number x becomes m sign(x) with probability min(|x|, m) / m, else 0: a 16-bit
half-word of the generator decides, as in `quantize`. Fields of 2 bits hold the sign plus 1.
"""

from typing import Any

import numpy as np
from numba import njit

from msl_kernels.parallel import spread
from msl_kernels.philox import draw_on_cpu, split
from msl_kernels.quantize import packed_nbytes
from msl_kernels.quantize.packing import pack, unpack

__all__ = ["largest_and_power", "ternarize", "unternarize"]

CHUNK = 4096
"""Numbers whose levels lie in scratch at once."""
_KEY = np.int32(0x7FFFFFFF)
_INF_KEY = np.int32(0x7F800000)
_HALF = np.float32(0.5)
_DITHER = np.float32(1.0 / 65536.0)


@njit(nogil=True, cache=True)
def _largest_and_power(x, first, last, largest, power):  # type: ignore[no-untyped-def]
    """Write the largest |x| as its bits, and the sum of squares, of chunks first..last-1."""
    for c in range(first, last):
        part = x[c * CHUNK : (c + 1) * CHUNK]
        raw = part.view(np.int32)
        high = np.int32(0)
        for i in range(len(raw)):
            high = max(high, raw[i] & _KEY)
        largest[c] = high
        total = 0.0
        for i in range(len(part)):
            total += np.float64(part[i]) * np.float64(part[i])
        power[c] = total


@njit(nogil=True, cache=True)
def _ternarize(x, inverse, key0, key1, first, last, packed, levels, halves):  # type: ignore[no-untyped-def]
    words = halves.view(np.uint64)
    for c in range(first, last):
        part = x[c * CHUNK : (c + 1) * CHUNK]
        groups = (len(part) + 7) // 8
        for g in range(groups):
            index = np.uint64(c * (CHUNK // 8) + g)
            words[2 * g], words[2 * g + 1] = draw_on_cpu(index, key0, key1)
        for i in range(len(part)):
            r = (np.float32(np.int32(halves[i])) + _HALF) * _DITHER
            sent = np.int32(abs(part[i]) * inverse > r)
            levels[i] = np.uint8(1 + (sent if part[i] >= 0 else -sent))
        for i in range(len(part), 8 * groups):
            levels[i] = 0
        start = c * (CHUNK // 4)
        pack(levels, 2, groups, packed[start : start + 2 * groups])


@njit(nogil=True, cache=True)
def _unternarize(packed, scale, first, last, out, add, levels):  # type: ignore[no-untyped-def]
    for c in range(first, last):
        part = out[c * CHUNK : (c + 1) * CHUNK]
        groups = (len(part) + 7) // 8
        start = c * (CHUNK // 4)
        unpack(packed[start : start + 2 * groups], 2, groups, levels)
        for i in range(len(part)):
            value = scale * np.float32(np.int32(levels[i]) - np.int32(1))
            part[i] = part[i] + value if add else value


def _chunks(n: int) -> int:
    return -(-n // CHUNK)


def largest_and_power(x: Any) -> tuple[float, float, int]:
    """Return the largest magnitude, the sum of squares, and the first bad index or -1."""
    largest, power = np.zeros(_chunks(len(x)), np.int32), np.zeros(_chunks(len(x)))
    spread(lambda a, b: _largest_and_power(x, a, b, largest, power), len(largest), len(x))
    if (largest >= _INF_KEY).any():
        return 0.0, 0.0, int(np.argmin(np.isfinite(x)))
    return float(largest.view(np.float32).max(initial=0.0)), float(power.sum()), -1


def ternarize(x: Any, scale: float, key: int) -> Any:
    """Return the packed fields, uint8 (packed_nbytes(n, 2),), of finite float32 numbers.

    Parameters
    ----------
    x : array of shape (n,)
        float32.
    scale : float
        m >= 0; numbers beyond it count as it.
    key : int
        64-bit key of the draws.
    """
    # Groups of eight may end in the padding, never past it.
    packed = np.zeros(packed_nbytes(len(x), 2), np.uint8)
    inverse = np.float32(1 / np.float32(scale)) if scale > 0 else np.float32(0)

    def run(first: int, last: int) -> None:
        scratch = np.empty(CHUNK, np.uint8), np.empty(CHUNK, np.uint16)
        _ternarize(x, inverse, *split(key), first, last, packed, *scratch)

    spread(run, _chunks(len(x)), len(x))
    return packed


def unternarize(packed: Any, scale: float, n: int, out: Any = None, add: bool = False) -> Any:
    """Return -m, 0 or m for n fields, written or added to `out`."""
    out = np.empty(n, np.float32) if out is None else out

    def run(first: int, last: int) -> None:
        _unternarize(packed, np.float32(scale), first, last, out, add, np.empty(CHUNK, np.uint8))

    spread(run, _chunks(n), n)
    return out
