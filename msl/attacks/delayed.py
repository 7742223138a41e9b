"""Updates that were right once."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from msl.attacks.base import Attack, Scene
from msl.errors import PlanError
from msl.types import Memory, Rows

__all__ = ["Delayed"]


@dataclass(frozen=True)
class Delayed(Attack):
    """Every corrupted row is what its source would have sent `delay` rounds ago.

    Until there is such a round a source sends its own row as it is; so does the shorthand, with
    the honest mean for it. Where a round went by without corrupted sources, the last one before
    it counts. The sources share their rows: when another number of them takes part, they take
    the old rows in turn. The memory holds up to delay + 1 rounds of (c, d) float32 rows.

    Parameters
    ----------
    delay : int
        At least 1; the paper has 1000 iterations.

    References
    ----------
    Allen-Zhu, Ebrahimian, Li, Alistarh: Byzantine-resilient non-convex stochastic gradient
    descent. ICLR 2021 ("delayed-gradient attack").
    """

    delay: int = 10
    name: ClassVar[str] = "delayed"

    def __post_init__(self) -> None:
        if not isinstance(self.delay, int) or self.delay < 1:
            raise PlanError(f"delay must be an integer >= 1, got {self.delay}")

    def init(self, n_corrupted: int, d: int) -> tuple[tuple[int, Rows], ...]:
        """Return no past rounds."""
        return ()

    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Return the honest mean; the key is not used."""
        return self.forge(Scene.imagined(honest, n_corrupted, key), ())[0]

    def forge(self, scene: Scene, memory: Memory) -> tuple[Rows, Memory]:
        """Return the old rows; the memory is the (round, own rows) that may still be needed."""
        past = (*memory, (scene.round, scene.own.copy()))
        old = [i for i, (round, _) in enumerate(past) if round <= scene.round - self.delay]
        if not old:
            return scene.own.copy(), past
        past = past[old[-1] :]
        rows = past[0][1]
        return rows[np.arange(len(scene.own)) % len(rows)], past
