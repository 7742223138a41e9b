"""Clipping of long rows, to a fixed length or to one that the rows themselves decide."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.aggregators.mean import Mean
from msl.aggregators.wrapper import Wrapper
from msl.errors import PlanError
from msl.types import Aggregated, Memory, Rows

__all__ = ["AdaptiveRobustClipping", "Clipping"]


def _lengths(rows: Rows) -> NDArray[np.float64]:
    """Return the Euclidean length of every row."""
    return np.sqrt([np.square(row, dtype=np.float64).sum() for row in rows])


def _clipped(rows: Rows, lengths: NDArray[np.float64], longest: float) -> Rows:
    """Return rows of which none is longer; the caller's array when none was."""
    if (lengths <= longest).all():
        return rows
    factors = np.minimum(1.0, longest / np.maximum(lengths, np.finfo(float).tiny))
    clipped: Rows = rows * factors[:, None].astype(np.float32)
    return clipped


@dataclass(frozen=True)
class Clipping(Wrapper):
    """Rows longer than a radius are shortened to it; then a rule.

    Parameters
    ----------
    radius : float
        Euclidean length, > 0.
    then : Aggregator
        The rule that sees the clipped rows.
    """

    radius: float = 1.0
    then: Aggregator = Mean()  # noqa: RUF009 - frozen
    name: ClassVar[str] = "clipping"

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise PlanError(f"clipping needs a radius > 0, got {self.radius!r}")

    def init(self, n: int, d: int) -> Memory:
        """Return the memory of the wrapped rule."""
        return self.then.init(n, d)

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Clip, then aggregate."""
        return self.then.aggregate(_clipped(rows, _lengths(rows), self.radius), weights, memory)


@dataclass(frozen=True)
class AdaptiveRobustClipping(Wrapper):
    """The floor(2 f (n - f) / n) longest rows are shortened to the next longest; then a rule.

    Parameters
    ----------
    f : int
        Corrupted rows, 2 f < n.
    then : Aggregator
        The rule that sees the clipped rows.

    References
    ----------
    Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan: Adaptive gradient clipping for robust
    federated learning. ICLR 2025, Algorithm 2.
    """

    f: int
    then: Aggregator = Mean()  # noqa: RUF009 - frozen
    name: ClassVar[str] = "arc"

    def __post_init__(self) -> None:
        if not isinstance(self.f, int) or self.f < 0:
            raise PlanError(f"arc needs a whole number f >= 0, got {self.f!r}")

    def check(self, n: int) -> None:
        """Raise PlanError unless 2 f < n, or when the wrapped rule cannot work."""
        if 2 * self.f >= n:
            raise PlanError(f"arc with f={self.f} needs at least {2 * self.f + 1} rows, got {n}")
        self.then.check(n)

    def init(self, n: int, d: int) -> Memory:
        """Return the memory of the wrapped rule."""
        return self.then.init(n, d)

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Clip, then aggregate."""
        n, lengths = len(rows), _lengths(rows)
        clipped = 2 * self.f * (n - self.f) // n
        longest = float(np.sort(lengths)[n - 1 - clipped])
        return self.then.aggregate(_clipped(rows, lengths, longest), weights, memory)
