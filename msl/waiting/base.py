"""The contract of waiting: when a round is closed, and what becomes of those who come later."""

from abc import ABC
from math import inf
from typing import ClassVar

__all__ = ["Waiting"]


class Waiting(ABC):
    """For whom a round waits; a frozen dataclass.

    A round that does not wait for everyone depends on who was fast, so two runs of one plan differ.
    What happened is in the reports: rounds that are replayed after a loss use the updates that
    were used, and end in the same bits.
    """

    name: ClassVar[str]
    timed: ClassVar[bool] = True
    """Whether it matters when an update comes."""
    folds: ClassVar[bool] = False
    """Whether an update of an older model is used, and not thrown away."""

    @property
    def limit(self) -> float | None:
        """Seconds that a place may work on a round; None for no limit."""
        return None

    def drawn(self, k: int) -> int:
        """Return how many sources to ask where k are to be heard."""
        return k

    def least(self, k: int) -> int:
        """Return how many updates make a step where k are to be heard, at least 1."""
        return 1

    def patience(self, heard: int, k: int, seconds: float) -> float:
        """Return for how many more seconds to wait for others, 0 to close the round.

        Parameters
        ----------
        heard : int
            Updates that came.
        k : int
            How many were to be heard.
        seconds : float
            Since the round began.
        """
        return inf

    def share(self, age: int) -> float:
        """Return what an update is multiplied by whose model is so many rounds old, in (0, 1]."""
        return 1.0
