"""Rounds that end in time."""

from dataclasses import dataclass
from math import ceil, inf
from typing import ClassVar

from msl.errors import PlanError
from msl.waiting.base import Waiting

__all__ = ["Deadline"]

_ON_THE_WAY = 1.25
"""A payload that was made in time has a quarter more to arrive."""


@dataclass(frozen=True)
class Deadline(Waiting):
    """A round closes in time, with a quorum, and no later than when enough sources were heard.

    Sources that are not ready then are left out of the round, and what they were about to send
    is thrown away; what they keep for their next message is as if they had not been asked. One
    that is late again and again is asked less often. More are asked than are needed where `over`
    is more than 0 (Bonawitz et al., Towards federated learning at scale, MLSys 2019, section 2.2:
    1.3 times as many); a round then closes as soon as `per_round` updates came.

    Parameters
    ----------
    seconds : float
        That a place may work on a round, > 0; an update has a quarter more to arrive.
    quorum : int, optional
        Updates that make a step, >= 1; more than half of `per_round` when left out. With fewer, a
        round is an error, or goes by without a step, as the plan's `on_failure` says.
    over : float
        Share of sources that are asked beyond `per_round`, >= 0.
    """

    seconds: float
    quorum: int | None = None
    over: float = 0.0
    name: ClassVar[str] = "deadline"

    def __post_init__(self) -> None:
        if not 0 < self.seconds < inf:
            raise PlanError(f"seconds must be > 0, got {self.seconds}")
        if self.quorum is not None and self.quorum < 1:
            raise PlanError(f"quorum must be at least 1 update, got {self.quorum}")
        if not 0 <= self.over < inf:
            raise PlanError(f"over must be >= 0, got {self.over}")

    @property
    def limit(self) -> float:
        """Seconds that a place may work on a round."""
        return self.seconds

    def drawn(self, k: int) -> int:
        """Return how many sources to ask where k are to be heard."""
        return ceil(k * (1 + self.over) - 1e-9)

    def least(self, k: int) -> int:
        """Return the quorum."""
        return k // 2 + 1 if self.quorum is None else self.quorum

    def patience(self, heard: int, k: int, seconds: float) -> float:
        """Return what is left of the time, or nothing when enough are heard."""
        return 0.0 if self.over and heard >= k else _ON_THE_WAY * self.seconds - seconds
