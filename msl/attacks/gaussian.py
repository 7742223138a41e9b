"""Noise instead of an update."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np

from msl.attacks.base import Attack
from msl.errors import PlanError
from msl.random import generator
from msl.types import Rows

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian(Attack):
    """Independent normal rows of mean 0 whose coordinates are `scale` times the honest ones' size.

    Parameters
    ----------
    scale : float
        Standard deviation in units of the root mean square of the honest coordinates.
    """

    scale: float = 1.0
    name: ClassVar[str] = "gaussian"

    def __post_init__(self) -> None:
        if not 0 <= self.scale < inf:
            raise PlanError(f"scale must be finite and >= 0, got {self.scale}")

    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Return fresh noise for every key."""
        size = float(np.sqrt(np.mean(np.square(honest, dtype=np.float64))))
        noise = generator(key).standard_normal((n_corrupted, honest.shape[1]), np.float32)
        rows: Rows = noise * np.float32(self.scale * size)
        return rows
