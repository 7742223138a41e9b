"""A lie that hides within the spread of the honest rows."""

from dataclasses import dataclass
from math import isfinite
from statistics import NormalDist
from typing import ClassVar

from msl.attacks.base import Attack
from msl.attacks.rows import copies, mean_and_std
from msl.errors import PlanError
from msl.types import Rows

__all__ = ["ALittleIsEnough", "unnoticed_z"]


@dataclass(frozen=True)
class ALittleIsEnough(Attack):
    """Every corrupted row is mean - z std of the honest rows, coordinate by coordinate.

    The standard deviation is the one over h - 1 (0 for a single honest row).

    Parameters
    ----------
    z : float, optional
        Number of standard deviations; by default the largest that a majority can be expected to
        support, see `unnoticed_z`.

    References
    ----------
    Baruch, Baruch, Goldberg: A little is enough: circumventing defenses for distributed learning.
    NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> honest = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]], np.float32)
    >>> ALittleIsEnough(z=1.5)(honest, 2, key=0)
    array([[0.5, 0. ],
           [0.5, 0. ]], dtype=float32)
    """

    z: float | None = None
    name: ClassVar[str] = "a_little_is_enough"

    def __post_init__(self) -> None:
        if self.z is not None and not isfinite(self.z):
            raise PlanError(f"z must be finite, got {self.z}")

    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Return equal rows; the key is not used."""
        mean, std = mean_and_std(honest)
        z = unnoticed_z(len(honest), n_corrupted) if self.z is None else self.z
        return copies(mean - z * std, n_corrupted)


def unnoticed_z(n_honest: int, n_corrupted: int) -> float:
    """Return z = Phi^-1((h - s) / h) for h honest sources, s of which must support the lie.

    With c corrupted among n = h + c sources, s = floor(n/2 + 1) - c of the honest ones make a
    majority with them; colluders that are a majority by themselves still ask for s = 1. A single
    liar finds too few supporters, and so do two for even n: z <= 0. 0 for h = 1, which has no
    spread to hide in.

    Examples
    --------
    >>> round(unnoticed_z(6, 4), 2)
    0.43
    """
    supporters = max((n_honest + n_corrupted) // 2 + 1 - n_corrupted, 1)
    # Only h = 1 (or n <= 2) leaves nobody unconvinced, and Phi^-1(0) is no number.
    unconvinced = n_honest - supporters
    return NormalDist().inv_cdf(unconvinced / n_honest) if unconvinced > 0 else 0.0
