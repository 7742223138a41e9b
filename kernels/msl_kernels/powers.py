"""Stochastic rounding to powers of two: natural compression and NUQSGD; CPU only.

Both round a positive number between the powers of two around it by one integer addition: with a
dither d on the bits below the exponent, ``(bits + d) >> 23`` is the exponent of the lower power,
or, with the probability that makes the result unbiased, of the upper one. The dither has 16 bits
(the bias is below 2**-17 of the step) and comes from the generator as in `msl_kernels.quantize`.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from msl_kernels.dither import draw_dithers
from msl_kernels.parallel import spread
from msl_kernels.philox import split
from msl_kernels.quantize import n_buckets, packed_nbytes
from msl_kernels.quantize.packing import pack_part, unpack_part
from msl_kernels.simd import address, prefer_wide, prefetch

__all__ = ["from_nonuniform", "natural", "nonuniform", "nonuniform_bits", "unnatural"]

BLOCK = 2048
"""Numbers of natural compression that lie in L1 with their dither."""
LANES = 32
"""Partial sums of squares."""

_MAGNITUDE = np.int32(0x7FFFFFFF)
_INF = np.int32(0x7F800000)
_MANTISSA = np.int32(23)
_TOP = np.int32(254)
_TINY = np.float32(2.0**-100)
_ONE = np.float32(1.0)


@njit(nogil=True, forceinline=True, _nrt=False)
def _dither(half):  # type: ignore[no-untyped-def]
    """Return (half + 1/2) / 65536 of the lowest bit of an exponent."""
    return (np.int32(half) << np.int32(7)) + np.int32(64)


@njit(nogil=True, forceinline=True, _nrt=False)
def _int32(x):  # type: ignore[no-untyped-def]
    return np.float32(x).view(np.int32)


@njit(nogil=True, forceinline=True, _nrt=False)
def _float32(bits):  # type: ignore[no-untyped-def]
    return np.int32(bits).view(np.float32)


@njit(nogil=True, forceinline=True, _nrt=False)
def _round(raw, halves, exponents, negative):  # type: ignore[no-untyped-def]
    """Write exponents and signs; return the largest magnitude as bits."""
    prefer_wide()
    largest = np.int32(0)
    for i in range(len(raw)):
        magnitude = raw[i] & _MAGNITUDE
        largest = max(largest, magnitude)
        # Unsigned: the sum may pass 2^31.
        up = np.uint32(magnitude + _dither(halves[i])) >> np.uint32(23)
        exponents[i] = np.uint8(min(np.int32(up), _TOP))
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
        if _round(part, halves, exponents[b * BLOCK : (b + 1) * BLOCK], negative) >= _INF:
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
    return exponents, signs, bad if bad < 0 else _first_bad(x, bad * BLOCK, BLOCK)


def _first_bad(x: NDArray[np.float32], start: int, size: int) -> int:
    """Return the first NaN or Inf of a part, or the largest magnitude when there is none."""
    part = x[start : start + size]
    finite = np.isfinite(part)
    return start + int(np.argmax(np.abs(part)) if finite.all() else np.argmin(finite))


@njit(nogil=True, forceinline=True, _nrt=False)
def _power(exponent, negative):  # type: ignore[no-untyped-def]
    """Return +-2^(exponent - 127), or +-0 for exponent 0."""
    return _float32((np.int32(exponent) << _MANTISSA) | (np.int32(negative) << np.int32(31)))


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
                part[i] += _power(powers[i], negative[i])
        else:
            for i in range(len(part)):
                part[i] = _power(powers[i], negative[i])


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


def nonuniform_bits(levels: int) -> int:
    """Return the bits of a number: its sign, and 0 or one of the levels + 1 powers.

    Examples
    --------
    >>> [nonuniform_bits(s) for s in (1, 2, 3, 6, 7, 14, 30)]
    [3, 3, 4, 4, 5, 5, 6]
    """
    return (levels + 1).bit_length() + 1


@intrinsic
def _sum_of_squares(_typing_context, x, _count):  # type: ignore[no-untyped-def]
    """Return the sum of squares of count * LANES numbers, count > 0, by a sum per lane."""
    singles, sums = (ir.VectorType(kind, LANES) for kind in (ir.FloatType(), ir.DoubleType()))

    def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        total = cgutils.alloca_once_value(builder, ir.Constant(sums, [0.0] * LANES))
        with cgutils.for_range(builder, arguments[1]) as loop:
            at = builder.mul(loop.index, context.get_constant(types.intp, LANES))
            pointer = address(context, builder, x, arguments[0], at, singles)
            wide = builder.fpext(builder.load(pointer, align=4), sums)
            square = builder.fmul(wide, wide)
            builder.store(builder.fadd(builder.load(total), square), total)
        value, lanes = builder.load(total), LANES
        while lanes > 1:
            lanes //= 2
            none = ir.Constant(value.type, ir.Undefined)
            lower, upper = (
                ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(i, i + lanes)))
                for i in (0, lanes)
            )
            value = builder.fadd(
                builder.shuffle_vector(value, none, lower),
                builder.shuffle_vector(value, none, upper),
            )
        return builder.extract_element(value, ir.IntType(32)(0))

    return types.float64(x, types.intp), emit


@njit(nogil=True, forceinline=True, _nrt=False)
def _norm(x, rest):  # type: ignore[no-untyped-def]
    """Return the 2-norm; `rest` (LANES,) float32 is scratch."""
    whole = len(x) // LANES
    total = _sum_of_squares(x, whole) if whole else 0.0
    if whole * LANES < len(x):
        for j in range(LANES):
            rest[j] = x[whole * LANES + j] if whole * LANES + j < len(x) else np.float32(0.0)
        total += _sum_of_squares(rest, 1)
    return np.float32(np.sqrt(total))


@njit(nogil=True, forceinline=True, _nrt=False)
def _levels(raw, inverse, s, bits, halves, fields):  # type: ignore[no-untyped-def]
    """Write the fields of a bucket: 0 for 0, l for 2^(l - s - 1), the sign in the top bit.

    r + 2^-s has the exponent of 2^-s for any r below it, and r / 2^-s below that exponent: so
    the step from 0 to the smallest level is one between powers of two as well. From 2^-s on
    r + r is the greater of the two.
    """
    prefer_wide()
    smallest = _float32((np.int32(127) - s) << _MANTISSA)
    side = np.int32(bits - 1)
    for i in range(len(raw)):
        ratio = _float32(raw[i] & _MAGNITUDE) * inverse
        power = _int32(max(ratio + ratio, ratio + smallest))
        level = ((power + _dither(halves[i])) >> _MANTISSA) - (np.int32(127) - s)
        negative = np.int32(np.uint32(raw[i]) >> np.uint32(31))
        fields[i] = np.uint8(min(level, s + np.int32(1)) | (negative << side))


@njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _nonuniform(  # type: ignore[no-untyped-def]
    x, first, last, s, bits, bucket, key0, key1, norms, packed, fields, words, rest
):
    """Quantise buckets first..last-1; return the first that has no finite norm, or -1."""
    prefer_wide()
    raw, halves = x.view(np.int32), words.view(np.uint16)
    stride = bucket * bits // 8
    for b in range(first, last):
        part = x[b * bucket : (b + 1) * bucket]
        n = len(part)
        room = packed[b * stride : b * stride + (n * bits + 7) // 8]
        norm = _norm(part, rest)
        norms[b] = norm
        if not norm < np.inf:
            return b
        if norm < _TINY:
            for i in range(len(room)):
                room[i] = 0
            continue
        prefetch(x, (b + 1) * bucket, (b + 2) * bucket)
        draw_dithers(b * (bucket // 8), (n + 7) // 8, key0, key1, words)
        _levels(raw[b * bucket : b * bucket + n], _ONE / norm, np.int32(s), bits, halves, fields)
        pack_part(fields, n, bits, words.view(np.uint8), room)
    return -1


def nonuniform(
    x: NDArray[np.float32],
    levels: int,
    bucket: int,
    key: int,
    norms: Any = None,
    packed: Any = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], int]:
    """Round the share in the norm to 0, 2^-s, ..., 1/2, 1 (NUQSGD: Ramezani-Kebrya et al., 2021).

    Unbiased; on a bucket of d numbers E|y - x|^2 <= eps |x|^2 with
    eps = 1/8 + 2^(-2s-2) d when d < 2^(2s+1), else 2^-s sqrt(d) - 7/8.

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous.
    levels : int
        s, 1..30. Of a width of b bits, s = 2^(b-1) - 2 makes full use.
    bucket : int
        Numbers per norm, a positive multiple of 8.
    key : int
        64-bit key of the rounding.
    norms, packed : arrays, optional
        float32 (n_buckets,) and uint8 (packed_nbytes(n, nonuniform_bits(levels)),).

    Returns
    -------
    norms : array of shape (n_buckets,)
        2-norms of the buckets: 32 interleaved sums of squares in float64, added by halves; the
        numbers past the last multiple of 32 in the same way; then rounded.
    packed : array
        Fields of `nonuniform_bits(levels)` bits, packed as `msl_kernels.quantize` packs levels:
        l for 2^(l - s - 1) and 0 for 0, below a sign bit. All 0 where a norm is below 2**-100.
    first_bad : int
        Index of the first NaN or Inf (or of the largest magnitude where a norm overflows
        float32), and then the outputs mean nothing; -1 when all is well.
    """
    n, bits = len(x), nonuniform_bits(levels)
    if norms is None:
        norms = np.empty(n_buckets(n, bucket), np.float32)
    if packed is None:
        packed = np.empty(packed_nbytes(n, bits), np.uint8)
    packed[(n * bits + 7) // 8 :] = 0

    def run(first: int, last: int) -> int:
        scratch = np.empty(bucket, np.uint8), np.empty(bucket // 4, np.uint64)
        how = (levels, bits, bucket, *split(key), norms, packed)
        return int(_nonuniform(x, first, last, *how, *scratch, np.empty(LANES, np.float32)))

    bad = next((b for b in spread(run, len(norms), n) if b >= 0), -1)
    return norms, packed, bad if bad < 0 else _first_bad(x, bad * bucket, bucket)


@njit(nogil=True, forceinline=True, _nrt=False)
def _value(field, s, side, norm):  # type: ignore[no-untyped-def]
    level = np.int32(field) & ((np.int32(1) << side) - np.int32(1))
    exponent = level + (np.int32(126) - s) if level else np.int32(0)
    return norm * _power(exponent, np.int32(field) >> side)


@njit(nogil=True, cache=True, _nrt=False)
def _from_nonuniform(norms, packed, first, last, s, bits, bucket, out, add, spare, fields):  # type: ignore[no-untyped-def]
    """Decode buckets first..last-1."""
    prefer_wide()
    stride = bucket * bits // 8
    steps, side = np.int32(s), np.int32(bits - 1)
    for b in range(first, last):
        part = out[b * bucket : (b + 1) * bucket]
        room = packed[b * stride : b * stride + (len(part) + 7) // 8 * bits]
        unpack_part(room, len(part), bits, spare, fields)
        norm = norms[b]
        if add:
            for i in range(len(part)):
                part[i] += _value(fields[i], steps, side, norm)
        else:
            for i in range(len(part)):
                part[i] = _value(fields[i], steps, side, norm)


def from_nonuniform(
    norms: NDArray[np.float32],
    packed: NDArray[np.uint8],
    n: int,
    levels: int,
    bucket: int,
    out: Any = None,
    add: bool = False,
) -> Any:
    """Return norm * +-2^(l - levels - 1) for n numbers, written or added to `out`.

    Parameters
    ----------
    norms, packed : arrays
        As `nonuniform` returned them.
    n : int
        Numbers.
    levels, bucket : int
        As given to `nonuniform`.
    out : array of shape (n,), optional
        float32; required when `add` is true.
    add : bool
        Whether to add to what `out` holds.
    """
    if out is None:
        out = np.empty(n, np.float32)
    how = (levels, nonuniform_bits(levels), bucket, out, add)

    def run(first: int, last: int) -> None:
        _from_nonuniform(norms, packed, first, last, *how, *np.empty((2, bucket), np.uint8))

    spread(run, len(norms), n)
    return out
