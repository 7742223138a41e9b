"""Columns of a matrix side by side in registers: what all order statistics emit.

numba cannot write a sorting network: its front end takes minutes over that many statements, and
a loop over a table of comparators keeps nothing in registers. So intrinsics emit vector IR.
Small numbers (n, f, which rule) are lengths of tuples, hence types: numba compiles a network for
each at its first use, and finds it in its cache the next time.
"""

from typing import Any

import numpy as np
from numba import njit
from numba.core import cgutils

from msl_kernels.order.network import selection_network

__all__ = ["NETWORK_MAX", "lanes_at", "padded", "sort_wires"]

NETWORK_MAX = 128
"""Rows up to which a network is compiled (about 2 s); more are sorted."""


def lanes_at(context: Any, builder: Any, kind: Any, value: Any, lanes: Any, *index: Any) -> Any:
    """Return the address of a vector of neighbours in a C-contiguous array."""
    array = context.make_array(kind)(context, builder, value)
    pointer = cgutils.get_item_pointer(context, builder, kind, array, list(index))
    return builder.bitcast(pointer, lanes.as_pointer())


def sort_wires(builder: Any, wires: list[Any], first: int, last: int) -> None:
    """Put ranks first..last in place; the ranks below and above stay below and above, unsorted."""
    for i, j in selection_network(len(wires), first, last):
        # Becomes one instruction for the smaller and one for the larger.
        swap = builder.fcmp_ordered("<", wires[j], wires[i])
        wires[i], wires[j] = (
            builder.select(swap, wires[j], wires[i]),
            builder.select(swap, wires[i], wires[j]),
        )


@njit(nogil=True, cache=True)
def padded(rows, first, last, lanes):  # type: ignore[no-untyped-def]
    """Return columns first..last-1 with zeros behind them, up to `lanes`."""
    block = np.zeros((len(rows), lanes), np.float32)
    for i in range(len(rows)):
        for c in range(last - first):
            block[i, c] = rows[i, first + c]
    return block
