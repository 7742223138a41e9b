"""Sparse streams on CUDA: a thread per entry.

In the union of two streams an entry of the second lands behind the entries before it and those
of the first that are smaller and have no partner: a binary search and a running count.
"""

from typing import Any

import numpy as np
from numba import cuda

from msl_kernels.quantize.cuda import _add
from msl_kernels.sparse.cuda import PLACES, RUN, THREADS, TILE, _before, _blocks, offsets

__all__ = [
    "check_indices",
    "check_kernel",
    "fill_kernel",
    "lonely_kernel",
    "merge",
    "merge_kernel",
    "scatter",
    "scatter_add",
    "scatter_kernel",
    "spread_kernel",
]


@cuda.jit
def check_kernel(indices, wrong):  # type: ignore[no-untyped-def]
    """Say whether an index is not larger than the one before."""
    for i in range(cuda.grid(1) + 1, indices.shape[0], cuda.gridsize(1)):
        if indices[i] <= indices[i - 1]:
            wrong[0] = 1


@cuda.jit
def fill_kernel(out):  # type: ignore[no-untyped-def]
    """Write zeros."""
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        out[i] = np.float32(0.0)


@cuda.jit
def scatter_kernel(indices, values, out, add):  # type: ignore[no-untyped-def]
    """Write or add each value at its index."""
    for i in range(cuda.grid(1), indices.shape[0], cuda.gridsize(1)):
        at = indices[i]
        out[at] = _add(out[at], values[i]) if add else values[i]


@cuda.jit(device=True)
def _search(indices, wanted):  # type: ignore[no-untyped-def]
    """Return how many indices are smaller."""
    low, high = 0, indices.shape[0]
    while low < high:
        middle = (low + high) // 2
        if indices[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@cuda.jit(device=True)
def _lonely(ia, ib, i):  # type: ignore[no-untyped-def]
    """Return 1 when the second stream lacks index ia[i]."""
    at = _search(ib, ia[i])
    return np.int64(0 if at < ib.shape[0] and ib[at] == ia[i] else 1)


@cuda.jit
def lonely_kernel(ia, ib, counts):  # type: ignore[no-untyped-def]
    """Count per tile of the first stream the entries that have no partner."""
    shared = cuda.shared.array(PLACES, np.int64)
    t = cuda.threadIdx.x
    for tile in range(cuda.blockIdx.x, counts.shape[0], cuda.gridDim.x):
        first = tile * TILE + t * RUN
        mine = np.int64(0)
        for i in range(first, min(first + RUN, ia.shape[0])):
            mine += _lonely(ia, ib, i)
        mine += _before(shared, mine)
        if t == THREADS - 1:
            counts[tile, 0] = mine


@cuda.jit
def spread_kernel(ia, va, ib, places, before, indices, values):  # type: ignore[no-untyped-def]
    """Write the entries that have no partner, and how many come before each entry."""
    shared = cuda.shared.array(PLACES, np.int64)
    t = cuda.threadIdx.x
    for tile in range(cuda.blockIdx.x, places.shape[0], cuda.gridDim.x):
        first = tile * TILE + t * RUN
        last = min(first + RUN, ia.shape[0])
        mine = np.int64(0)
        for i in range(first, last):
            mine += _lonely(ia, ib, i)
        place = places[tile, 0] + _before(shared, mine)
        for i in range(first, last):
            before[i] = place
            if _lonely(ia, ib, i):
                at = place + _search(ib, ia[i])
                indices[at], values[at] = ia[i], va[i]
                place += 1


@cuda.jit
def merge_kernel(ia, va, ib, vb, before, indices, values):  # type: ignore[no-untyped-def]
    """Write the entries of the second stream, with the values of their partners."""
    for j in range(cuda.grid(1), ib.shape[0], cuda.gridsize(1)):
        a = _search(ia, ib[j])
        at = j + before[a]
        value = vb[j]
        if a < ia.shape[0] and ia[a] == ib[j]:
            value = _add(va[a], value)
        indices[at], values[at] = ib[j], value


def _grid(size: int) -> tuple[int, int]:
    return _blocks(-(-size // THREADS)), THREADS


def check_indices(indices: Any, n: int) -> bool:
    """Check on the device; see `msl_kernels.sparse.check_indices`."""
    size = indices.shape[0]
    if not size:
        return True
    wrong = cuda.to_device(np.zeros(1, np.int32))
    check_kernel[_grid(size)](indices, wrong)
    last = int(indices[size - 1 :].copy_to_host()[0])
    return last < n and not wrong.copy_to_host()[0]


def scatter(indices: Any, values: Any, n: int, out: Any) -> Any:
    """Write on the device; see `msl_kernels.sparse.scatter`."""
    out = cuda.device_array(n, np.float32) if out is None else out
    if n:
        fill_kernel[_grid(n)](out)
    if indices.shape[0]:
        scatter_kernel[_grid(indices.shape[0])](indices, values, out, False)
    return out


def scatter_add(indices: Any, values: Any, out: Any) -> Any:
    """Add on the device; see `msl_kernels.sparse.scatter_add`."""
    if indices.shape[0]:
        scatter_kernel[_grid(indices.shape[0])](indices, values, out, True)
    return out


def merge(ia: Any, va: Any, ib: Any, vb: Any) -> tuple[Any, Any]:
    """Add two streams on the device; see `msl_kernels.sparse.merge`."""
    tiles = max(1, -(-ia.shape[0] // TILE))
    counts = cuda.device_array((tiles, 1), np.int32)
    lonely_kernel[_blocks(tiles), THREADS](ia, ib, counts)
    places, totals = offsets(counts)
    lonely = int(totals[0])
    indices = cuda.device_array(lonely + ib.shape[0], np.uint32)
    values = cuda.device_array(lonely + ib.shape[0], np.float32)
    # Its last place is for entries of the second stream behind all of the first.
    before = cuda.to_device(np.full(ia.shape[0] + 1, lonely, np.int64))
    spread_kernel[_blocks(tiles), THREADS](ia, va, ib, places, before, indices, values)
    if ib.shape[0]:
        merge_kernel[_grid(ib.shape[0])](ia, va, ib, vb, before, indices, values)
    return indices, values
