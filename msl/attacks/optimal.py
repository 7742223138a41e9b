"""The worst factor of a family of lies, found by trying them on the aggregator in use."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import ClassVar, Literal, get_args

import numpy as np

from msl.attacks.base import Attack, Scene
from msl.attacks.rows import as_float32, copies, mean_and_std, mean_of
from msl.errors import PlanError
from msl.types import Memory, Rows

__all__ = ["Optimal"]

Family = Literal["a_little_is_enough", "inner_product"]
_GOLDEN = (sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Optimal(Attack):
    """The factor t that moves the aggregator farthest from the honest mean.

    Maximises |aggregate(honest rows and c copies of v(t)) - mean| over start <= t <= start + delta
    for v(t) = mean - t std (a_little_is_enough) or v(t) = -t mean (inner_product). Damage has one
    peak for few rules only, so half of the evaluations lie on a grid and the other half narrow the
    two cells beside its best point by golden section, which also finds the edge where a rule starts
    to refuse the lie. Of equal damages the smallest factor is taken.

    Parameters
    ----------
    family : {"a_little_is_enough", "inner_product"}
        Which lie is scaled.
    start, delta : float
        Where the search begins, and how far it reaches.
    evaluations : int
        How often the aggregator is asked per round, at least 4.

    References
    ----------
    Shejwalkar, Houmansadr: Manipulating the Byzantine: optimizing model poisoning attacks and
    defenses for federated learning. NDSS 2021. Allouah, Farhadkhani, Guerraoui, Gupta,
    Pinot, Stephan: Fixing by mixing: a recipe for optimal Byzantine ML under heterogeneity.
    AISTATS 2023 (a line search over both families).
    """

    family: Family = "a_little_is_enough"
    start: float = 0.0
    delta: float = 10.0
    evaluations: int = 20
    name: ClassVar[str] = "optimal"

    def __post_init__(self) -> None:
        if self.family not in get_args(Family):
            raise PlanError(f"family must be {' or '.join(get_args(Family))}, got {self.family!r}")
        if not isfinite(self.start) or not 0 < self.delta < inf:
            raise PlanError(
                f"start and delta must be finite and delta > 0, got {self.start} and {self.delta}"
            )
        if not isinstance(self.evaluations, int) or self.evaluations < 4:
            raise PlanError(f"evaluations must be an integer >= 4, got {self.evaluations}")

    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Refuse: honest rows alone name no aggregator.

        Raises
        ------
        PlanError
            Always; `forge` knows the aggregator.
        """
        return self.forge(Scene.imagined(honest, n_corrupted, key), None)[0]

    def forge(self, scene: Scene, memory: Memory) -> tuple[Rows, Memory]:
        """Return copies of the row that damages most.

        Raises
        ------
        PlanError
            When the scene has no aggregator.
        """
        if scene.aggregate is None:
            raise PlanError(
                "an attack that searches its factor needs the aggregator in use: "
                "call forge with scene.aggregate, or give the factor"
            )
        aggregate, n_honest = scene.aggregate, len(scene.honest)
        if self.family == "inner_product":
            mean = mean_of(scene.honest)
            base, step = np.zeros_like(mean), -mean
        else:
            mean, std = mean_and_std(scene.honest)
            base, step = mean, -std
        rows = np.concatenate([scene.honest, scene.own])

        def damage(factor: float) -> float:
            rows[n_honest:] = as_float32(base + factor * step)
            return float(np.linalg.norm(aggregate(rows) - mean))

        factor = self._search(damage)
        return copies(base + factor * step, len(scene.own)), memory

    def _search(self, damage: Callable[[float], float]) -> float:
        """Return the factor of the largest damage seen in `evaluations` looks."""
        grid: list[float] = np.linspace(
            self.start, self.start + self.delta, self.evaluations // 2
        ).tolist()
        seen = {factor: damage(factor) for factor in grid}
        best = max(range(len(grid)), key=lambda i: seen[grid[i]])
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        seen[left], seen[right] = damage(left), damage(right)
        for _ in range(self.evaluations - len(grid) - 2):
            if seen[left] >= seen[right]:
                high, right = right, left
                left = high - _GOLDEN * (high - low)
                seen[left] = damage(left)
            else:
                low, left = left, right
                right = low + _GOLDEN * (high - low)
                seen[right] = damage(right)
        return max(seen, key=lambda factor: (seen[factor], -factor))
