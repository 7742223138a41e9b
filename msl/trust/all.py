"""Everybody is believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from msl.trust.base import Held, TrustReport, TrustRule

if TYPE_CHECKING:
    # Executors bring in distributed, which takes a second.
    from msl.cluster.base import Executor

__all__ = ["TrustAll"]


@dataclass(frozen=True)
class TrustAll(TrustRule):
    """Weight 1 for every source: protection is left to the aggregator."""

    name: ClassVar[str] = "all"

    def weigh(self, sources: Sequence[Held], executor: "Executor") -> TrustReport:
        """Return ones."""
        return TrustReport((1.0,) * len(sources), ("believed without a look",) * len(sources))
