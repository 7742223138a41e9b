"""The opposite of what the honest sources want."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np

from msl.attacks.base import Attack
from msl.errors import PlanError
from msl.types import Rows

__all__ = ["SignFlip"]


@dataclass(frozen=True)
class SignFlip(Attack):
    """Every corrupted row is -scale times the mean of the honest rows.

    Parameters
    ----------
    scale : float
        1 keeps the length of the honest mean.
    """

    scale: float = 1.0
    name: ClassVar[str] = "sign_flip"

    def __post_init__(self) -> None:
        if not isfinite(self.scale):
            raise PlanError(f"scale must be finite, got {self.scale}")

    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Return equal rows; the key is not used."""
        row = np.float32(-self.scale) * honest.mean(axis=0, dtype=np.float64).astype(np.float32)
        return np.tile(row, (n_corrupted, 1))
