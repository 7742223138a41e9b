"""Order statistics on the CPU: a sorting network in registers, 16 coordinates side by side.

numba cannot write the network: its front end takes minutes over that many statements, and a
loop over a table of comparators keeps nothing in registers. So an intrinsic emits vector IR.
The numbers n and f are lengths of tuples, hence types: numba compiles a network per (n, f) at
its first use, and finds it in its cache the next time.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from msl_kernels.order.network import selection_network
from msl_kernels.parallel import spread

__all__ = ["trimmed_mean"]

LANES = 16
"""Coordinates at once: the floats of one 512-bit register."""
NETWORK_MAX = 128
"""Rows up to which a network is compiled (about 2 s); more are sorted."""
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _compare(builder: Any, wires: list[Any], i: int, j: int) -> None:
    """Put the smaller into wire i; becomes one vminps and one vmaxps."""
    swap = builder.fcmp_ordered("<", wires[j], wires[i])
    wires[i], wires[j] = (
        builder.select(swap, wires[j], wires[i]),
        builder.select(swap, wires[i], wires[j]),
    )


def _lane_pointer(context: Any, builder: Any, kind: Any, value: Any, *index: Any) -> Any:
    """Return the address of 16 neighbours in a C-contiguous array."""
    array = context.make_array(kind)(context, builder, value)
    pointer = cgutils.get_item_pointer(context, builder, kind, array, list(index))
    return builder.bitcast(pointer, _VECTOR.as_pointer())


@intrinsic
def _lanes(_typing_context, rows, out, _column, n, f):  # type: ignore[no-untyped-def]
    """Trimmed mean of columns column..column+15 of rows (n, d) into out (d,)."""

    def emit(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        rows_value, out_value, at = arguments[:3]
        index = context.get_constant
        wires = [
            builder.load(
                _lane_pointer(context, builder, rows, rows_value, index(types.intp, i), at), align=4
            )
            for i in range(len(n))
        ]
        first, last = len(f), len(n) - 1 - len(f)
        for i, j in selection_network(len(n), first, last):
            _compare(builder, wires, i, j)
        # From +0.0, so that no result is -0.0: which zero a network keeps is its own affair.
        total = ir.Constant(_VECTOR, [0.0] * LANES)
        for wire in wires[first : last + 1]:
            total = builder.fadd(total, wire)
        count = ir.Constant(_VECTOR, [float(last + 1 - first)] * LANES)
        mean = builder.fdiv(total, count)
        builder.store(mean, _lane_pointer(context, builder, out, out_value, at), align=4)
        return context.get_dummy_value()

    return types.void(rows, out, types.intp, n, f), emit


@njit(nogil=True, cache=True)
def _select(rows, first, last, out, n, f):  # type: ignore[no-untyped-def]
    """Trimmed means of columns first..last-1, with the network of len(n) rows."""
    whole = first + (last - first) // LANES * LANES
    for column in range(first, whole, LANES):
        _lanes(rows, out, column, n, f)
    if whole < last:
        rest = np.zeros((len(rows), LANES), np.float32)
        rest[:, : last - whole] = rows[:, whole:last]
        mean = np.empty(LANES, np.float32)
        _lanes(rest, mean, 0, n, f)
        out[whole:last] = mean[: last - whole]


@njit(nogil=True, cache=True, error_model="numpy")
def _sort(rows, first, last, out, f):  # type: ignore[no-untyped-def]
    """Trimmed means of columns first..last-1, for any number of rows."""
    n = len(rows)
    for start in range(first, last, LANES):
        columns = rows[:, start : min(start + LANES, last)].T.copy()
        for c in range(len(columns)):
            columns[c].sort()
            total = np.float32(0.0)
            for i in range(f, n - f):
                total += columns[c, i]
            out[start + c] = total / np.float32(n - 2 * f)


def trimmed_mean(rows: NDArray[np.float32], f: int, out: NDArray[np.float32]) -> None:
    """Write the trimmed mean of every column; see `msl_kernels.order.trimmed_mean`."""
    n, d = rows.shape

    def run(first: int, last: int) -> None:
        if n <= NETWORK_MAX:
            _select(rows, first, last, out, (0,) * n, (0,) * f)
        else:
            _sort(rows, first, last, out, f)

    spread(run, d, rows.size)
