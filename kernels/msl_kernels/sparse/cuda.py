"""Selection of large magnitudes on CUDA: a radix select on the keys, then a stable compaction.

The bound is found digit by digit with histograms in shared memory. Then every tile counts what
lies above the bound and what equals it, the host turns the counts into places, and the tiles write.
A number's place is (above before it) + min(ties before it, ties wanted), so the order is that of
the indices and of equal magnitudes the first are kept.
"""

from typing import Any

import numpy as np
from numba import config, cuda

from msl_kernels.philox import draw, split
from msl_kernels.quantize.cuda import _bits

__all__ = [
    "above",
    "buckets_kernel",
    "count_kernel",
    "draw_kernel",
    "draw_keys",
    "histogram_kernel",
    "keep_kernel",
    "offsets",
    "top",
    "top_in_buckets",
]

THREADS = 8 if config.ENABLE_CUDASIM else 128
RUN = 8
"""Neighbours a thread counts and writes."""
TILE = THREADS * RUN
PLACES = 2 * THREADS
"""What `_before` needs: the size of a shared array must be one name."""
BINS = 2048
"""Values of the longest digit: the 31 bits of a key are digits of 11, 10 and 10."""
_DIGITS = ((20, 11), (10, 10), (0, 10))
_SMALL = 256
_MORE = np.int64(1 << 32)
_EQUAL = np.int64(0xFFFFFFFF)
_INF_KEY = np.int32(0x7F800000)
_MAGNITUDE = np.int32(0x7FFFFFFF)
_WORD = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)

_draw = cuda.jit(device=True)(draw)


@cuda.jit(device=True)
def _key(x):  # type: ignore[no-untyped-def]
    return np.int32(_bits(x) & _MAGNITUDE)


@cuda.jit
def histogram_kernel(x, prefix, shift, bits, counts):  # type: ignore[no-untyped-def]
    """Count the digits at `shift` of the keys whose upper digits are `prefix`."""
    shared = cuda.shared.array(BINS, np.int32)
    for i in range(cuda.threadIdx.x, BINS, cuda.blockDim.x):
        shared[i] = 0
    cuda.syncthreads()
    mask = np.int32((1 << bits) - 1)
    for i in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        key = _key(x[i])
        # In 64 bits: above the top digit nothing is left.
        if (np.int64(key) >> (shift + bits)) == prefix:
            cuda.atomic.add(shared, (key >> np.int32(shift)) & mask, 1)
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, BINS, cuda.blockDim.x):
        if shared[i] > 0:
            cuda.atomic.add(counts, i, shared[i])


@cuda.jit(device=True)
def _tally(x, first, last, bound):  # type: ignore[no-untyped-def]
    """Return how many of x[first:last] lie above the bound, times 2^32, plus how many equal it."""
    counts = np.int64(0)
    for i in range(first, last):
        key = _key(x[i])
        if key > bound:
            counts += _MORE
        elif key == bound:
            counts += np.int64(1)
    return counts


@cuda.jit(device=True)
def _before(shared, mine):  # type: ignore[no-untyped-def]
    """Return the sum over the lower threads; `shared` has PLACES places.

    Each step reads one half and writes the other, and the last read is of a thread's own place:
    the next call may follow at once.
    """
    t = cuda.threadIdx.x
    half = 0
    shared[t] = mine
    cuda.syncthreads()
    reach = 1
    while reach < THREADS:
        total = shared[half + t]
        if t >= reach:
            total += shared[half + t - reach]
        half = THREADS - half
        shared[half + t] = total
        cuda.syncthreads()
        reach *= 2
    return shared[half + t] - mine


@cuda.jit(device=True)
def _write(x, first, last, bound, more, equal, ties, start, indices, values):  # type: ignore[no-untyped-def]
    """Write what is chosen of x[first:last], after `more` larger ones and `equal` ties."""
    for i in range(first, last):
        key = _key(x[i])
        place = start + more + min(equal, ties)
        chosen = key > bound or (key == bound and equal < ties)
        if chosen and place < indices.shape[0]:
            indices[place] = i
            values[place] = x[i]
        if key > bound:
            more += 1
        elif key == bound:
            equal += 1


