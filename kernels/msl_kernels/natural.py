"""Natural compression (Horvath et al., 2019): signs and exponents, 9 bits; CPU only."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from msl_kernels.dither import draw_dithers
from msl_kernels.parallel import spread
from msl_kernels.philox import split
from msl_kernels.quantize import first_bad, packed_nbytes
from msl_kernels.quantize.packing import pack_part, unpack_part
from msl_kernels.rounding import INF, MAGNITUDE, TOP, dither_exponent, power
from msl_kernels.simd import prefer_wide, prefetch

__all__ = ["natural", "unnatural"]

BLOCK = 2048
"""Numbers of natural compression that lie in L1 with their dither."""


@njit(nogil=True, forceinline=True, _nrt=False)
def _round(raw, halves, exponents, negative):  # type: ignore[no-untyped-def]
    """Write exponents and signs; return the largest magnitude as bits."""
    prefer_wide()
    largest = np.int32(0)
    for i in range(len(raw)):
        magnitude = raw[i] & MAGNITUDE
        largest = max(largest, magnitude)
        # Unsigned: the sum may pass 2^31.
        up = np.uint32(magnitude + dither_exponent(halves[i])) >> np.uint32(23)
        exponents[i] = np.uint8(min(np.int32(up), TOP))
        negative[i] = np.uint8(np.uint32(raw[i]) >> np.uint32(31))
    return largest


@njit(nogil=True, cache=True, _nrt=False)
def _natural(x, first, last, key0, key1, exponents, signs, negative, words):  # type: ignore[no-untyped-def]
    """Round blocks first..last-1; return the first with a number that is not finite, or -1."""
    prefer_wide()
    raw, halves = x.view(np.int32), words.view(np.uint16)
    octets = words.view(np.uint8)
    for b in range(first, last):
        part = raw[b * BLOCK : (b + 1) * BLOCK]
        groups = (len(part) + 7) // 8
        prefetch(x, (b + 1) * BLOCK, (b + 2) * BLOCK)
        draw_dithers(b * (BLOCK // 8), groups, key0, key1, words)
        if _round(part, halves, exponents[b * BLOCK : (b + 1) * BLOCK], negative) >= INF:
            return b
        room = signs[b * (BLOCK // 8) : b * (BLOCK // 8) + groups]
        pack_part(negative, len(part), 1, octets, room)
    return -1


def natural(
    x: NDArray[np.float32], key: int, exponents: Any = None, signs: Any = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """Round to powers of two (natural compression: Horvath et al., 2019).

    Unbiased, with E|y - x|^2 <= x^2 / 8, the worst at 4/3 of a power of two. Below 2**-126 the
    neighbours are 0 and 2**-126. Above 2**127 there is no upper neighbour in float32: such
    numbers become 2**127, which is biased.

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous.
    key : int
        64-bit key of the rounding.
    exponents, signs : arrays, optional
        uint8 (n,) and (packed_nbytes(n, 1),) to write into.

    Returns
    -------
    exponents : array of shape (n,)
        Biased by 127, 0..254; 0 stands for the number 0.
    signs : array of shape (packed_nbytes(n, 1),)
        A bit per number, lowest first, 1 for minus; zeros at the end.
    first_bad : int
        Index of the first NaN or Inf, and then the outputs mean nothing; -1 when all is well.
    """
    n = len(x)
    if exponents is None:
        exponents = np.empty(n, np.uint8)
    if signs is None:
        signs = np.empty(packed_nbytes(n, 1), np.uint8)
    signs[(n + 7) // 8 :] = 0

    def run(first: int, last: int) -> int:
        scratch = np.empty(BLOCK, np.uint8), np.empty(BLOCK // 4, np.uint64)
        return int(_natural(x, first, last, *split(key), exponents, signs, *scratch))

    bad = next((b for b in spread(run, -(-n // BLOCK), n) if b >= 0), -1)
    return exponents, signs, bad if bad < 0 else first_bad(x, bad * BLOCK, BLOCK)


@njit(nogil=True, cache=True, _nrt=False)
def _unnatural(exponents, signs, first, last, out, add, spare, negative):  # type: ignore[no-untyped-def]
    """Decode blocks first..last-1."""
    prefer_wide()
    for b in range(first, last):
        part = out[b * BLOCK : (b + 1) * BLOCK]
        powers = exponents[b * BLOCK : (b + 1) * BLOCK]
        room = signs[b * (BLOCK // 8) : (b + 1) * (BLOCK // 8)]
        unpack_part(room[: (len(part) + 7) // 8], len(part), 1, spare, negative)
        if add:
            for i in range(len(part)):
                part[i] += power(powers[i], negative[i])
        else:
            for i in range(len(part)):
                part[i] = power(powers[i], negative[i])


def unnatural(
    exponents: NDArray[np.uint8],
    signs: NDArray[np.uint8],
    n: int,
    out: Any = None,
    add: bool = False,
) -> Any:
    """Return the powers of two of `natural`, written or added to `out`.

    Parameters
    ----------
    exponents, signs : arrays
        As `natural` returned them. It never returns exponent 255, which would be Inf here.
    n : int
        Numbers.
    out : array of shape (n,), optional
        float32; required when `add` is true.
    add : bool
        Whether to add to what `out` holds.
    """
    if out is None:
        out = np.empty(n, np.float32)

    def run(first: int, last: int) -> None:
        _unnatural(exponents, signs, first, last, out, add, *np.empty((2, BLOCK), np.uint8))

    spread(run, -(-n // BLOCK), n)
    return out
