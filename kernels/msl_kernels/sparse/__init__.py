"""Sparse vectors: exact top-k, thresholds, and streams of ascending indices with values.

A stream is a pair of arrays, uint32 indices that strictly ascend and float32 values (SparCML:
Renggli et al., SC 2019), so a vector has fewer than 2**32 numbers. Magnitudes are compared as the
bits without the sign, ties go to the lowest index: results depend neither on threads nor on the
device. Every function runs where its first array lies: NumPy, or anything with
``__cuda_array_interface__``.
"""

from typing import Any

import numpy as np

from msl_kernels.parallel import spread
from msl_kernels.philox import split
from msl_kernels.sparse import select, streams

__all__ = [
    "above",
    "check_indices",
    "merge",
    "n_kept",
    "sampled_threshold",
    "scatter",
    "scatter_add",
    "top",
    "top_in_buckets",
]

SAMPLE = 1 << 16


def top(x: Any, k: int, indices: Any = None, values: Any = None) -> tuple[Any, Any, int]:
    """Select exactly the k numbers of largest magnitude.

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous.
    k : int
        0..n.
    indices, values : arrays of shape (k,), optional
        uint32 and float32 to write into.

    Returns
    -------
    indices : array of shape (k,)
        Ascending; of equal magnitudes the first are taken.
    values : array of shape (k,)
        x[indices].
    first_bad : int
        Index of the first NaN or Inf, and then the outputs mean nothing; -1 when all is well.

    Examples
    --------
    >>> indices, values, _ = top(np.array([1, -3, 2, 3], np.float32), 2)
    >>> indices.tolist(), values.tolist()
    ([1, 3], [-3.0, 3.0])
    """
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.sparse import cuda

        return cuda.top(x, k, indices, values)
    indices = np.empty(k, np.uint32) if indices is None else indices
    values = np.empty(k, np.float32) if values is None else values
    return indices, values, select.top(x, k, indices, values)


def n_kept(n: int, k: int, bucket: int) -> int:
    """Return how many numbers `top_in_buckets` keeps.

    Examples
    --------
    >>> n_kept(1000, 3, 499)
    8
    """
    return n // bucket * min(k, bucket) + min(k, n % bucket)


def top_in_buckets(
    x: Any, k: int, bucket: int, indices: Any = None, values: Any = None
) -> tuple[Any, Any, int]:
    """Select the k numbers of largest magnitude of every bucket (SparCML).

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous.
    k : int
        0 or more; of a bucket that has fewer numbers, all are kept.
    bucket : int
        Numbers per bucket; the last one may be shorter.
    indices, values : arrays of shape (n_kept(n, k, bucket),), optional
        uint32 and float32 to write into.

    Returns
    -------
    indices, values, first_bad
        As `top`; indices ascend over the whole vector.
    """
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.sparse import cuda

        return cuda.top_in_buckets(x, k, bucket, indices, values)
    kept = n_kept(len(x), k, bucket)
    indices = np.empty(kept, np.uint32) if indices is None else indices
    values = np.empty(kept, np.float32) if values is None else values
    raw, out = x.view(np.int32), values.view(np.int32)

    def run(first: int, last: int) -> int:
        return int(select.buckets(raw, first, last, k, bucket, indices, out))

    found = spread(run, -(-len(x) // bucket), len(x))
    return indices, values, next((bad for bad in found if bad >= 0), -1)


def above(x: Any, threshold: float | np.float32, capacity: int) -> tuple[Any, Any, int]:
    """Select the numbers with abs(x) >= threshold, the first `capacity` of them.

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous.
    threshold : float
        0 or more, rounded to float32.
    capacity : int
        Numbers to keep at most.

    Returns
    -------
    indices, values, first_bad
        As `top`, with as many numbers as there are.
    """
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.sparse import cuda

        return cuda.above(x, threshold, capacity)
    return select.above(x, threshold, capacity)


def sampled_threshold(x: Any, k: int, key: int, sample: int = SAMPLE) -> np.float32:
    """Estimate the threshold that k numbers reach from a random sample (DGC: Lin et al., 2018).

    The threshold is the r-th largest magnitude of `sample` draws with replacement,
    r = k * sample / n, rounded and at least 1. The share that reaches it has mean
    r / (sample + 1) and a relative standard deviation of sqrt((1 - k / n) / r): 4 % for the usual
    sample and k = n / 100, 12 % for n / 1000.

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous. A NaN counts as Inf; `above` will find it.
    k : int
        0..n; the threshold of 0 is Inf.
    key : int
        64-bit key of the draws.
    sample : int
        Draws, 1 or more.
    """
    n = x.shape[0]
    if k == 0:
        return np.float32(np.inf)
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.sparse import cuda

        keys = cuda.draw_keys(x, sample, key)
    else:
        keys = np.empty(sample, np.int32)
        select.draw_keys(x.view(np.int32), *split(key), keys)
    rank = max(1, (2 * k * sample + n) // (2 * n))
    return select.kth(keys, rank).view(np.float32)


def scatter(indices: Any, values: Any, n: int, out: Any = None) -> Any:
    """Return the vector of n numbers that a stream stands for, zero elsewhere.

    Parameters
    ----------
    indices, values : arrays of shape (k,)
        A stream that `check_indices` let pass: a wrong index writes past the vector.
    n : int
        Numbers of the vector.
    out : array of shape (n,), optional
        float32 to write into; zeroed first.
    """
    if hasattr(indices, "__cuda_array_interface__"):
        from msl_kernels.sparse import cuda_streams

        return cuda_streams.scatter(indices, values, n, out)
    if out is None:
        # Fresh pages are zero already, and are not touched where there is no index.
        out = np.zeros(n, np.float32)
        streams.scatter(indices, values, out)
        return out

    def run(first: int, last: int) -> None:
        out[first:last] = 0
        a, b = np.searchsorted(indices, np.array((first, last), np.uint32))
        streams.scatter(indices[a:b], values[a:b], out)

    spread(run, n, n)
    return out


def scatter_add(indices: Any, values: Any, out: Any) -> Any:
    """Add a stream, one that `check_indices` let pass, to a float32 vector; return the vector."""
    if hasattr(indices, "__cuda_array_interface__"):
        from msl_kernels.sparse import cuda_streams

        return cuda_streams.scatter_add(indices, values, out)

    def run(first: int, last: int) -> None:
        streams.scatter_add(indices[first:last], values[first:last], out)

    spread(run, len(indices), len(indices))
    return out


def merge(ia: Any, va: Any, ib: Any, vb: Any) -> tuple[Any, Any]:
    """Add two streams: the union of their indices, values va + vb where both have one.

    Sums that are zero stay. One thread: streams are short beside their vectors.
    """
    if hasattr(ia, "__cuda_array_interface__"):
        from msl_kernels.sparse import cuda_streams

        return cuda_streams.merge(ia, va, ib, vb)
    indices = np.empty(len(ia) + len(ib), np.uint32)
    values = np.empty(len(ia) + len(ib), np.float32)
    count = streams.merge(ia, va, ib, vb, indices, values)
    return indices[:count], values[:count]


def check_indices(indices: Any, n: int) -> bool:
    """Return whether indices (uint32) strictly ascend and stay below n."""
    if hasattr(indices, "__cuda_array_interface__"):
        from msl_kernels.sparse import cuda_streams

        return cuda_streams.check_indices(indices, n)
    return len(indices) == 0 or (int(indices[-1]) < n and bool(streams.ascending(indices)))
