"""When a kernel runs on several threads, and how two callers stay out of each other's way."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["PARALLEL_FROM", "alone"]

PARALLEL_FROM = 1 << 17
"""Numbers from which handing pieces to threads (about 20 us) costs less than it gains."""

# numba's fallback threading layer, workqueue, aborts the process when two threads enter it.
_lock = Lock()


@contextmanager
def alone() -> Iterator[None]:
    """Hold the right to run a parallel kernel in this process."""
    with _lock:
        yield
