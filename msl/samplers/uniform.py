"""Every source is as likely as every other, in every round anew."""

from dataclasses import dataclass
from typing import ClassVar

from msl.random import derive, generator
from msl.samplers.base import Candidates, Positions, Sampler

__all__ = ["Uniform"]


@dataclass(frozen=True)
class Uniform(Sampler):
    """Every set of k sources is equally likely; rounds do not know of each other.

    Examples
    --------
    >>> import numpy as np
    >>> few = Candidates(np.arange(4), np.ones(4), np.ones(4, int), ((),) * 4, tuple("abcd"))
    >>> [Uniform().choose(few, 2, key=0, round=round) for round in range(3)]
    [(0, 3), (0, 1), (1, 2)]
    """

    name: ClassVar[str] = "uniform"

    def draw(self, candidates: Candidates, k: int, key: int, round: int) -> Positions:
        """Draw without replacement, in O(k)."""
        return generator(derive(key, round, "choose")).choice(len(candidates), k, replace=False)
