"""The opposite of what the honest sources want."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np

from msl.attacks.base import Attack, Scene
from msl.attacks.rows import as_float32, copies, mean_of
from msl.errors import PlanError
from msl.types import Memory, Rows

__all__ = ["SignFlip"]


@dataclass(frozen=True)
class SignFlip(Attack):
    """Every corrupted row is -scale times the mean of the honest rows, or its own row.

    Parameters
    ----------
    scale : float
        1 keeps the length.
    own : bool
        Whether each source flips its own row, which needs no knowledge of the others: the form in
        Allen-Zhu, Ebrahimian, Li and Alistarh, Byzantine-resilient non-convex stochastic gradient
        descent (ICLR 2021). The shorthand then takes the honest mean for the own row.
    """

    scale: float = 1.0
    own: bool = False
    name: ClassVar[str] = "sign_flip"

    def __post_init__(self) -> None:
        if not isfinite(self.scale):
            raise PlanError(f"scale must be finite, got {self.scale}")

    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Return equal rows; the key is not used."""
        return copies(-self.scale * mean_of(honest), n_corrupted)

    def forge(self, scene: Scene, memory: Memory) -> tuple[Rows, Memory]:
        """Flip the honest mean, or the own rows."""
        if not self.own:
            return super().forge(scene, memory)
        return as_float32(-self.scale * scene.own.astype(np.float64)), memory
