"""The contract of a trust rule: whom to believe, and why, before payloads are looked at."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.errors import PlanError
from msl.types import SourceInfo

if TYPE_CHECKING:
    # Executors bring in distributed, which takes a second.
    from msl.cluster.base import Executor, Handle

__all__ = ["Held", "TrustReport", "TrustRule"]


@dataclass(frozen=True)
class Held:
    """A source where it lies.

    Parameters
    ----------
    rank : int
        Its number in the run.
    info : SourceInfo
        What may be said of it.
    host : Handle
        What its place holds; there, ``host.data[rank]`` are its rows (`Data`).
    place : str
        Where to submit calls that need them.
    """

    rank: int
    info: SourceInfo
    host: "Handle"
    place: str


@dataclass(frozen=True)
class TrustReport:
    """A weight in [0, 1] per source by rank, and a reason in words.

    Parameters
    ----------
    weights : tuple of float
        0 leaves a source out.
    reasons : tuple of str
        Why, one per source.
    discrepancy : ndarray of shape (n, n), optional
        How differently two sources judge the same hypotheses, in [0, 1]; symmetric.
    statistic : tuple of float, optional
        What each source was judged by; smaller is more like the others.
    p_values : tuple of float, optional
        Chance of such a statistic among equal sources.
    filtered : bool
        Whether those that are believed passed the test that `msl.bounds.pac` has bounds for.

    Raises
    ------
    PlanError
        When a weight is outside [0, 1] or a source lacks its reason.
    """

    weights: tuple[float, ...]
    reasons: tuple[str, ...]
    discrepancy: NDArray[np.float64] | None = field(default=None, compare=False)
    statistic: tuple[float, ...] | None = None
    p_values: tuple[float, ...] | None = None
    filtered: bool = False

    def __post_init__(self) -> None:
        if wrong := [weight for weight in self.weights if not 0 <= weight <= 1]:
            raise PlanError(f"a trust rule must give weights in [0, 1], got {wrong}")
        if len(self.weights) != len(self.reasons):
            raise PlanError(
                f"{len(self.weights)} weights need as many reasons, got {len(self.reasons)}"
            )


class TrustRule(ABC):
    """Weighs sources; weight 0 leaves a source out of the rounds. A frozen dataclass."""

    name: ClassVar[str]

    @abstractmethod
    def weigh(self, sources: Sequence[Held], executor: "Executor") -> TrustReport:
        """Return a weight and a reason per source, by rank; rows stay where they are."""
