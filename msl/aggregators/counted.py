"""Rules that are told how many rows to withstand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.errors import PlanError

__all__ = ["Counted", "nearest", "spread_over"]


@dataclass(frozen=True)
class Counted(Aggregator):
    """A rule with a number f of corrupted rows to withstand.

    Parameters
    ----------
    f : int
        0 <= f <= tolerates(n).
    """

    f: int

    def __post_init__(self) -> None:
        if not isinstance(self.f, int) or self.f < 0:
            raise PlanError(f"{self.name} needs a whole number f >= 0, got {self.f!r}")

    def tolerates(self, n: int) -> int:
        """Return the largest minority of n."""
        return (n - 1) // 2

    def check(self, n: int) -> None:
        """Raise PlanError when f rows of n are more than the rule withstands."""
        super().check(n)
        if self.f > self.tolerates(n):
            needed = next(m for m in range(n, 8 * self.f + 8) if self.tolerates(m) >= self.f)
            raise PlanError(
                f"{self.name} with f={self.f} needs at least {needed} rows, got {n}; "
                f"the largest f for {n} rows is {max(0, self.tolerates(n))}"
            )


def nearest(squares: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Return the indices (n, count) of each row's nearest ones by squared distances (n, n).

    Ties go to the lower index.
    """
    order: NDArray[np.intp] = np.argsort(squares, axis=1, kind="stable")[:, :count]
    return order


def spread_over(chosen: NDArray[np.intp], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return shares (n,) that sum to 1: the weights of the chosen rows, equal if all are 0."""
    shares = np.zeros(len(weights))
    shares[chosen] = weights[chosen] if weights[chosen].sum() > 0 else 1.0
    shares /= shares.sum()
    return shares
