"""Copies of an honest row: nothing in them looks wrong, yet one source counts many times."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from msl.attacks.base import Attack
from msl.errors import PlanError
from msl.types import Rows

__all__ = ["Mimic"]


@dataclass(frozen=True)
class Mimic(Attack):
    """Every corrupted row is a copy of one honest row.

    Hurts where the sources differ: a robust rule then learns the copied source too well and the
    rare ones not at all. No rule can tell the copies from honest rows.

    Parameters
    ----------
    index : int
        Which of the honest rows of the round, from 0, in the order of their ranks.

    References
    ----------
    Karimireddy, He, Jaggi: Byzantine-robust learning on heterogeneous datasets via bucketing.
    ICLR 2022; the paper picks the source along the direction of largest variance.
    """

    index: int = 0
    name: ClassVar[str] = "mimic"

    def __post_init__(self) -> None:
        if not isinstance(self.index, int) or self.index < 0:
            raise PlanError(f"index must be an integer >= 0, got {self.index}")

    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Return equal rows; the key is not used.

        Raises
        ------
        PlanError
            When there is no honest row of this index.
        """
        if self.index >= len(honest):
            raise PlanError(f"mimic copies honest row {self.index} but there are {len(honest)}")
        return np.tile(honest[self.index], (n_corrupted, 1))
