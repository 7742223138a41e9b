"""Rotated Lloyd-Max quantiser (DRIVE, NeurIPS 2021, for 1 bit; EDEN, ICML 2022, for more).

Blocks are those of `msl_kernels.hadamard`, and the rotation makes each of them, whatever it was,
nearly normal. With y the rotated block of m numbers and norm2 the sum of y^2, every y becomes one
of the 2^b Lloyd-Max centroids c of N(0, 1), as y * sqrt(m / norm2) would have it, and the block
one scale::

    unbiased       S = norm2 / <c, y>        (over random keys the mean of the decoded is x)
    minimum error  S = <c, y> / <c, c>

The decoder rotates S * c back. A field of b bits holds the index of |c| below and, in its top
bit, the sign of y; fields are packed as by `msl_kernels.quantize`. A block of zeros has S = 0 and
zero fields. The mean is x exactly for a uniformly random rotation; this one leaves a bias far
below the error, except with 1 bit where few numbers outweigh the rest of their block.

The bits are fixed, on CPU and CUDA: rms = sqrt(norm2 / m) in float64; the index counts the
midpoints t of neighbouring centroids with |y| > float32(t * rms); norm2 is summed in float64,
<c, y> and <c, c> in float32, each product and sum rounded. Partial sum j of min(m, 64) takes the
products i = j, j + 64, ... in this order, then the upper half of the partial sums is added to the
lower until one is left. S is a quotient in float64, rounded once.
"""

from typing import Any

import numpy as np

from msl_kernels.hadamard import padded_size
from msl_kernels.hadamard.cpu import WORDS
from msl_kernels.lloyd_max import cpu
from msl_kernels.lloyd_max.tables import LEVELS, centroids, tables
from msl_kernels.parallel import spread
from msl_kernels.philox import split
from msl_kernels.quantize import first_bad, n_buckets, packed_nbytes

__all__ = ["centroids", "decode", "encode"]


def encode(
    x: Any,
    bits: int,
    key: int,
    block: int = 4096,
    unbiased: bool = True,
    scales: Any = None,
    packed: Any = None,
) -> tuple[Any, Any, int]:
    """Rotate and quantise a vector, on the device where it lies.

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous; NumPy, or anything with ``__cuda_array_interface__``.
    bits : int
        1..4 per number.
    key : int
        64-bit key of the rotation; senders whose errors are to cancel need one each.
    block : int
        A power of two from 8 to 8192.
    unbiased : bool
        Which of the two scales.
    scales, packed : arrays, optional
        float32 (ceil(n / block),) and uint8 (packed_nbytes(padded_size(n, block), bits),) to
        write into.

    Returns
    -------
    scales : array
        S of every block.
    packed : array
        The fields.
    first_bad : int
        Index of the first NaN or Inf (or of the largest magnitude of a block whose rotation or
        sums overflow float32, possible from 1e34 on), and then the outputs mean nothing; -1
        when all is well.
    """
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.lloyd_max import cuda

        return cuda.encode(x, bits, key, block, unbiased, scales, packed)
    size, count = padded_size(len(x), block), n_buckets(len(x), block)
    scales = np.empty(count, np.float32) if scales is None else scales
    packed = np.empty(packed_nbytes(size, bits), np.uint8) if packed is None else packed
    packed[size * bits // 8 :] = 0
    how = (size, block, bits, *split(key), unbiased, *tables(bits), scales, packed)

    def run(first: int, last: int) -> int:
        scratch = (
            np.empty(WORDS, np.uint64),
            np.empty(block, np.float32),
            np.empty(block, np.uint8),
            np.empty(LEVELS // 2 - 1, np.float32),
        )
        return int(cpu.encode_blocks(x, first, last, *how, *scratch))

    bad = next((b for b in spread(run, count, len(x)) if b >= 0), -1)
    return scales, packed, bad if bad < 0 else first_bad(x, bad * block, block)


def decode(
    scales: Any,
    packed: Any,
    n: int,
    bits: int,
    key: int,
    block: int = 4096,
    out: Any = None,
    add: bool = False,
) -> Any:
    """Return the n numbers that `encode` sent, written or added to `out`.

    Parameters
    ----------
    scales, packed : arrays
        As `encode` returned them, on one device.
    n, bits, key, block
        As `encode` had them.
    out : array of shape (n,), optional
        float32; required when `add` is true.
    add : bool
        Whether to add to what `out` holds.
    """
    if hasattr(scales, "__cuda_array_interface__"):
        from msl_kernels.lloyd_max import cuda

        return cuda.decode(scales, packed, n, bits, key, block, out, add)
    out = np.empty(n, np.float32) if out is None else out
    how = (padded_size(n, block), block, bits, *split(key), tables(bits)[0], out, add)

    def run(first: int, last: int) -> None:
        scratch = (
            np.empty(WORDS, np.uint64),
            np.empty(block, np.float32),
            np.empty(block, np.uint8),
            np.empty(LEVELS, np.float32),
        )
        cpu.decode_blocks(scales, packed, first, last, *how, *scratch)

    spread(run, len(scales), n)
    return out
