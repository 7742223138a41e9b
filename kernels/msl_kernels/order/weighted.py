"""Weighted order statistics on the CPU: 8 coordinates side by side, each value with its weight.

A float32 leaves 29 bits of a float64 empty: the weight, a whole number of units, lies there and
travels through the sorting network at no cost beyond float64's, two instructions a comparator.
Cumulative weights are exact; so are weight times value, 28 and 24 bits (2^28 is one bit): no
fusing of operations can change a bit. Equal values go by their weights, so the order of the rows
changes none either.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from msl_kernels.order.columns import NETWORK_MAX, lanes_at, padded, sort_wires
from msl_kernels.order.units import UNIT_BITS
from msl_kernels.parallel import spread
from msl_kernels.simd import address, splat

__all__ = ["weighted_median", "weighted_trimmed_mean"]

LANES = 8
"""Coordinates at once: the float64 of one 512-bit register."""
_FLOATS, _DOUBLES, _INTS = (
    ir.VectorType(kind, LANES) for kind in (ir.FloatType(), ir.DoubleType(), ir.IntType(64))
)
_WEIGHT = (1 << UNIT_BITS) - 1
_MEDIAN, _TRIMMED_MEAN = (), (0,)


def _constant(kind: Any, value: Any) -> Any:
    return ir.Constant(kind, [value] * LANES)


def _join(builder: Any, values: Any, weight: Any) -> Any:
    """Return float64 keys: the values, a weight in their empty bits."""
    raw = builder.bitcast(builder.fpext(values, _DOUBLES), _INTS)
    return builder.bitcast(builder.or_(raw, splat(builder, weight, LANES)), _DOUBLES)


def _value(builder: Any, key: Any) -> Any:
    raw = builder.and_(builder.bitcast(key, _INTS), _constant(_INTS, ~_WEIGHT))
    return builder.bitcast(raw, _DOUBLES)


def _weight(builder: Any, key: Any) -> Any:
    raw = builder.and_(builder.bitcast(key, _INTS), _constant(_INTS, _WEIGHT))
    return builder.uitofp(raw, _DOUBLES)


def _emit_median(builder: Any, keys: list[Any], half: Any, _high: Any) -> Any:
    """Mean of the first value with half of the weight up to it, and the first with more."""
    below = _constant(_DOUBLES, 0.0)
    lower = upper = keys[0]
    for before, key in pairwise(keys):
        below = builder.fadd(below, _weight(builder, before))
        lower = builder.select(builder.fcmp_ordered("<", below, half), key, lower)
        upper = builder.select(builder.fcmp_ordered("<=", below, half), key, upper)
    total = builder.fadd(_constant(_DOUBLES, 0.0), _value(builder, lower))  # never -0.0
    total = builder.fadd(total, _value(builder, upper))
    return builder.fmul(total, _constant(_DOUBLES, 0.5))


def _emit_trimmed_mean(builder: Any, keys: list[Any], low: Any, high: Any) -> Any:
    """Mean of the weight between the cumulative weights low and high."""

    def clamp(weight: Any) -> Any:
        weight = builder.select(builder.fcmp_ordered("<", weight, low), low, weight)
        return builder.select(builder.fcmp_ordered("<", high, weight), high, weight)

    below = total = _constant(_DOUBLES, 0.0)
    edge = low
    for key in keys:
        below = builder.fadd(below, _weight(builder, key))
        before, edge = edge, clamp(below)
        kept = builder.fsub(edge, before)
        total = builder.fadd(total, builder.fmul(kept, _value(builder, key)))
    return builder.fdiv(total, builder.fsub(high, low))


@intrinsic
def _lanes(_typing_context, rows, units, _low, _high, out, _column, n, rule):  # type: ignore[no-untyped-def]
    """Apply a rule to columns column..column+7 of rows (n, d); write into out (d,)."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        rows_value, units_value, low, high, out_value, at = arguments[:6]
        keys = []
        for i in range(len(n)):
            place = context.get_constant(types.intp, i)
            row = lanes_at(context, builder, rows, rows_value, _FLOATS, place, at)
            unit = address(context, builder, units, units_value, place, ir.IntType(64))
            keys.append(_join(builder, builder.load(row, align=4), builder.load(unit)))
        sort_wires(builder, keys, 0, len(keys) - 1)
        edges = (splat(builder, edge, LANES) for edge in (low, high))
        mean = (_emit_median, _emit_trimmed_mean)[len(rule)](builder, keys, *edges)
        place = lanes_at(context, builder, out, out_value, _FLOATS, at)
        builder.store(builder.fptrunc(mean, _FLOATS), place, align=4)
        return context.get_dummy_value()

    edge = types.float64
    return types.void(rows, units, edge, edge, out, types.intp, n, rule), emit


