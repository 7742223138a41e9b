"""Bucketing: means of a few random rows (Karimireddy et al., ICLR 2022)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.aggregators.mean import Mean
from msl.aggregators.wrapper import Wrapper
from msl.errors import PlanError
from msl.random import derive, generator
from msl.types import Aggregated, Memory, Rows
from msl_kernels.pairs import combine

__all__ = ["Bucketing"]


@dataclass(frozen=True)
class Bucketing(Wrapper):
    """Rows are shuffled and averaged s at a time; then a rule sees the ceil(n / s) means.

    Means are weighted, and their weights are sums. A corrupted row spoils its bucket, so the
    rule must withstand as many buckets as there are corrupted rows. The memory counts the rounds,
    from which the shuffle follows: the same seed, the same buckets.

    Parameters
    ----------
    s : int
        Rows per bucket, >= 1; the last bucket may be smaller.
    then : Aggregator
        The rule that sees the means.
    seed : int
        Of the shuffles.

    References
    ----------
    Karimireddy, He, Jaggi: Byzantine-robust learning on heterogeneous datasets via bucketing.
    ICLR 2022, Algorithm 1.
    """

    s: int = 2
    then: Aggregator = Mean()  # noqa: RUF009 - frozen
    seed: int = 0
    name: ClassVar[str] = "bucketing"

    def __post_init__(self) -> None:
        if not isinstance(self.s, int) or self.s < 1:
            raise PlanError(f"bucketing needs a whole number s >= 1, got {self.s!r}")

    def tolerates(self, n: int) -> int:
        """Return what the wrapped rule tolerates among the buckets."""
        return self.then.tolerates(-(-n // self.s))

    def check(self, n: int) -> None:
        """Raise PlanError when the wrapped rule cannot work on the buckets."""
        self.then.check(-(-n // self.s))

    def init(self, n: int, d: int) -> Memory:
        """Return round 0 and the memory of the wrapped rule."""
        return 0, self.then.init(-(-n // self.s), d)

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Shuffle, average, aggregate; `given` is counted back to the rows."""
        round, inner = memory
        n = len(rows)
        order = generator(derive(self.seed, round, "buckets")).permutation(n)
        bucket = np.empty(n, np.intp)
        bucket[order] = np.arange(n) // self.s
        mixing = (bucket == np.arange(-(-n // self.s))[:, None]) * weights
        sums = mixing.sum(axis=1)
        # A bucket whose rows all weigh nothing is their plain mean, and weighs nothing.
        mixing = np.where(sums[:, None] > 0, mixing, bucket == np.arange(len(sums))[:, None])
        mixing = mixing / mixing.sum(axis=1, keepdims=True)
        sizes = sums if self.weighted else np.ones(len(sums))
        found = self.then.aggregate(combine(mixing, rows), sizes, inner)
        return Aggregated(found.vector, found.given @ mixing, (round + 1, found.memory))
