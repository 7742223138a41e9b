"""Everything in this process: the reference that every other executor must equal to the bit."""

import sys
from collections.abc import Callable, Sequence
from socket import gethostname
from typing import Any

import numba
from distributed.system import MEMORY_LIMIT

from msl.cluster.base import Executor, Handle, Soonest
from msl.cluster.threads import limit_threads

__all__ = ["LocalExecutor"]


class LocalExecutor(Executor):
    """One place, no copies: a handle is the value itself.

    Parameters
    ----------
    cache : int, optional
        Bytes of rows that are kept loaded; half of the memory of this process when left out.
    """

    places = ("local",)

    def __init__(self, cache: int | None = None) -> None:
        self.cache = cache
        self.machines = {place: frozenset((gethostname(),)) for place in self.places}
        torch = sys.modules.get("torch")
        self._numba, self._torch = numba.get_num_threads(), torch and torch.get_num_threads()
        self._limits = limit_threads(numba.config.NUMBA_NUM_THREADS)

    def room(self, place: str) -> int:
        """Return the bytes of rows that are kept loaded here."""
        return MEMORY_LIMIT // 2 if self.cache is None else self.cache

    def scatter(self, value: Any, at: str | None = None) -> Handle:
        """Return the value."""
        return value

    def submit(
        self, fn: Callable[..., Any], *args: Handle, at: str | None = None, aside: bool = False
    ) -> Handle:
        """Run the call now."""
        return fn(*(arg.handles if isinstance(arg, Soonest) else arg for arg in args))

    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        """Return the values."""
        return list(handles)

    def close(self) -> None:
        """Give everybody the threads back."""
        self._limits.restore_original_limits()
        numba.set_num_threads(self._numba)
        if self._torch:
            sys.modules["torch"].set_num_threads(self._torch)