@cuda.jit
def count_kernel(x, bound, counts, bad):  # type: ignore[no-untyped-def]
    """Count above and equal per tile."""
    shared = cuda.shared.array(PLACES, np.int64)
    t, n = cuda.threadIdx.x, x.shape[0]
    for tile in range(cuda.blockIdx.x, counts.shape[0], cuda.gridDim.x):
        first = tile * TILE + t * RUN
        last = min(first + RUN, n)
        for i in range(first, last):
            if _key(x[i]) >= _INF_KEY:
                cuda.atomic.min(bad, 0, i)
        mine = _tally(x, first, last, bound)
        total = mine + _before(shared, mine)
        if t == THREADS - 1:
            counts[tile, 0], counts[tile, 1] = total >> 32, total & _EQUAL


@cuda.jit
def keep_kernel(x, bound, ties, places, indices, values):  # type: ignore[no-untyped-def]
    """Write the chosen of every tile; `places` are the counts of all tiles before."""
    shared = cuda.shared.array(PLACES, np.int64)
    t, n = cuda.threadIdx.x, x.shape[0]
    for tile in range(cuda.blockIdx.x, places.shape[0], cuda.gridDim.x):
        first = tile * TILE + t * RUN
        last = min(first + RUN, n)
        before = _before(shared, _tally(x, first, last, bound))
        more = places[tile, 0] + (before >> 32)
        equal = places[tile, 1] + (before & _EQUAL)
        _write(x, first, last, bound, more, equal, ties, 0, indices, values)


@cuda.jit(device=True)
def _search(x, start, stop, counts, found):  # type: ignore[no-untyped-def]
    """Find the key of rank found[1] in x[start:stop], 8 bits at a time.

    Leaves the key in found[0], and in found[1] how many of its ties are wanted.
    """
    t = cuda.threadIdx.x
    shift = 24
    while shift >= 0:
        for i in range(t, _SMALL, THREADS):
            counts[i] = 0
        cuda.syncthreads()
        for i in range(start + t, stop, THREADS):
            key = _key(x[i])
            if (np.int64(key) >> (shift + 8)) == found[0]:
                cuda.atomic.add(counts, (key >> np.int32(shift)) & np.int32(255), 1)
        cuda.syncthreads()
        if t == 0:
            digit = _SMALL - 1
            while digit > 0 and counts[digit] < found[1]:
                found[1] -= counts[digit]
                digit -= 1
            found[0] = (found[0] << 8) | digit
        cuda.syncthreads()
        shift -= 8


