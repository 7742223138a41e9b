"""Large sources are drawn more often, exactly in proportion."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from msl.errors import PlanError
from msl.random import derive, generator
from msl.samplers.base import Candidates, Positions, Sampler

__all__ = ["Weighted"]


@dataclass(frozen=True)
class Weighted(Sampler):
    """The chance to be drawn is k size / (sum of sizes), without replacement.

    Systematic sampling on a shuffled order: sources are laid along a line, each as long as its
    chance, and those under k points one apart are drawn, from a random start. Drawing one after
    another by size (NumPy's `choice` with `p`) does not keep chances in proportion.

    A source larger than 1 / k of the whole would need a chance above 1: it is in every round, and
    the others share the places that are left in proportion (Särndal et al., section 3.6.1). What
    it sends then counts more than theirs.

    Drawn by rows, in a run that gives sources equal weights, each drawn source has one vote, and
    a large source votes more often: dividing that out would let a liar who claims one row outvote
    all others in the round that draws it. By claiming many rows it can still buy rounds.

    Parameters
    ----------
    by : {"rows", "belief"}
        Size: the rows a source says it has, or how much it is believed.

    References
    ----------
    Madow: On the theory of systematic sampling, II. Annals of Mathematical Statistics 20, 1949.
    Hartley and Rao: Sampling with unequal probabilities and without replacement. Annals of
    Mathematical Statistics 33, 1962 (on a shuffled order).
    Särndal, Swensson, Wretman: Model assisted survey sampling. Springer 1992.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([10, 10, 20, 40])
    >>> few = Candidates(np.arange(4), np.ones(4), rows, ((),) * 4, tuple("abcd"))
    >>> Weighted().inclusion(few, 2)
    array([0.25, 0.25, 0.5 , 1.  ])
    >>> [Weighted().choose(few, 2, key=0, round=round) for round in range(3)]
    [(2, 3), (2, 3), (0, 3)]
    """

    by: Literal["rows", "belief"] = "rows"
    name: ClassVar[str] = "weighted"

    def __post_init__(self) -> None:
        if self.by not in ("rows", "belief"):
            raise PlanError(f"weighted needs by: rows or belief, got {self.by!r}")

    def inclusion(self, candidates: Candidates, k: int) -> NDArray[np.float64]:
        """Return (n,) the chance of each source to be drawn: in proportion, at most 1."""
        if k >= len(candidates):
            return np.ones(len(candidates))
        sizes = candidates.rows if self.by == "rows" else candidates.weights
        chances = sizes * (k / sizes.sum())
        # Each pass finds at least one more, and no more than k can be this large.
        while chances.max() > 1:
            certain = chances >= 1
            chances *= (k - certain.sum()) / chances[~certain].sum()
            chances[certain] = 1
        # Never 0, not even by underflow: what a source counts is divided by it.
        floored: NDArray[np.float64] = np.maximum(chances, np.finfo(np.float64).tiny)
        return floored

    def counts(self, candidates: Candidates, k: int, by_rows: bool) -> NDArray[np.float64]:
        """Return (n,) what is believed, over the chance relative to the largest one."""
        if self.by == "rows" and not by_rows:
            return candidates.weights
        chances = self.inclusion(candidates, k)
        found: NDArray[np.float64] = candidates.weights * (chances.max() / chances)
        return found

    def draw(self, candidates: Candidates, k: int, key: int, round: int) -> Positions:
        """Draw systematically, on an order of the round's own."""
        n, draw = len(candidates), generator(derive(key, round, "choose"))
        order, places = draw.permutation(n), np.arange(k)
        ends = np.cumsum(self.inclusion(candidates, k)[order])
        points = (draw.random() + places) * (ends[-1] / k)
        picks = np.searchsorted(ends, points, side="right")
        # Two points under one source, or one beyond the end, can only be rounding.
        picks = np.maximum.accumulate(picks - places) + places
        drawn: Positions = order[np.minimum(picks, n - k + places)]
        return drawn
