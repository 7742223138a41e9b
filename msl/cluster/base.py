"""The contract of an executor: Dask's own verbs, over places that keep what they make."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

from msl.errors import PlanError

__all__ = ["PATIENCE", "Executor", "Handle", "Soonest"]

PATIENCE = 60.0
"""Seconds that a cluster is given to bring workers without which a run cannot go on."""

Handle: TypeAlias = Any
"""A value, or a stand-in for a value that stays on the worker that made it."""


@dataclass(frozen=True)
class Soonest:
    """An argument that does not wait for everyone: values that came, None in place of the others.

    Parameters
    ----------
    handles : list of Handle
        Of the values. One that did not come may be asked for again by the next such call.
    patience : callable
        ``patience(came, seconds)``: how many more seconds to wait for what is None in `came`,
        that long after the call's turn had come; asked again after every value.
    """

    handles: list[Handle]
    patience: Callable[[list[Any], float], float]


class Executor(ABC):
    """Runs module-level functions at places; values stay where they were made until gathered.

    `submit` may only queue; `gather` is where a caller waits, and for what it asks for only.
    Calls at one place run in the order of their submission, those `aside` in a row of their own,
    and a call sees only handles submitted before it, so no set of calls can wait for itself.
    """

    places: tuple[str, ...]
    """Where calls can run: addresses of workers, or ``("local",)``."""

    machines: Mapping[str, frozenset[str]]
    """Of each place the names of its machine: host name, address, the worker's own name."""

    cache: int | None = None
    """Bytes of rows that each place keeps loaded; a half of its memory when left out."""

    @abstractmethod
    def room(self, place: str) -> int:
        """Return the bytes of rows that this place keeps loaded."""

    @abstractmethod
    def scatter(self, value: Any, at: str | None = None) -> Handle:
        """Put a value at a place (the first one by default)."""

    @abstractmethod
    def submit(
        self, fn: Callable[..., Any], *args: Handle, at: str | None = None, aside: bool = False
    ) -> Handle:
        """Run ``fn(*args)`` at a place; handles in `args`, also inside lists, become values.

        Calls `aside` do not wait for the place's other calls to end.
        """

    @abstractmethod
    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        """Bring values to the caller; raises what their making raised.

        Raises
        ------
        WorkerLostError
            When a place is gone; every handle of this executor is then void until `refresh`.
        """

    def expect(self, n: int, machines: Mapping[str, str]) -> None:
        """Say for how many places there is work, and wait until these machines have one.

        Parameters
        ----------
        n : int
            A cluster that grows by itself may get so many workers.
        machines : mapping from str to str
            A machine that is needed -> the name of a source that lives there.

        Raises
        ------
        PlanError
            When a machine has no place, after as long as the executor is patient.
        """
        known = {name for names in self.machines.values() for name in names}
        for machine, source in machines.items():
            if machine not in known:
                raise PlanError(
                    f"source {source!r} lives on machine {machine!r}, where there is no worker; "
                    f"there are {', '.join(sorted(known))}; start one there, or correct the name"
                )

    def grow(self) -> bool:
        """Take in places that came since, behind the others; handles stay. Whether some did."""
        return False

    def split(self, n: int) -> "list[Executor]":
        """Return up to n executors with places of their own, for runs at the same time.

        A single one is this very executor; more are to be closed by the caller.
        """
        return [self]

    def refresh(self) -> None:
        """Forget all handles and look again which places there are."""

    def close(self) -> None:
        """Release what the executor holds at its places."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