@cuda.jit
def buckets_kernel(x, k, bucket, indices, values, bad):  # type: ignore[no-untyped-def]
    """Select and write a bucket per block: digits of 8 bits, then runs as in a tile."""
    counts = cuda.shared.array(_SMALL, np.int32)
    found = cuda.shared.array(2, np.int32)
    shared = cuda.shared.array(PLACES, np.int64)
    t, n = cuda.threadIdx.x, x.shape[0]
    for b in range(cuda.blockIdx.x, (n + bucket - 1) // bucket, cuda.gridDim.x):
        start, stop = b * bucket, min((b + 1) * bucket, n)
        wanted = np.int32(min(k, stop - start))
        for i in range(start + t, stop, THREADS):
            if _key(x[i]) >= _INF_KEY:
                cuda.atomic.min(bad, 0, i)
        if t == 0:
            found[0], found[1] = 0, wanted
        _search(x, start, stop, counts, found)
        bound, ties = found[0], found[1]
        run = (stop - start + THREADS - 1) // THREADS
        first = min(start + t * run, stop)
        last = min(first + run, stop)
        before = _before(shared, _tally(x, first, last, bound))
        more, equal = before >> 32, before & _EQUAL
        if wanted > 0:
            place = b * min(k, bucket)
            _write(x, first, last, bound, more, equal, ties, place, indices, values)


@cuda.jit
def draw_kernel(x, key0, key1, keys):  # type: ignore[no-untyped-def]
    """Draw numbers with replacement, two a thread."""
    n = np.uint64(x.shape[0])
    for pair in range(cuda.grid(1), (keys.shape[0] + 1) // 2, cuda.gridsize(1)):
        early, late = _draw(np.uint64(pair), key0, key1)
        for j in range(min(2, keys.shape[0] - 2 * pair)):
            word = early if j == 0 else late
            low = ((word & _WORD) * n) >> _SHIFT
            keys[2 * pair + j] = _key(x[np.int64(((word >> _SHIFT) * n + low) >> _SHIFT)])


def _blocks(pieces: int) -> int:
    """Return a grid that fills a large device; on the simulator every thread is a real one."""
    return min(pieces, 2 if config.ENABLE_CUDASIM else 4096)


def offsets(counts: Any) -> tuple[Any, Any]:
    """Return counts of all rows before each row, on the device, and the totals on the host."""
    table = counts.copy_to_host().astype(np.int64)
    ends = np.cumsum(table, axis=0)
    return cuda.to_device(ends - table), ends[-1]


def _bound(x: Any, k: int) -> tuple[np.int32, int]:
    """Return the k-th largest key, and how many of its ties are wanted."""
    prefix, wanted = 0, k
    for shift, bits in _DIGITS:
        counts = cuda.to_device(np.zeros(BINS, np.int64))
        blocks = _blocks(-(-x.shape[0] // TILE))
        histogram_kernel[blocks, THREADS](x, prefix, shift, bits, counts)
        reached = np.cumsum(counts.copy_to_host()[::-1])
        at = int(np.searchsorted(reached, wanted))
        wanted -= int(reached[at - 1]) if at else 0
        prefix = (prefix << bits) | (BINS - 1 - at)
    return np.int32(prefix), wanted


def _first(bad: Any, n: int) -> int:
    first = int(bad.copy_to_host()[0])
    return first if first < n else -1


def _allocate(indices: Any, values: Any, size: int) -> tuple[Any, Any]:
    return (
        cuda.device_array(size, np.uint32) if indices is None else indices,
        cuda.device_array(size, np.float32) if values is None else values,
    )


def _count(x: Any, bound: np.int32, bad: Any) -> tuple[Any, Any]:
    tiles = -(-x.shape[0] // TILE)
    counts = cuda.device_array((tiles, 2), np.int32)
    count_kernel[_blocks(tiles), THREADS](x, bound, counts, bad)
    return offsets(counts)


def _keep(x: Any, bound: np.int32, ties: int, places: Any, indices: Any, values: Any) -> None:
    if indices.shape[0]:
        blocks = _blocks(places.shape[0])
        keep_kernel[blocks, THREADS](x, bound, ties, places, indices, values)


def top(x: Any, k: int, indices: Any, values: Any) -> tuple[Any, Any, int]:
    """Select on the device of `x`; see `msl_kernels.sparse.top`."""
    n = x.shape[0]
    indices, values = _allocate(indices, values, k)
    if not n:
        return indices, values, -1
    bad = cuda.to_device(np.array([n], np.int64))
    bound, ties = _bound(x, k) if k else (_INF_KEY, 0)
    places, _ = _count(x, bound, bad)
    first = _first(bad, n)
    if first < 0:
        _keep(x, bound, ties, places, indices, values)
    return indices, values, first


def above(x: Any, threshold: float | np.float32, capacity: int) -> tuple[Any, Any, int]:
    """Select on the device of `x`; see `msl_kernels.sparse.above`."""
    n = x.shape[0]
    if not n:
        return *_allocate(None, None, 0), -1
    bad = cuda.to_device(np.array([n], np.int64))
    bound = min(np.float32(threshold).view(np.int32), _INF_KEY)
    places, totals = _count(x, bound, bad)
    indices, values = _allocate(None, None, min(capacity, int(totals.sum())))
    _keep(x, bound, n, places, indices, values)
    return indices, values, _first(bad, n)


def top_in_buckets(x: Any, k: int, bucket: int, indices: Any, values: Any) -> tuple[Any, Any, int]:
    """Select on the device of `x`; see `msl_kernels.sparse.top_in_buckets`."""
    from msl_kernels.sparse import n_kept

    n = x.shape[0]
    indices, values = _allocate(indices, values, n_kept(n, k, bucket))
    if not n:
        return indices, values, -1
    bad = cuda.to_device(np.array([n], np.int64))
    buckets_kernel[_blocks(-(-n // bucket)), THREADS](x, k, bucket, indices, values, bad)
    return indices, values, _first(bad, n)


def draw_keys(x: Any, sample: int, key: int) -> Any:
    """Return the keys of `sample` draws, on the host."""
    keys = cuda.device_array(sample, np.int32)
    draw_kernel[_blocks(-(-sample // (2 * THREADS))), THREADS](x, *split(key), keys)
    return keys.copy_to_host()
