"""NUQSGD (Ramezani-Kebrya et al., JMLR 2021): levels at powers of two of a norm; CPU only."""

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
from msl_kernels.quantize import first_bad, n_buckets, packed_nbytes, scratch_for
from msl_kernels.quantize.packing import pack_part, unpack_part
from msl_kernels.rounding import (
    MAGNITUDE,
    MANTISSA,
    ONE,
    TINY,
    bits_of,
    dither_exponent,
    float_of,
    power,
)
from msl_kernels.simd import address, prefer_wide, prefetch

__all__ = ["from_nonuniform", "nonuniform", "nonuniform_bits"]

LANES = 32
"""Partial sums of squares."""


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
    smallest = float_of((np.int32(127) - s) << MANTISSA)
    side = np.int32(bits - 1)
    for i in range(len(raw)):
        ratio = float_of(raw[i] & MAGNITUDE) * inverse
        power = bits_of(max(ratio + ratio, ratio + smallest))
        level = ((power + dither_exponent(halves[i])) >> MANTISSA) - (np.int32(127) - s)
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
        if norm < TINY:
            for i in range(len(room)):
                room[i] = 0
            continue
        prefetch(x, (b + 1) * bucket, (b + 2) * bucket)
        draw_dithers(b * (bucket // 8), (n + 7) // 8, key0, key1, words)
        _levels(raw[b * bucket : b * bucket + n], ONE / norm, np.int32(s), bits, halves, fields)
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
    return norms, packed, bad if bad < 0 else first_bad(x, bad * bucket, bucket)


@njit(nogil=True, forceinline=True, _nrt=False)
def _value(field, s, side, norm):  # type: ignore[no-untyped-def]
    level = np.int32(field) & ((np.int32(1) << side) - np.int32(1))
    exponent = level + (np.int32(126) - s) if level else np.int32(0)
    return norm * power(exponent, np.int32(field) >> side)


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
        _from_nonuniform(norms, packed, first, last, *how, *scratch_for(n, bucket))

    spread(run, len(norms), n)
    return out