@njit(nogil=True, cache=True)
def _select(rows, units, low, high, first, last, out, n, rule):  # type: ignore[no-untyped-def]
    """Apply a rule to columns first..last-1, with the network of len(n) rows."""
    whole = first + (last - first) // LANES * LANES
    for column in range(first, whole, LANES):
        _lanes(rows, units, low, high, out, column, n, rule)
    if whole < last:
        rest = padded(rows, whole, last, LANES)
        mean = np.empty(LANES, np.float32)
        _lanes(rest, units, low, high, mean, 0, n, rule)
        for c in range(whole, last):
            out[c] = mean[c - whole]


@njit(nogil=True, cache=True)
def _sort(rows, units, low, high, first, last, out, rule):  # type: ignore[no-untyped-def]
    """Apply a rule to columns first..last-1, for any number of rows."""
    n = len(rows)
    keys = np.empty((min(LANES, last - first), n), np.float64)
    raw = keys.view(np.int64)
    weights = np.empty(n, np.int64)
    for at in range(first, last, LANES):
        columns = min(LANES, last - at)
        for i in range(n):
            for c in range(columns):
                keys[c, i] = rows[i, at + c]
                raw[c, i] |= units[i]
        for c in range(columns):
            keys[c].sort()
            for i in range(n):
                weights[i] = raw[c, i] & _WEIGHT
                raw[c, i] -= weights[i]
            if len(rule) == len(_MEDIAN):
                out[at + c] = _median_of(keys[c], weights, low)
            else:
                out[at + c] = _trimmed_mean_of(keys[c], weights, low, high)


@njit(nogil=True, cache=True)
def _median_of(values, weights, half):  # type: ignore[no-untyped-def]
    below = float(weights[0])
    i = 0
    while below < half:
        i += 1
        below += weights[i]
    total = 0.0 + values[i]
    while below <= half:
        i += 1
        below += weights[i]
    return (total + values[i]) * 0.5


@njit(nogil=True, cache=True, error_model="numpy")
def _trimmed_mean_of(values, weights, low, high):  # type: ignore[no-untyped-def]
    below = total = 0.0
    edge = low
    for i in range(len(values)):
        below += weights[i]
        before, edge = edge, min(max(below, low), high)
        total += (edge - before) * values[i]
    return total / (high - low)


def _apply(
    rows: NDArray[np.float32],
    units: NDArray[np.int64],
    low: float,
    high: float,
    out: NDArray[np.float32],
    rule: tuple[int, ...],
) -> None:
    n, d = rows.shape

    def run(first: int, last: int) -> None:
        if n <= NETWORK_MAX:
            _select(rows, units, low, high, first, last, out, (0,) * n, rule)
        else:
            _sort(rows, units, low, high, first, last, out, rule)

    spread(run, d, rows.size)


def weighted_median(
    rows: NDArray[np.float32], units: NDArray[np.int64], half: float, out: NDArray[np.float32]
) -> None:
    """Write the weighted median of every column; `half` of all units."""
    _apply(rows, units, half, half, out, _MEDIAN)


def weighted_trimmed_mean(
    rows: NDArray[np.float32],
    units: NDArray[np.int64],
    low: float,
    high: float,
    out: NDArray[np.float32],
) -> None:
    """Write the mean of the weight between the cumulative weights low and high, low < high."""
    _apply(rows, units, low, high, out, _TRIMMED_MEAN)
