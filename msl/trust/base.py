"""The contract of a trust rule: whom to believe, and why, before payloads are looked at."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from msl.cluster.base import Executor
from msl.types import SourceInfo

__all__ = ["TrustReport", "TrustRule"]


@dataclass(frozen=True)
class TrustReport:
    """A weight in [0, 1] per source by rank, and a reason in words."""

    weights: tuple[float, ...]
    reasons: tuple[str, ...]


class TrustRule(ABC):
    """Weighs sources; weight 0 leaves a source out of the rounds. A frozen dataclass."""

    name: ClassVar[str]

    @abstractmethod
    def weigh(self, sources: Sequence[SourceInfo], executor: Executor) -> TrustReport:
        """Return a weight and a reason per source."""
