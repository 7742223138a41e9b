"""The contract of a trust rule: whom to believe, and why, before payloads are looked at."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from msl.errors import PlanError
from msl.types import SourceInfo

if TYPE_CHECKING:
    # Executors bring in distributed, which takes a second.
    from msl.cluster.base import Executor

__all__ = ["TrustReport", "TrustRule"]


@dataclass(frozen=True)
class TrustReport:
    """A weight in [0, 1] per source by rank, and a reason in words.

    Raises
    ------
    PlanError
        When a weight is outside [0, 1] or a source lacks its reason.
    """

    weights: tuple[float, ...]
    reasons: tuple[str, ...]

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
    def weigh(self, sources: Sequence[SourceInfo], executor: "Executor") -> TrustReport:
        """Return a weight and a reason per source."""
