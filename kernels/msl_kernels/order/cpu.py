"""Trimmed mean and mean around the median on the CPU: 16 coordinates side by side."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from msl_kernels.order.columns import NETWORK_MAX, lanes_at, padded, sort_wires
from msl_kernels.parallel import spread

__all__ = ["meamed", "trimmed_mean"]

LANES = 16
"""Coordinates at once: the floats of one 512-bit register."""
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_TRIMMED_MEAN, _MEAMED = (), (0,)


def _constant(value: float) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _mean(builder: Any, wires: list[Any]) -> Any:
    """Return the mean; from +0.0, so that it is never -0.0: which zero comes first is chance."""
    total = _constant(0.0)
    for wire in wires:
        total = builder.fadd(total, wire)
    return builder.fdiv(total, _constant(float(len(wires))))


def _emit_trimmed_mean(builder: Any, wires: list[Any], f: int) -> Any:
    n = len(wires)
    sort_wires(builder, wires, f, n - 1 - f)
    return _mean(builder, wires[f : n - f])


def _emit_meamed(builder: Any, wires: list[Any], f: int) -> Any:
    """Return the mean of the n - f nearest: a window of the sorted column.

    It moves up past value s while that lies farther from the median than value s + n - f, the
    one it would gain. The distances below shrink with s and those above grow, so the answers are
    yes up to the start of the window and no from there on: each tells of its two values alone
    whether they are in, and one sum over all suffices.
    """
    n = len(wires)
    size = n - f
    sort_wires(builder, wires, 0, n - 1)
    median = _mean(builder, wires[(n - 1) // 2 : n // 2 + 1])
    passed = [
        builder.fcmp_ordered(
            ">", builder.fsub(median, wires[s]), builder.fsub(wires[s + size], median)
        )
        for s in range(f)
    ]
    total = _constant(0.0)
    for i, wire in enumerate(wires):
        more = builder.fadd(total, wire)
        if i >= size:
            more = builder.select(passed[i - size], more, total)
        if i < f:
            more = builder.select(passed[i], total, more)
        total = more
    return builder.fdiv(total, _constant(float(size)))


@intrinsic
def _lanes(_typing_context, rows, out, _column, n, f, rule):  # type: ignore[no-untyped-def]
    """Apply a rule to columns column..column+15 of rows (n, d); write into out (d,)."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        rows_value, out_value, at = arguments[:3]
        places = [context.get_constant(types.intp, i) for i in range(len(n))]
        wires = [
            builder.load(lanes_at(context, builder, rows, rows_value, _VECTOR, i, at), align=4)
            for i in places
        ]
        emit_rule = (_emit_trimmed_mean, _emit_meamed)[len(rule)]
        mean = emit_rule(builder, wires, len(f))
        builder.store(mean, lanes_at(context, builder, out, out_value, _VECTOR, at), align=4)
        return context.get_dummy_value()

    return types.void(rows, out, types.intp, n, f, rule), emit


@njit(nogil=True, cache=True)
def _select(rows, first, last, out, n, f, rule):  # type: ignore[no-untyped-def]
    """Apply a rule to columns first..last-1, with the network of len(n) rows."""
    whole = first + (last - first) // LANES * LANES
    for column in range(first, whole, LANES):
        _lanes(rows, out, column, n, f, rule)
    if whole < last:
        rest = padded(rows, whole, last, LANES)
        mean = np.empty(LANES, np.float32)
        _lanes(rest, mean, 0, n, f, rule)
        for c in range(whole, last):
            out[c] = mean[c - whole]


@njit(nogil=True, cache=True, error_model="numpy")
def _mean_of(column, first, last):  # type: ignore[no-untyped-def]
    """Mean of sorted values first..last-1, upwards from +0.0."""
    total = np.float32(0.0)
    for i in range(first, last):
        total += column[i]
    return total / np.float32(last - first)


@njit(nogil=True, cache=True)
def _sort(rows, first, last, out, f, rule):  # type: ignore[no-untyped-def]
    """Apply a rule to columns first..last-1, for any number of rows."""
    n = len(rows)
    for at in range(first, last, LANES):
        columns = rows[:, at : min(at + LANES, last)].T.copy()
        for c in range(len(columns)):
            column = columns[c]
            column.sort()
            if len(rule) == len(_MEAMED):
                median = _mean_of(column, (n - 1) // 2, n // 2 + 1)
                start = 0
                while start < f and median - column[start] > column[start + n - f] - median:
                    start += 1
                out[at + c] = _mean_of(column, start, start + n - f)
            else:
                out[at + c] = _mean_of(column, f, n - f)


def _apply(
    rows: NDArray[np.float32], f: int, out: NDArray[np.float32], rule: tuple[int, ...]
) -> None:
    n, d = rows.shape

    def run(first: int, last: int) -> None:
        if n <= NETWORK_MAX:
            _select(rows, first, last, out, (0,) * n, (0,) * f, rule)
        else:
            _sort(rows, first, last, out, f, rule)

    spread(run, d, rows.size)


def trimmed_mean(rows: NDArray[np.float32], f: int, out: NDArray[np.float32]) -> None:
    """Write the trimmed mean of every column; see `msl_kernels.order.trimmed_mean`."""
    _apply(rows, f, out, _TRIMMED_MEAN)


def meamed(rows: NDArray[np.float32], f: int, out: NDArray[np.float32]) -> None:
    """Write the mean around the median of every column; see `msl_kernels.order.meamed`."""
    _apply(rows, f, out, _MEAMED)
