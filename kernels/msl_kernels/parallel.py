"""When and how a kernel runs on several threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import numba

__all__ = ["PARALLEL_FROM", "spread"]

T = TypeVar("T")

PARALLEL_FROM = 1 << 17
"""Numbers from which handing pieces to threads (about 50 us) costs less than it gains."""


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS, "msl_kernels")


# A forked child inherits the pool without its threads and would wait for them for ever.
os.register_at_fork(after_in_child=_pool.cache_clear)


def spread(run: Callable[[int, int], T], count: int, size: int) -> list[T]:
    """Return run(first, last) for pieces that make up range(count), in their order.

    Large work is cut into `numba.get_num_threads()` pieces. The threads are Python's, running
    kernels that hold no interpreter lock: numba's own may not be entered by two callers at once
    (its workqueue layer then ends the process), and a kernel would be compiled twice.

    Parameters
    ----------
    run : callable
        Must not depend on where the pieces begin.
    count : int
        What is cut: buckets, columns.
    size : int
        Numbers read in all.
    """
    pieces = numba.get_num_threads() if size >= PARALLEL_FROM else 1
    if pieces == 1:
        return [run(0, count)]
    edges = [count * i // pieces for i in range(pieces + 1)]
    return list(_pool().map(run, edges[:-1], edges[1:]))
