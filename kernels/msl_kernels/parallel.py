"""When a kernel runs on several threads, and how two callers stay out of each other's way."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from numba import get_num_threads

__all__ = ["PARALLEL_FROM", "threads_for"]

PARALLEL_FROM = 1 << 17
"""Numbers from which handing pieces to threads (about 20 us) costs less than it gains."""

_lock = Lock()


@contextmanager
def threads_for(size: int) -> Iterator[bool]:
    """Yield whether this caller may use numba's threads on `size` numbers.

    One caller at a time may: numba's fallback threading layer, workqueue, aborts the process
    when two threads enter it, and with any layer the cores are taken. The others run on their
    own thread, and get the same bits.
    """
    mine = size >= PARALLEL_FROM and get_num_threads() > 1 and _lock.acquire(blocking=False)
    try:
        yield mine
    finally:
        if mine:
            _lock.release()
