"""Nearest-neighbour mixing (Allouah et al., AISTATS 2023)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.aggregators.counted import nearest, spread_over
from msl.aggregators.mean import Mean
from msl.aggregators.wrapper import Wrapper
from msl.errors import PlanError
from msl.types import Aggregated, Memory, Rows
from msl_kernels.pairs import combine, squared_distances

__all__ = ["NearestNeighbourMixing"]


@dataclass(frozen=True)
class NearestNeighbourMixing(Wrapper):
    """Every row becomes the mean of its n - f nearest ones, itself included; then a rule.

    Makes honest rows alike where sources differ, so that the rule after it is as good as any can
    be up to a constant. Means are weighted; ties go to the lower index.

    Parameters
    ----------
    f : int
        Corrupted rows, 2 f < n.
    then : Aggregator
        The rule that sees the mixed rows.

    References
    ----------
    Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan: Fixing by mixing. AISTATS 2023,
    Algorithm 2.
    """

    f: int
    then: Aggregator = Mean()  # noqa: RUF009 - frozen
    name: ClassVar[str] = "nnm"

    def __post_init__(self) -> None:
        if not isinstance(self.f, int) or self.f < 0:
            raise PlanError(f"nnm needs a whole number f >= 0, got {self.f!r}")

    def tolerates(self, n: int) -> int:
        """Return what the wrapped rule tolerates, a minority at most."""
        return min((n - 1) // 2, self.then.tolerates(n))

    def check(self, n: int) -> None:
        """Raise PlanError unless 2 f < n, or when the wrapped rule cannot work."""
        if 2 * self.f >= n:
            raise PlanError(
                f"nnm with f={self.f} needs at least {2 * self.f + 1} rows, got {n}; "
                f"the largest f for {n} rows is {(n - 1) // 2}"
            )
        self.then.check(n)

    def init(self, n: int, d: int) -> Memory:
        """Return the memory of the wrapped rule."""
        return self.then.init(n, d)

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Mix, then aggregate; `given` is counted back to the rows that were mixed."""
        neighbours = nearest(squared_distances(rows), len(rows) - self.f)
        mixing = np.array([spread_over(own, weights) for own in neighbours])
        found = self.then.aggregate(combine(mixing, rows), weights, memory)
        return Aggregated(found.vector, found.given @ mixing, found.memory)
