"""Signs on the CPU: one pass to sum and pack, one to decode, two with error feedback."""

import numpy as np
from numba import njit

from msl_kernels.signs.lanes import (
    LANES,
    add_magnitudes,
    add_sides,
    feed,
    load_word,
    negatives,
    ones,
    store_word,
    write,
    write_added,
)

__all__ = [
    "CHUNK",
    "decode",
    "decode_buckets",
    "feed_chunks",
    "pack_buckets",
    "pack_chunks",
    "sum_chunks",
    "total",
]

CHUNK = 1 << 12
"""Numbers of one partial sum."""
_ZERO = np.float32(0.0)


@njit(nogil=True, forceinline=True, _nrt=False)
def _fold(lanes):  # type: ignore[no-untyped-def]
    """Return the sum of 64 lanes, the upper half added to the lower until one is left."""
    half = LANES // 2
    while half:
        for lane in range(half):
            lanes[lane] += lanes[lane + half]
        half //= 2
    return lanes[0]


@njit(nogil=True, forceinline=True, _nrt=False)
def _sum(x, residual, first, last, lanes):  # type: ignore[no-untyped-def]
    """Return the sum of abs(x + residual) of a chunk; lane l has numbers l, l + 64, ..."""
    for lane in range(LANES):
        lanes[lane] = 0.0
    whole = first + (last - first) // LANES * LANES
    for at in range(first, whole, LANES):
        add_magnitudes(x, residual, at, lanes)
    for i in range(whole, last):
        a = x[i] if residual is None else x[i] + residual[i]
        lanes[i - whole] += np.float64(abs(a))
    return _fold(lanes)


@njit(nogil=True, forceinline=True, _nrt=False)
def _store_bytes(word, count, packed, at):  # type: ignore[no-untyped-def]
    """Write the bytes of the last `count` < 64 bits of a chunk or bucket."""
    for i in range((count + 7) // 8):
        packed[at + i] = np.uint8(word & np.uint64(255))
        word >>= np.uint64(8)


@njit(nogil=True, cache=True, _nrt=False)
def sum_chunks(x, residual, first, last, lanes, sums):  # type: ignore[no-untyped-def]
    """Write the sum of abs(x + residual) of chunks first..last-1.

    `lanes` (64,) float64 is scratch.
    """
    for chunk in range(first, last):
        start, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, len(x))
        sums[chunk] = _sum(x, residual, start, stop, lanes)


@njit(nogil=True, cache=True, _nrt=False)
def pack_chunks(x, first, last, lanes, sums, packed):  # type: ignore[no-untyped-def]
    """Write the signs and the sum of abs(x) of chunks first..last-1."""
    for chunk in range(first, last):
        start, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, len(x))
        sums[chunk] = _sum(x, None, start, stop, lanes)
        whole = start + (stop - start) // LANES * LANES
        for at in range(start, whole, LANES):
            store_word(negatives(x, at), packed, at // 8)
        word = np.uint64(0)
        for i in range(whole, stop):
            word |= np.uint64(x[i] < _ZERO) << np.uint64(i - whole)
        _store_bytes(word, stop - whole, packed, whole // 8)


@njit(nogil=True, cache=True, _nrt=False)
def total(sums):  # type: ignore[no-untyped-def]
    """Return the sum, one after another."""
    result = 0.0
    for i in range(len(sums)):
        result += sums[i]
    return result


@njit(nogil=True, cache=True, _nrt=False)
def feed_chunks(x, residual, first, last, scale, packed):  # type: ignore[no-untyped-def]
    """Write the signs of a = x + residual and leave what they lose in the residual."""
    start, stop = first * CHUNK, min(last * CHUNK, len(x))
    whole = start + (stop - start) // LANES * LANES
    for at in range(start, whole, LANES):
        store_word(feed(x, residual, at, scale), packed, at // 8)
    word = np.uint64(0)
    for i in range(whole, stop):
        a = x[i] + residual[i]
        word |= np.uint64(a < _ZERO) << np.uint64(i - whole)
        residual[i] = a - (-scale if a < _ZERO else scale)
    _store_bytes(word, stop - whole, packed, whole // 8)


@njit(nogil=True, forceinline=True, _nrt=False)
def _decode(packed, first, last, negative, other, out, add):  # type: ignore[no-untyped-def]
    whole = first + (last - first) // LANES * LANES
    for at in range(first, whole, LANES):
        word = load_word(packed, at // 8)
        if add:
            write_added(word, negative, other, out, at)
        else:
            write(word, negative, other, out, at)
    for i in range(whole, last):
        value = negative if (packed[i // 8] >> (i % 8)) & 1 else other
        out[i] = out[i] + value if add else value


@njit(nogil=True, cache=True, _nrt=False)
def decode(packed, first, last, negative, other, out, add):  # type: ignore[no-untyped-def]
    """Write or add one of two values for numbers first..last-1; first is a multiple of 8."""
    _decode(packed, first, last, negative, other, out, add)


@njit(nogil=True, cache=True, _nrt=False)
def decode_buckets(means, packed, first, last, bucket, out, add):  # type: ignore[no-untyped-def]
    """Write or add the means of buckets first..last-1."""
    for b in range(first, last):
        start, stop = b * bucket, min((b + 1) * bucket, len(out))
        _decode(packed, start, stop, means[b, 0], means[b, 1], out, add)


@njit(nogil=True, cache=True, _nrt=False)
def pack_buckets(x, first, last, bucket, lanes, means, packed):  # type: ignore[no-untyped-def]
    """Write signs and both means of buckets first..last-1; return the first not finite, or -1.

    `lanes` (128,) float64 is scratch.
    """
    for b in range(first, last):
        start, stop = b * bucket, min((b + 1) * bucket, len(x))
        whole = start + (stop - start) // LANES * LANES
        for lane in range(2 * LANES):
            lanes[lane] = 0.0
        count = 0
        for at in range(start, whole, LANES):
            word = add_sides(x, at, lanes)
            store_word(word, packed, at // 8)
            count += ones(word)
        word = np.uint64(0)
        for i in range(whole, stop):
            negative = x[i] < _ZERO
            lanes[i - whole + (0 if negative else LANES)] += np.float64(x[i])
            word |= np.uint64(negative) << np.uint64(i - whole)
        _store_bytes(word, stop - whole, packed, whole // 8)
        count += ones(word)
        low, high = _fold(lanes[:LANES]), _fold(lanes[LANES:])
        if not (np.isfinite(low) and np.isfinite(high)):
            return b
        others = stop - start - count
        means[b, 0] = np.float32(low / np.float64(count)) if count else _ZERO
        means[b, 1] = np.float32(high / np.float64(others)) if others else _ZERO
    return -1
