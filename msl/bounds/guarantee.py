"""The guarantee of a round: what a plan asks for, and what a round's rows and shares give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from msl.bounds.capacity import Capacity
from msl.bounds.pac import (
    Adversary,
    effective_rows,
    largest_fraction,
    most_corrupted,
    weighted_excess_risk,
)
from msl.errors import PlanError

__all__ = ["Guarantee", "Guaranteed"]

Known = Literal["auto", "measured"]


@dataclass(frozen=True)
class Guaranteed:
    """What theory says of one round.

    Parameters
    ----------
    excess : float
        Bound of R(h) - min R, above 0; may be over 1 or infinite.
    effective_rows : float
        Rows that would tell as much, evenly weighted.
    tolerated : float
        Largest corrupted fraction of the round's sources that any learner withstands, below 1/2.
    vacuous : bool
        Whether the bound says nothing, because no risk exceeds 1.
    """

    excess: float
    effective_rows: float
    tolerated: float
    vacuous: bool

    def metrics(self) -> dict[str, float]:
        """Return them by the names they are logged under, the excess at most 1."""
        return {
            "bound/excess": min(self.excess, 1.0),
            "bound/effective_rows": self.effective_rows,
            "bound/tolerated": self.tolerated,
            "bound/vacuous": float(self.vacuous),
        }


@dataclass(frozen=True)
class Guarantee:
    """Ask for the excess-risk bound of every round.

    It speaks of the minimiser of the round's weighted risk; a model that is still on its way there
    has its training gap on top. For shares that a rule derives from updates, and for a measured
    capacity, it is an estimate (see `weighted_excess_risk` and `Measured`).

    Parameters
    ----------
    delta : float
        Chance in (0, 1) that the bound fails.
    alpha : float, optional
        Assumed corrupted fraction of the believed sources, in [0, 1/2), rounded down to whole
        sources. None assumes the most that a majority withstands, (ceil(n / 2) - 1) / n: none
        of 1 or 2.
    capacity : "auto", "measured" or Capacity
        Of the hypotheses: what fits the model, what halves of the sources tell, or one given.
    adversary : "fixed" or "flexible"
        Whether corrupted sources are chosen before or after the data is drawn.

    Raises
    ------
    PlanError
        When a value is out of range.
    """

    delta: float = 0.05
    alpha: float | None = None
    capacity: Known | Capacity = "auto"
    adversary: Adversary = "fixed"
    name: ClassVar[str] = "pac"

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1:
            raise PlanError(f"delta is a chance in (0, 1), got {self.delta}")
        if self.alpha is not None and not 0 <= self.alpha < 0.5:
            raise PlanError(
                f"alpha={self.alpha}: needs 0 <= alpha < 1/2, for with half of the sources lying "
                "no learner can tell which half"
            )
        if not isinstance(self.capacity, Capacity) and self.capacity not in get_args(Known):
            raise PlanError(f"capacity is auto, measured or a part, got {self.capacity!r}")
        if self.adversary not in get_args(Adversary):
            raise PlanError(f"adversary must be fixed or flexible, got {self.adversary!r}")

    def of_round(
        self,
        rows: Sequence[float],
        given: Sequence[float] | NDArray[Any],
        capacity: Capacity,
        filtered: bool = True,
        believed: int | None = None,
    ) -> Guaranteed:
        """Return the bound for the believed participants; never raises, whatever a round brings.

        Shares that are no weights (negative, not finite, none above 0, or on a source without
        rows) make an infinite bound. Sources without rows or share do not count.

        Parameters
        ----------
        rows : sequence of n ints
            Rows of each believed participant.
        given : sequence of n floats
            Weight the aggregator gave each, of any scale.
        capacity : Capacity
            Of the model's hypotheses.
        filtered : bool
            Whether they passed the theory rule; if not, a corrupted source may be off by 1.
        believed : int, optional
            Sources that are believed, of which these took part; just these when left out. Whoever
            draws or drops some of them may be left with all that lie.
        """
        sizes, shares = np.asarray(rows, float), np.asarray(given, float)
        if (sizes == 0).any():
            counted = (sizes > 0) | (shares != 0)
            sizes, shares = sizes[counted], shares[counted]
        n, weight = len(sizes), float(shares.sum())
        tolerated = largest_fraction(n) if n else 0.0
        if not (0 < weight < math.inf and shares.min() >= 0 and sizes.min() > 0):
            return Guaranteed(math.inf, 0.0, tolerated, True)
        bad = min(n, self._corrupted(max(n, believed or 0)))
        excess = weighted_excess_risk(
            shares, sizes, bad, self.delta, capacity, self.adversary, filtered
        )
        return Guaranteed(excess, effective_rows(shares, sizes), tolerated, not excess < 1)

    def _corrupted(self, n: int) -> int:
        most = most_corrupted(n)
        if self.alpha is None:
            return most
        return min(math.floor(self.alpha * n + 1e-9), most)  # 0.29 * 100 is 28.999999999999996
