"""The nearest neighbours of a row that is trusted (Farhadkhani et al., ICML 2023)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.counted import Counted, spread_over
from msl.errors import PlanError
from msl.types import Aggregated, Memory, Rows
from msl_kernels.pairs import combine, squared_distances

__all__ = ["Monna"]


@dataclass(frozen=True)
class Monna(Counted):
    """Mean of the n - f rows nearest to one's own row; weighted among those chosen.

    Meant for peers, of which each trusts itself. Ties go to the lower index.

    Parameters
    ----------
    f : int
        Corrupted rows, 2 f < n.
    reference : int
        Which row is trusted.

    References
    ----------
    Farhadkhani et al.: Robust collaborative learning with linear gradient overhead. ICML 2023.
    """

    reference: int = 0
    name: ClassVar[str] = "monna"
    weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.reference, int) or self.reference < 0:
            raise PlanError(f"monna needs a row number >= 0, got {self.reference!r}")

    def check(self, n: int) -> None:
        """Raise PlanError unless 2 f < n and the reference is one of n rows."""
        super().check(n)
        if self.reference >= n:
            raise PlanError(f"monna trusts row {self.reference}, but there are {n} rows")

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the weighted mean of the nearest rows."""
        gaps = squared_distances(rows)[self.reference]
        chosen = np.sort(np.argsort(gaps, kind="stable")[: len(rows) - self.f])
        given = spread_over(chosen, weights)
        return Aggregated(combine(given, rows), given)
