"""Selection of large magnitudes on the CPU: one pass that keeps what reaches a bound.

The bits of a float without the sign are an integer key in the order of the magnitudes. A sample
gives a key that about 1.2 k numbers reach; a pass writes those out, and the exact choice is made
among them. 64 keys are compared at once into a 64-bit word, which is empty for half the blocks at
1 %. numba has no such operation, so an intrinsic emits vector IR.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from msl_kernels.parallel import spread
from msl_kernels.philox import draw_on_cpu

__all__ = ["INF_KEY", "above", "buckets", "draw_keys", "kth", "top"]

INF_KEY = np.int32(0x7F800000)
_MAGNITUDE = np.int32(0x7FFFFFFF)
_ZERO = np.int32(0)
_ONE = np.int32(1)
_LANES = 64
_SAMPLE = 20_000
_GOLDEN = np.uint64(2654435761)
_WORD = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


@intrinsic
def _block(_typing_context, raw, _at, _bound):  # type: ignore[no-untyped-def]
    """Return a bit for each of raw[at : at + 64]: whether its key reaches the bound."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.VectorType(ir.IntType(32), _LANES)
        array = context.make_array(raw)(context, builder, arguments[0])
        pointer = cgutils.get_item_pointer(context, builder, raw, array, [arguments[1]])
        bits = builder.load(builder.bitcast(pointer, kind.as_pointer()), align=4)
        keys = builder.and_(bits, ir.Constant(kind, [int(_MAGNITUDE)] * _LANES))
        first = builder.insert_element(
            ir.Constant(kind, ir.Undefined), arguments[2], ir.Constant(ir.IntType(32), 0)
        )
        bounds = builder.shuffle_vector(
            first, first, ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
        )
        return builder.bitcast(builder.icmp_signed(">=", keys, bounds), ir.IntType(_LANES))

    return types.uint64(raw, types.intp, types.int32), emit


@intrinsic
def _lowest(_typing_context, _word):  # type: ignore[no-untyped-def]
    """Return the place of the lowest bit that is set."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


@intrinsic
def _ones(_typing_context, _word):  # type: ignore[no-untyped-def]
    """Return how many bits are set."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), emit


@njit(nogil=True, forceinline=True, _nrt=False)
def _reach(raw, at, last, bound):  # type: ignore[no-untyped-def]
    """Return the word of raw[at : min(at + 64, last)]."""
    if at + _LANES <= last:
        return _block(raw, at, bound)
    word = np.uint64(0)
    for i in range(last - at):
        word |= np.uint64((raw[at + i] & _MAGNITUDE) >= bound) << np.uint64(i)
    return word


@njit(nogil=True, forceinline=True, _nrt=False)
def _collect(raw, first, last, bound, ties, indices, bits, start):  # type: ignore[no-untyped-def]
    """Write from place `start` on what reaches the bound, `ties` of what equals it.

    Return the place after the last, were there room for all, and the first NaN or Inf, or -1.
    """
    floor, count = bound, start
    for at in range(first, last, _LANES):
        word = _reach(raw, at, last, bound)
        while word:
            i = at + _lowest(word)
            word &= word - np.uint64(1)
            key = raw[i] & _MAGNITUDE
            if key >= INF_KEY:
                return count, i
            if key < bound:
                continue
            if count < len(indices):
                indices[count] = i
                bits[count] = raw[i]
            count += 1
            if key == floor:
                ties -= 1
                # No later tie can be chosen; a vector of many zeros is skipped from here on.
                bound += np.int32(ties == 0)
    return count, -1


@njit(nogil=True, cache=True, _nrt=False)
def _collect_piece(raw, first, last, bound, ties, indices, bits):  # type: ignore[no-untyped-def]
    return _collect(raw, first, last, bound, ties, indices, bits, 0)


