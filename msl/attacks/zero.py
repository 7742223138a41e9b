"""Nothing instead of an update: the lie of a source that does not care, or does not work."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from msl.attacks.base import Attack
from msl.types import Rows

__all__ = ["Zero"]


@dataclass(frozen=True)
class Zero(Attack):
    """Every corrupted row is 0; the colluders agree with each other to the bit."""

    name: ClassVar[str] = "zero"

    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Return zeros; the key is not used."""
        return np.zeros((n_corrupted, honest.shape[1]), np.float32)
