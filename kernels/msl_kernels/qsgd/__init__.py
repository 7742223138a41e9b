"""QSGD with packed fields (Alistarh et al., NeurIPS 2017, section 3.1): a norm and signed levels.

A bucket of B numbers is sent as its norm in float32 and B fields of b bits, the sign on top of a
level of s = 2^(b-1) - 1 steps::

    norm = max |x|  or  sqrt(sum x^2)      level = min(floor(|x| * (s / norm) + r), s)
    x' = signed level * (norm / s)

with r uniform in (0, 1), see `msl_kernels.dither`: unbiased. Every operation is one float32
rounding in this order, on CPU and CUDA, so both give the same bits; the sum alone runs in
float64, where squares are exact and cannot overflow: partial sum t of 64 takes the numbers t,
t + 64, ... of the bucket, then the upper half of the partial sums is added to the lower until one
is left, and its root is rounded to float32. Where s / norm is not finite (norm 0, or below
s / 3.4e38) all fields are 0. Fields are packed as levels by `msl_kernels.quantize`. A field with
level 0 decodes to +0.0, whatever its sign.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl_kernels.parallel import spread
from msl_kernels.philox import split
from msl_kernels.qsgd import cpu
from msl_kernels.quantize import first_bad, n_buckets, packed_nbytes, scratch_for

__all__ = ["dequantize", "levels", "quantize"]

_EUCLIDEAN = {"linf": False, "l2": True}


def quantize(
    x: Any,
    bits: int,
    bucket: int,
    norm: str = "linf",
    key: int = 0,
    norms: Any = None,
    packed: Any = None,
) -> tuple[Any, Any, int]:
    """Quantise a vector, on the device where it lies.

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous; NumPy, or anything with ``__cuda_array_interface__``.
    bits : int
        2..8, the sign among them.
    bucket : int
        Numbers per bucket, a positive multiple of 8.
    norm : str
        "linf" or "l2".
    key : int
        64-bit key of stochastic rounding (16-bit dither: the bias is below 2**-17 levels).
    norms, packed : arrays, optional
        float32 (n_buckets,) and uint8 (packed_nbytes,) to write into.

    Returns
    -------
    norms : array of shape (n_buckets,)
        Norms of the buckets.
    packed : array of shape (packed_nbytes,)
        The fields.
    first_bad : int
        Index of the first NaN or Inf (or of the largest magnitude where the norm overflows
        float32), and then the outputs mean nothing; -1 when all is well.
    """
    euclidean = _EUCLIDEAN[norm]
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.qsgd import cuda

        return cuda.quantize(x, bits, bucket, euclidean, key, norms, packed)
    if norms is None:
        norms = np.empty(n_buckets(len(x), bucket), np.float32)
    if packed is None:
        packed = np.empty(packed_nbytes(len(x), bits), np.uint8)
    packed[(len(x) * bits + 7) // 8 :] = 0
    how = (bits, bucket, euclidean, *split(key), norms, packed)

    def run(first: int, last: int) -> int:
        fields = np.empty(bucket, np.uint8)
        return int(cpu.quantize_buckets(x, first, last, *how, fields, *_scratch(bucket)))

    return norms, packed, _run(run, x, bucket)


def levels(
    x: NDArray[np.float32], s: int, bucket: int, norm: str = "linf", key: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int32], int]:
    """Return norms, signed levels (n,) and the first bad index; on the CPU.

    As `quantize`, whose levels they are where s = 2**(bits - 1) - 1, for any s of 1..2**15.
    """
    norms = np.empty(n_buckets(len(x), bucket), np.float32)
    out = np.empty(len(x), np.int32)
    how = (s, bucket, _EUCLIDEAN[norm], *split(key), norms, out)

    def run(first: int, last: int) -> int:
        return int(cpu.level_buckets(x, first, last, *how, *_scratch(bucket)))

    return norms, out, _run(run, x, bucket)


def _scratch(bucket: int) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Return room for the dithers of a bucket and for partial sums."""
    return np.empty(bucket // 4, np.uint64), np.empty(cpu.PARTIALS, np.float64)


def _run(run: Callable[[int, int], int], x: NDArray[np.float32], bucket: int) -> int:
    """Run a kernel over all buckets and return the first bad index."""
    bad = next((b for b in spread(run, n_buckets(len(x), bucket), len(x)) if b >= 0), -1)
    return bad if bad < 0 else first_bad(x, bad * bucket, bucket)


def dequantize(
    norms: Any,
    packed: Any,
    n: int,
    bits: int,
    bucket: int,
    out: Any = None,
    add: bool = False,
) -> Any:
    """Return level * (norm / s) for n numbers, written or added to `out`.

    Parameters
    ----------
    norms, packed : arrays
        As `quantize` returned them, on one device.
    n : int
        Numbers.
    out : array of shape (n,), optional
        float32; required when `add` is true.
    add : bool
        Whether to add to what `out` holds.
    """
    if hasattr(norms, "__cuda_array_interface__"):
        from msl_kernels.qsgd import cuda

        return cuda.dequantize(norms, packed, n, bits, bucket, out, add)
    if out is None:
        out = np.empty(n, np.float32)

    def run(first: int, last: int) -> None:
        scratch = scratch_for(n, bucket)
        cpu.dequantize_buckets(norms, packed, first, last, bits, bucket, out, add, *scratch)

    spread(run, len(norms), n)
    return out