@njit(nogil=True, cache=True, _nrt=False)
def _sample(raw, keys):  # type: ignore[no-untyped-def]
    """Take a key from each of equal strides; the place within moves, lest a period be met."""
    n, size = len(raw), len(keys)
    stride = np.uint64(n // size)
    for i in range(size):
        jitter = ((np.uint64(i) * _GOLDEN & _WORD) * stride) >> _SHIFT
        keys[i] = raw[i * n // size + np.int64(jitter)] & _MAGNITUDE


@njit(nogil=True, cache=True, _nrt=False)
def _keep(indices, bits, bound, ties, out, out_bits):  # type: ignore[no-untyped-def]
    """Write the candidates above the bound, and the first `ties` that equal it."""
    count = 0
    for i in range(len(indices)):
        key = bits[i] & _MAGNITUDE
        tie = key == bound and ties > 0
        ties -= tie
        if key > bound or tie:
            out[count] = indices[i]
            out_bits[count] = bits[i]
            count += 1


def kth(keys: NDArray[np.int32], k: int) -> np.int32:
    """Return the k-th largest key, k >= 1, cut at that of Inf: a NaN must reach it."""
    return np.int32(min(np.partition(keys, len(keys) - k)[len(keys) - k], INF_KEY))


def _lower_bound(raw: NDArray[np.int32], k: int) -> tuple[np.int32, int]:
    """Return a key that at least k numbers reach (99.9 %), and room for those that do."""
    n = len(raw)
    keys = np.empty(min(n, _SAMPLE), np.int32)
    _sample(raw, keys)
    expected = k * len(keys) / n
    rank = k if n == len(keys) else int(np.ceil(expected + 3 * np.sqrt(expected))) + 4
    room = min(n, 2 * rank * n // len(keys) + k)
    return (kth(keys, rank), room) if rank < len(keys) else (_ZERO, n)


def _candidates(
    raw: NDArray[np.int32], bound: np.int32, ties: int, room: int
) -> tuple[NDArray[np.uint32], NDArray[np.int32], int, int]:
    """Return indices and bits of what reaches the bound, how many do, and the first bad."""

    def run(first: int, last: int) -> tuple[NDArray[np.uint32], NDArray[np.int32], int, int]:
        indices, bits = np.empty(room, np.uint32), np.empty(room, np.int32)
        stop = min(last * _LANES, len(raw))
        count, bad = _collect_piece(raw, first * _LANES, stop, bound, ties, indices, bits)
        return indices[:count], bits[:count], count, bad

    pieces = spread(run, -(-len(raw) // _LANES), len(raw))
    bad = next((piece[3] for piece in pieces if piece[3] >= 0), -1)
    overflows = any(piece[2] > room for piece in pieces)
    if len(pieces) == 1:
        indices, bits = pieces[0][:2]
    else:
        indices = np.concatenate([piece[0] for piece in pieces])
        bits = np.concatenate([piece[1] for piece in pieces])
    return indices, bits, -1 if overflows else len(indices), bad


def top(
    x: NDArray[np.float32], k: int, indices: NDArray[np.uint32], values: NDArray[np.float32]
) -> int:
    """Write the k largest; see `msl_kernels.sparse.top`."""
    raw = x.view(np.int32)
    bound, room = _lower_bound(raw, k) if k else (INF_KEY, 0)
    at, bits, count, bad = _candidates(raw, bound, k, room)
    if bad >= 0 or not k:
        return bad
    if count < k:
        # The sample misled: k numbers do not reach its bound, or far too many do.
        bound = kth(raw & _MAGNITUDE, k)
        at, bits, count, bad = _candidates(raw, bound, k, min(2 * k, len(raw)))
    keys = bits & _MAGNITUDE
    bound = kth(keys, k)
    ties = k - int(np.count_nonzero(keys > bound))
    _keep(at, bits, bound, ties, indices, values.view(np.int32))
    return bad


def above(
    x: NDArray[np.float32], threshold: float | np.float32, capacity: int
) -> tuple[NDArray[np.uint32], NDArray[np.float32], int]:
    """Return what reaches a threshold; see `msl_kernels.sparse.above`."""
    bound = min(np.float32(threshold).view(np.int32), INF_KEY)
    room = min(capacity, len(x))
    at, bits, _, bad = _candidates(x.view(np.int32), bound, len(x) + 1, room)
    return at[:room], bits[:room].view(np.float32), bad


@njit(nogil=True, forceinline=True, _nrt=False)
def _count(raw, start, stop, bound):  # type: ignore[no-untyped-def]
    count = 0
    for at in range(start, stop, _LANES):
        count += _ones(_reach(raw, at, stop, bound))
    return count


@njit(nogil=True, cache=True, _nrt=False)
def buckets(raw, first, last, k, bucket, indices, bits):  # type: ignore[no-untyped-def]
    """Write the k largest of buckets first..last-1; return the first NaN or Inf, or -1.

    The bound is found bit by bit, counting what reaches it; mostly a dozen bits tell k apart.
    """
    for b in range(first, last):
        start, stop = b * bucket, min((b + 1) * bucket, len(raw))
        wanted = min(k, stop - start)
        bound, reached = _ZERO, stop - start
        for bit in range(30, -1, -1):
            if reached == wanted:
                break
            higher = bound | (_ONE << np.int32(bit))
            count = _count(raw, start, stop, higher)
            if count >= wanted:
                bound, reached = higher, count
        ties = wanted
        if reached > wanted:
            ties -= _count(raw, start, stop, bound + _ONE)
        bound = min(bound, INF_KEY) if wanted else INF_KEY
        _, bad = _collect(raw, start, stop, bound, ties, indices, bits, b * min(k, bucket))
        if bad >= 0:
            return bad
    return -1


@njit(nogil=True, cache=True, _nrt=False)
def draw_keys(raw, key0, key1, keys):  # type: ignore[no-untyped-def]
    """Draw numbers with replacement and write their keys, two to a Philox call."""
    n = np.uint64(len(raw))
    for i in range(0, len(keys), 2):
        words = draw_on_cpu(np.uint64(i // 2), key0, key1)
        for j in range(min(2, len(keys) - i)):
            # The upper 64 bits of word * n.
            low = ((words[j] & _WORD) * n) >> _SHIFT
            at = ((words[j] >> _SHIFT) * n + low) >> _SHIFT
            keys[i + j] = raw[np.int64(at)] & _MAGNITUDE
