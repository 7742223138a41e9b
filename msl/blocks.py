"""Large models block by block: the decoded updates of all sources never lie side by side.

Where a rule works coordinate by coordinate and payloads can be cut, a block of every payload is
decoded and reduced while it lies in the cache. So the meeting worker needs room for the payloads
and one vector, not for n more; and no bit differs from doing all of it at once.
"""

from collections.abc import Sequence
from math import lcm, sqrt

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.aggregators.columnwise import Columnwise
from msl.aggregators.kept import stride
from msl.codecs.payload import Payload
from msl.finite import first_non_finite
from msl.types import Aggregated, Vector

__all__ = ["block_of", "distance", "finite_payloads", "reduce_blocks"]

_NUMBERS = 1 << 20
"""Of a block of all rows: 4 MB."""
_LARGE = 1 << 18
"""Numbers of a model from which it is cut: of smaller ones a call for each block and source costs
more than the room is worth."""


def block_of(rule: Aggregator, payloads: Sequence[Payload], size: int) -> int | None:
    """Return how many coordinates to take at a time; None where the rows must be whole."""
    n = len(payloads)
    if not isinstance(rule, Columnwise) or size < _LARGE or n * size <= 4 * _NUMBERS:
        return None
    runs = [p.codec.run(p) if p.size == size else None for p in payloads]
    if None in runs:
        return None
    run = lcm(*(run for run in runs if run))
    block = max(1, _NUMBERS // (n * run)) * run
    return block if block < size else None


def finite_payloads(payloads: Sequence[Payload], block: int) -> NDArray[np.bool_]:
    """Return which updates hold neither NaN nor Inf, as (n,) bool."""
    size = payloads[0].size
    finite = (
        all(
            first_non_finite(p.codec.cut(p, start, min(start + block, size)).view()) < 0
            for start in range(0, size, block)
        )
        for p in payloads
    )
    return np.fromiter(finite, np.bool_, len(payloads))


def reduce_blocks(
    rule: Aggregator, payloads: Sequence[Payload], weights: NDArray[np.float64], block: int
) -> Aggregated:
    """Return what `rule.aggregate` makes of the decoded rows; the rule is one that works so."""
    if not isinstance(rule, Columnwise):
        raise TypeError(f"{rule.name} needs whole rows")
    n, size, step = len(payloads), payloads[0].size, stride(payloads[0].size)
    vector, room = np.empty(size, np.float32), np.empty(n * block, np.float32)
    shown = np.empty((n, -(-size // step)), np.float32)
    for start in range(0, size, block):
        stop = min(start + block, size)
        rows = room[: n * (stop - start)].reshape(n, -1)
        for row, payload in zip(rows, payloads, strict=True):
            payload.codec.cut(payload, start, stop).decode(out=row)
        vector[start:stop] = rule.reduce(rows, weights)
        shown[:, -(-start // step) : -(-stop // step)] = rows[:, -start % step :: step]
    return Aggregated(vector, rule.shares(shown, weights))


def distance(a: Vector, b: Vector) -> float:
    """Return the Euclidean length of a - b, summed in float64."""
    total = 0.0
    for start in range(0, len(a), _NUMBERS // 8):
        piece = slice(start, start + _NUMBERS // 8)
        gap = (a[piece] - b[piece]).astype(np.float64)
        total += float(gap @ gap)
    return sqrt(total)
