"""Rounds that nobody is late for."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from msl.errors import PlanError
from msl.waiting.base import Waiting

__all__ = ["Buffered"]


@dataclass(frozen=True)
class Buffered(Waiting):
    """The server steps after every so many updates, of whatever model; the slow hold up nobody.

    FedBuff (Nguyen et al., Federated learning with buffered asynchronous aggregation, AISTATS
    2022, Algorithm 1): each place works on its sources with the newest model there was when it
    began; an update of a model that is s steps old is multiplied by (1 + s) ** -power.

    Parameters
    ----------
    updates : int
        That make a step, >= 1.
    power : float
        How fast old updates lose weight, >= 0; 1/2 as in the paper.
    """

    updates: int
    power: float = 0.5
    name: ClassVar[str] = "buffered"
    folds: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.updates < 1:
            raise PlanError(f"updates must be at least 1, got {self.updates}")
        if not 0 <= self.power < inf:
            raise PlanError(f"power must be >= 0, got {self.power}")

    def least(self, k: int) -> int:
        """Return the size of the buffer."""
        return self.updates

    def patience(self, heard: int, k: int, seconds: float) -> float:
        """Return nothing as soon as the buffer is full."""
        return 0.0 if heard >= self.updates else inf

    def share(self, age: int) -> float:
        """Return (1 + age) ** -power."""
        return float((1 + age) ** -self.power)
