"""The contracts of an algorithm: what a source does with the model, and what the server does."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from msl.models.base import Model
from msl.types import Data, Memory, Update, Vector

__all__ = ["Algorithm", "LocalSolver", "ServerRule"]


class LocalSolver(ABC):
    """Runs where the data is; a frozen dataclass that holds the model's shape and its settings."""

    model: Model

    def init(self, size: int) -> Memory:
        """Return the memory of one source before its first round."""
        return None

    @abstractmethod
    def solve(
        self, params: Vector, source: Data, memory: Memory, key: int, round: int
    ) -> tuple[Update, Memory]:
        """Return what this source wants to send, and its memory; `params` is left unchanged.

        The vector of the update is handed over: nothing may write to it again.
        """

    def solve_each(
        self,
        params: Vector,
        sources: Sequence[Data],
        memories: Sequence[Memory],
        keys: Sequence[int],
        round: int,
    ) -> list[tuple[Update, Memory] | None]:
        """Return what `solve` returns at each of many sources, to the bit; None where it raises.

        None also stands for a source that is better solved by itself. A solver may know how to
        work at many small sources at once; this one goes by turns.
        """
        found: list[tuple[Update, Memory] | None] = []
        for source, memory, key in zip(sources, memories, keys, strict=True):
            try:
                found.append(self.solve(params, source, memory, key, round))
            except Exception:  # whoever asks for that source alone hears why
                found.append(None)
        return found


class ServerRule(ABC):
    """Turns the aggregated direction into new parameters."""

    def init(self, params: Vector) -> Any:
        """Return the server's state before the first round."""
        return None

    @abstractmethod
    def step(self, params: Vector, direction: Vector, state: Any) -> tuple[Vector, Any]:
        """Return new parameters (a fresh array) and state."""

    def converged(self, state: Any) -> bool:
        """Whether `step` has come to its end and returns the same parameters from here on.

        A rule that cannot tell says no.
        """
        return False


class Algorithm(ABC):
    """A named pair of a local solver and a server rule; a frozen dataclass of settings."""

    name: ClassVar[str]
    in_step: ClassVar[bool] = False
    """Whether the server needs all updates of a round, of the model it sent."""

    @abstractmethod
    def solver(self, model: Model) -> LocalSolver:
        """Return the part that runs at the sources."""

    @abstractmethod
    def server(self) -> ServerRule:
        """Return the part that runs where payloads meet."""


@dataclass(frozen=True)
class Step(ServerRule):
    """params + rate * direction, the server of FedAvg and FedSGD."""

    rate: float = 1.0

    def step(self, params: Vector, direction: Vector, state: Any) -> tuple[Vector, Any]:
        """Return the moved parameters."""
        moved: Vector = params + params.dtype.type(self.rate) * direction
        return moved, state
