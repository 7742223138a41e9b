"""A flipped row, short enough to stay below a threshold on distances."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np

from msl.attacks.base import Attack, Scene
from msl.attacks.rows import as_float32
from msl.errors import PlanError
from msl.types import Memory, Rows

__all__ = ["SafeguardScaled"]


@dataclass(frozen=True)
class SafeguardScaled(Attack):
    """Every corrupted row is -scale times what its source would have sent.

    Made against rules that evict a source once it has drifted too far from the others: the scale
    is the largest that stays unnoticed. The shorthand takes the honest mean for the own row.

    Parameters
    ----------
    scale : float
        0.4 against the safeguard of the paper at 4 corrupted among 10 sources.

    References
    ----------
    Allen-Zhu, Ebrahimian, Li, Alistarh: Byzantine-resilient non-convex stochastic gradient
    descent. ICLR 2021 ("safeguard attack").
    """

    scale: float = 0.4
    name: ClassVar[str] = "safeguard_scaled"

    def __post_init__(self) -> None:
        if not 0 < self.scale < inf:
            raise PlanError(f"scale must be finite and > 0, got {self.scale}")

    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Return -scale times the honest mean; the key is not used."""
        return self.forge(Scene.imagined(honest, n_corrupted, key), None)[0]

    def forge(self, scene: Scene, memory: Memory) -> tuple[Rows, Memory]:
        """Return -scale times the own rows."""
        return as_float32(-self.scale * scene.own.astype(np.float64)), memory
