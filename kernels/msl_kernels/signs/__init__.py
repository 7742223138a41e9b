"""Signs at one bit a number, with one scale (signSGD) or two means a bucket (1-bit SGD).

Bit i % 8 of byte i // 8 is set where number i is negative; -0.0 counts as +0.0. The bytes are
padded with zeros to a multiple of 8.

Sums are float64 and do not depend on threads or the device: lane l of 64 adds up, in order, the
numbers l, l + 64, ... of a chunk of 4096 (or of a bucket), the upper half of the lanes is added to
the lower until one is left, and chunks are added one after another. They stay finite as long as
the numbers do. Every function runs where its first array lies: NumPy, or anything with
``__cuda_array_interface__``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl_kernels.parallel import spread
from msl_kernels.signs import cpu
from msl_kernels.signs.lanes import LANES

__all__ = [
    "feed_back",
    "n_buckets",
    "pack",
    "pack_means",
    "packed_nbytes",
    "unpack",
    "unpack_means",
]


def packed_nbytes(n: int) -> int:
    """Return the bytes of n signs: ceil(n / 8), rounded up to 8.

    Examples
    --------
    >>> packed_nbytes(2**20), packed_nbytes(65)
    (131072, 16)
    """
    return (n + 63) // 64 * 8


def n_buckets(n: int, bucket: int) -> int:
    """Return ceil(n / bucket)."""
    return -(-n // bucket)


def pack(x: Any, packed: Any = None) -> tuple[Any, np.float32, int]:
    """Pack the signs of a vector and take its mean magnitude (EF-signSGD's operator).

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous.
    packed : array of shape (packed_nbytes(n),), optional
        uint8 to write into.

    Returns
    -------
    packed : array of shape (packed_nbytes(n),)
        The signs.
    mean_abs : float32
        sum(abs(x)) / n, one rounding of a float64; 0 for an empty vector. The scale of
        Karimireddy et al. (2019).
    first_bad : int
        Index of the first NaN or Inf, and then the outputs mean nothing; -1 when all is well.

    Examples
    --------
    >>> packed, scale, _ = pack(np.array([1, -2, -0.0], np.float32))
    >>> packed.tolist(), float(scale)
    ([2, 0, 0, 0, 0, 0, 0, 0], 1.0)
    """
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.signs import cuda

        return cuda.pack(x, packed)
    n = len(x)
    packed = _packed(n, packed)
    sums = np.empty(n_buckets(n, cpu.CHUNK))

    def run(first: int, last: int) -> None:
        cpu.pack_chunks(x, first, last, np.empty(LANES), sums, packed)

    spread(run, len(sums), n)
    return packed, _mean(sums, n), _first_bad(x, None, sums)


def unpack(
    packed: Any, scale: float | np.float32, n: int, out: Any = None, add: bool = False
) -> Any:
    """Return -scale where the bit is set and scale elsewhere, written or added to `out`.

    Parameters
    ----------
    packed : array of shape (packed_nbytes(n),)
        As `pack` returned it.
    scale : float
        Rounded to float32.
    n : int
        Numbers.
    out : array of shape (n,), optional
        float32; required when `add` is true.
    add : bool
        Whether to add to what `out` holds.
    """
    if hasattr(packed, "__cuda_array_interface__"):
        from msl_kernels.signs import cuda

        return cuda.unpack(packed, scale, n, out, add)
    out = np.empty(n, np.float32) if out is None else out
    level = np.float32(scale)

    def run(first: int, last: int) -> None:
        cpu.decode(packed, first * LANES, min(last * LANES, n), -level, level, out, add)

    spread(run, n_buckets(n, LANES), n)
    return out


def feed_back(x: Any, residual: Any, packed: Any = None) -> tuple[Any, np.float32, int]:
    """Pack the signs of a = x + residual and leave in the residual what they lose.

    Error feedback of scaled signs (Karimireddy et al., 2019) in two passes, equal to the bit to
    ``residual += x; packed, scale, _ = pack(residual); residual -= unpack(packed, scale, n)``.
    The first pass only reads, so a vector that is refused leaves everything but `packed` as it
    was.

    Parameters
    ----------
    x, residual : arrays of shape (n,)
        float32, contiguous; the residual is replaced by a - (+-scale).
    packed : array of shape (packed_nbytes(n),), optional
        uint8 to write into.

    Returns
    -------
    packed : array of shape (packed_nbytes(n),)
        The signs of a.
    scale : float32
        The mean of abs(a), as `pack` takes it.
    first_bad : int
        Index of the first a that is NaN or Inf, and then nothing was done; -1 when all is well.
    """
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.signs import cuda

        return cuda.feed_back(x, residual, packed)
    n = len(x)
    packed = _packed(n, packed)
    sums = np.empty(n_buckets(n, cpu.CHUNK))

    def add_up(first: int, last: int) -> None:
        cpu.sum_chunks(x, residual, first, last, np.empty(LANES), sums)

    spread(add_up, len(sums), n)
    scale, bad = _mean(sums, n), _first_bad(x, residual, sums)

    def run(first: int, last: int) -> None:
        cpu.feed_chunks(x, residual, first, last, scale, packed)

    if bad < 0:
        spread(run, len(sums), n)
    return packed, scale, bad


def pack_means(x: Any, bucket: int, means: Any = None, packed: Any = None) -> tuple[Any, Any, int]:
    """Pack the signs of a vector and take two means per bucket (Seide et al., 2014).

    A mean is a float64 sum divided by the count, rounded to float32 once. So a side whose numbers
    are all equal decodes exactly (in buckets up to 2**29, where such a sum is exact), a constant
    bucket among them; -0.0 comes back as +0.0.

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous.
    bucket : int
        Numbers per bucket, a positive multiple of 8.
    means, packed : arrays, optional
        float32 (n_buckets, 2) and uint8 (packed_nbytes,) to write into.

    Returns
    -------
    means : array of shape (n_buckets, 2)
        Mean of the negative numbers and mean of the others; 0 where there are none.
    packed : array of shape (packed_nbytes(n),)
        The signs.
    first_bad : int
        As `pack`.
    """
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.signs import cuda

        return cuda.pack_means(x, bucket, means, packed)
    n = len(x)
    packed = _packed(n, packed)
    means = np.empty((n_buckets(n, bucket), 2), np.float32) if means is None else means

    def run(first: int, last: int) -> int:
        lanes = np.empty(2 * LANES)
        return int(cpu.pack_buckets(x, first, last, bucket, lanes, means, packed))

    bad = next((b for b in spread(run, len(means), n) if b >= 0), -1)
    if bad >= 0:
        bad = bad * bucket + int(np.argmin(np.isfinite(x[bad * bucket : (bad + 1) * bucket])))
    return means, packed, bad


def unpack_means(
    means: Any, packed: Any, n: int, bucket: int, out: Any = None, add: bool = False
) -> Any:
    """Return the mean of each number's side in its bucket, written or added to `out`.

    Parameters
    ----------
    means, packed : arrays
        As `pack_means` returned them.
    n, bucket : int
        Numbers, and numbers per bucket.
    out : array of shape (n,), optional
        float32; required when `add` is true.
    add : bool
        Whether to add to what `out` holds.
    """
    if hasattr(means, "__cuda_array_interface__"):
        from msl_kernels.signs import cuda

        return cuda.unpack_means(means, packed, n, bucket, out, add)
    out = np.empty(n, np.float32) if out is None else out

    def run(first: int, last: int) -> None:
        cpu.decode_buckets(means, packed, first, last, bucket, out, add)

    spread(run, len(means), n)
    return out


def _packed(n: int, packed: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Return room for n signs, its padding zeroed."""
    packed = np.empty(packed_nbytes(n), np.uint8) if packed is None else packed
    packed[(n + 7) // 8 :] = 0
    return packed


def _mean(sums: NDArray[np.float64], n: int) -> np.float32:
    return np.float32(cpu.total(sums) / n) if n else np.float32(0)


def _first_bad(
    x: NDArray[np.float32], residual: NDArray[np.float32] | None, sums: NDArray[np.float64]
) -> int:
    """Return the first number whose chunk has no finite sum and which is not finite itself."""
    finite = np.isfinite(sums)
    if finite.all():
        return -1
    start = int(np.argmin(finite)) * cpu.CHUNK
    part = x[start : start + cpu.CHUNK]
    if residual is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            part = part + residual[start : start + cpu.CHUNK]
    return start + int(np.argmin(np.isfinite(part)))
