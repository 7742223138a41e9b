"""Every kind of source has its share of every round."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from msl.errors import PlanError
from msl.random import derive, generator
from msl.samplers.base import Candidates, Positions, Sampler

__all__ = ["Stratified"]


@dataclass(frozen=True)
class Stratified(Sampler):
    """Of a stratum of m among n sources, k m / n are drawn, rounded down or up at random.

    Every n / k-th source is taken, from a random start, of an order in which each stratum's
    sources stand together, shuffled: so every source is drawn with probability k / n exactly, and
    a stratum is in every round when it has n / k sources.

    Parameters
    ----------
    by : {"classes", "name"}
        What makes a stratum: the set of classes a source has, or its name without the last part
        (lyon-03 and lyon-07 are both of lyon; see `Candidates.name_groups`).

    References
    ----------
    Madow and Madow: On the theory of systematic sampling, I. Annals of Mathematical Statistics
    15, 1944. Implicit stratification: Särndal, Swensson, Wretman: Model assisted survey sampling.
    Springer 1992, section 3.4.

    Examples
    --------
    >>> import numpy as np
    >>> names = ("lyon-1", "lyon-2", "lyon-3", "lyon-4", "nice-1", "nice-2")
    >>> few = Candidates(np.arange(6), np.ones(6), np.ones(6, int), ((),) * 6, names)
    >>> [names[rank] for rank in Stratified(by="name").choose(few, 3, key=0, round=0)]
    ['lyon-1', 'lyon-2', 'nice-1']
    """

    by: Literal["classes", "name"] = "classes"
    name: ClassVar[str] = "stratified"

    def __post_init__(self) -> None:
        if self.by not in ("classes", "name"):
            raise PlanError(f"stratified needs by: classes or name, got {self.by!r}")

    def draw(self, candidates: Candidates, k: int, key: int, round: int) -> Positions:
        """Draw systematically with equal probabilities; whole numbers keep them exact."""
        strata = candidates.class_sets if self.by == "classes" else candidates.name_groups
        n, draw = len(strata), generator(derive(key, round, "choose"))
        # Strata change their order too: two small neighbours would never be drawn together.
        strata = draw.permutation(int(strata.max()) + 1).astype(strata.dtype)[strata]
        order = draw.permutation(n)
        order = order[np.argsort(strata[order], kind="stable")]
        picks: Positions = order[(draw.integers(n) + n * np.arange(k)) // k]
        return picks
