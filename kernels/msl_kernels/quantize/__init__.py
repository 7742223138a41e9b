"""Bucketed min-max quantiser with packed levels (CGX: Markov et al., Middleware 2022).

A bucket of B numbers is sent as (unit, lo) in float32 and B levels of b bits::

    lo = min(x)    unit = (max(x) - lo) / (2^b - 1)    level = floor((x - lo) * (1 / unit) + r)

with r = 1/2 (nearest) or r uniform in (0, 1) (stochastic, unbiased), levels cut at 2^b - 1 and
0 where unit < 1e-10. Every operation is one float32 rounding in this order, on CPU and CUDA, so
both give the same bits. Groups of 8 levels become b bytes, level j at bit offset j * b,
little-endian; the bytes are padded with zeros to a multiple of 8.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl_kernels.parallel import spread
from msl_kernels.philox import split
from msl_kernels.quantize import cpu

__all__ = ["dequantize", "first_bad", "n_buckets", "packed_nbytes", "quantize", "scratch_for"]


def packed_nbytes(n: int, bits: int) -> int:
    """Return the bytes of n packed levels: ceil(n * bits / 8), rounded up to 8.

    Examples
    --------
    >>> packed_nbytes(2**20, 4), packed_nbytes(9, 3)
    (524288, 8)
    """
    return (n * bits + 63) // 64 * 8


def n_buckets(n: int, bucket: int) -> int:
    """Return ceil(n / bucket)."""
    return -(-n // bucket)


def scratch_for(n: int, bucket: int) -> NDArray[np.uint8]:
    """Return room to unpack a bucket of n numbers in all: no more than they need.

    A bucket's length may come from outside, and be made up.
    """
    return np.empty((2, min(bucket, n + 4096)), np.uint8)


def quantize(
    x: Any,
    bits: int,
    bucket: int,
    key: int | None = None,
    meta: Any = None,
    packed: Any = None,
) -> tuple[Any, Any, int]:
    """Quantise a vector, on the device where it lies.

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous; NumPy, or anything with ``__cuda_array_interface__``.
    bits : int
        1..8.
    bucket : int
        Numbers per bucket, a positive multiple of 8.
    key : int, optional
        64-bit key of stochastic rounding (16-bit dither: the bias is below 2**-17 levels);
        rounds to nearest when left out.
    meta, packed : arrays, optional
        float32 (n_buckets, 2) and uint8 (packed_nbytes,) to write into.

    Returns
    -------
    meta : array of shape (n_buckets, 2)
        Pairs (unit, lo).
    packed : array of shape (packed_nbytes,)
        The levels.
    first_bad : int
        Index of the first NaN or Inf (or of the largest magnitude where max - min overflows
        float32), and then the outputs mean nothing; -1 when all is well.
    """
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.quantize import cuda

        return cuda.quantize(x, bits, bucket, key, meta, packed)
    if meta is None:
        meta = np.empty((n_buckets(len(x), bucket), 2), np.float32)
    if packed is None:
        packed = np.empty(packed_nbytes(len(x), bits), np.uint8)
    packed[(len(x) * bits + 7) // 8 :] = 0
    how = (bits, bucket, key is not None, *split(key or 0), meta, packed)

    def run(first: int, last: int) -> int:
        scratch = np.empty(bucket, np.uint8), np.empty(bucket // 4, np.uint64)
        return int(cpu.quantize_buckets(x, first, last, *how, *scratch))

    bad = next((b for b in spread(run, len(meta), len(x)) if b >= 0), -1)
    return meta, packed, bad if bad < 0 else first_bad(x, bad * bucket, bucket)


def first_bad(x: NDArray[np.float32], start: int, bucket: int) -> int:
    """Return the index that spoils a bucket."""
    part = x[start : start + bucket]
    finite = np.isfinite(part)
    return start + int(np.argmax(np.abs(part)) if finite.all() else np.argmin(finite))


def dequantize(
    meta: Any,
    packed: Any,
    n: int,
    bits: int,
    bucket: int,
    out: Any = None,
    add: bool = False,
) -> Any:
    """Return lo + unit * level for n numbers, written or added to `out`.

    Parameters
    ----------
    meta, packed : arrays
        As `quantize` returned them, on one device.
    n : int
        Numbers.
    out : array of shape (n,), optional
        float32; required when `add` is true.
    add : bool
        Whether to add to what `out` holds.
    """
    if hasattr(meta, "__cuda_array_interface__"):
        from msl_kernels.quantize import cuda

        return cuda.dequantize(meta, packed, n, bits, bucket, out, add)
    if out is None:
        out = np.empty(n, np.float32)

    def run(first: int, last: int) -> None:
        scratch = scratch_for(n, bucket)
        cpu.dequantize_buckets(meta, packed, first, last, bits, bucket, out, add, *scratch)

    spread(run, len(meta), n)
    return out
