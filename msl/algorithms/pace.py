"""Tells progress from noise, and slows down steps that only follow noise."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.types import Vector

__all__ = ["Pace", "length"]

WINDOW = 10
"""Steps that are looked at together."""
SHORTER = 0.9
"""A gradient this much shorter than the shortest before is progress."""
DRIFT = 3.0
"""So is a squared way gone that is this many times that of a random walk of the same steps."""
LEAST_RATE = 1 / 8
"""Below this rate the model stands still: noise, or a kink, is all that is left."""


def length(vector: NDArray[Any]) -> float:
    """Return the Euclidean norm, in float64."""
    return float(np.linalg.norm(vector.astype(np.float64)))


@dataclass(frozen=True)
class Pace:
    """How large a fraction of the full steps to take, from how the last ones went.

    Near an optimum noisy steps undo each other, while steps along a long valley add up, even
    where the gradient does not shrink for many rounds. So over ten steps the squared way gone is
    compared with the sum of the squared steps, which it equals on average in a random walk (the
    statistic of Pesme, Dieuleveut and Flammarion, ICML 2020, in the spirit of Pflug 1990). No
    progress halves the rate, progress doubles it again.

    Parameters
    ----------
    start : ndarray of shape (d,)
        Where the steps in view began.
    least : float
        Length of the shortest gradient, at the last progress.
    rate : float
        Fraction of the full steps, at most 1.
    steps : int
        Steps in view.
    squares : float
        Sum of their squared lengths.
    shorter : bool
        Whether the gradient became shorter than ever in these steps.
    """

    start: Vector
    least: float
    rate: float = 1.0
    steps: int = 0
    squares: float = 0.0
    shorter: bool = False

    @property
    def over(self) -> bool:
        """Whether steps have become too short to matter."""
        return self.rate < LEAST_RATE

    def after(self, params: Vector, step: Vector, norm: float) -> "Pace":
        """Return the pace after a step to `params`, where the gradient has length `norm`."""
        shorter = norm < SHORTER * self.least
        now = replace(
            self,
            least=norm if shorter else self.least,
            steps=self.steps + 1,
            squares=self.squares + length(step) ** 2,
            shorter=self.shorter or shorter,
        )
        if now.steps < WINDOW:
            return now
        if length(params - now.start) ** 2 > DRIFT * now.squares:
            rate = min(1.0, 2 * now.rate)
        else:
            rate = now.rate if now.shorter else now.rate / 2
        return Pace(params, now.least, rate)
