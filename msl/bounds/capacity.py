"""How fast empirical risks reach true ones, at once over a whole class: the rate s(m, delta).

With probability at least 1 - delta over m independent rows S, for losses in [0, 1]::

    sup_h |R(h) - R_S(h)| <= s(m, delta)

Every rate is s = sqrt(g(m) / m) with a g that does not fall, so it never grows with m. All but
`Measured` hold for any distribution, so corrupted rows cannot move them.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from msl.errors import PlanError

__all__ = ["VC", "Capacity", "Finite", "Linear", "Measured", "Norm"]


class Capacity(ABC):
    """The size of a hypothesis class, as far as learning goes; a frozen dataclass."""

    name: ClassVar[str]

    @overload
    def rate(self, m: float, delta: float) -> float: ...
    @overload
    def rate(self, m: NDArray[Any], delta: float) -> NDArray[np.float64]: ...

    def rate(self, m: float | NDArray[Any], delta: float) -> float | NDArray[np.float64]:
        """Return s(m, delta), in units of the loss; values over 1 say nothing.

        Parameters
        ----------
        m : float or ndarray of shape (n,)
            Rows, above 0; for an array, the rate of each.
        delta : float
            Chance in (0, 1) that the deviation is larger.

        Raises
        ------
        PlanError
            When m or delta is out of range.
        """
        if not 0 < delta < 1:
            raise PlanError(f"delta is a chance in (0, 1), got {delta}")
        if isinstance(m, np.ndarray):
            return np.array([self.rate(float(size), delta) for size in m])
        if not m > 0:
            raise PlanError(f"a rate needs rows, got m={m}")
        return self._rate(m, delta)

    @abstractmethod
    def _rate(self, m: float, delta: float) -> float: ...


@dataclass(frozen=True)
class Finite(Capacity):
    """`size` hypotheses: Hoeffding for both signs of each, 2 |H| exp(-2 m s^2) = delta.

    Examples
    --------
    >>> round(Finite(1).rate(200, 0.05), 4)
    0.096
    """

    name: ClassVar[str] = "finite"
    size: int

    def __post_init__(self) -> None:
        _at_least_one(self.size, "a class needs hypotheses, size")

    def _rate(self, m: float, delta: float) -> float:
        return math.sqrt(math.log(2 * self.size / delta) / (2 * m))


@dataclass(frozen=True)
class VC(Capacity):
    """A binary class of a VC dimension, under the 0/1 loss: Vapnik and Chervonenkis (1971).

    From 4 Pi(2 m) exp(-m s^2 / 8) = delta with Sauer's Pi(2 m) <= (2 e m / d)^d,
    s = sqrt((8 d ln(2 e m / d) + 8 ln(4 / delta)) / m). For fewer rows than the dimension, where
    that expression falls apart, Pi(2 m) <= 4^m takes over: above 1 anyhow, but monotone.

    Examples
    --------
    >>> round(VC(10).rate(10_000, 0.05), 3)
    0.269
    """

    name: ClassVar[str] = "vc"
    dimension: int

    def __post_init__(self) -> None:
        _at_least_one(self.dimension, "dimension")

    def _rate(self, m: float, delta: float) -> float:
        return _symmetrised(self.dimension, 2, m, delta)


@dataclass(frozen=True)
class Linear(Capacity):
    r"""The class with the largest of C linear scores (with intercepts), under the 0/1 loss.

    The predictions on M rows follow from the signs of M C (C - 1) / 2 score differences. With
    the last class's weights at 0, which changes no difference, each is linear in
    K = (C - 1)(p + 1) parameters. The sign patterns of n linear functions of K parameters are
    the traces of a class of VC dimension K (Dudley, 1978), hence at most (e n / K)^K by Sauer's
    lemma; Warren's count for polynomials (1968), (8 e deg n / K)^K, would cost 8^K for a
    degree of 1. A row's loss follows from its prediction, so with M = 2 m::

        ln Pi(2 m) <= K ln(e m C (C - 1) / K) = K ln(e m C / (p + 1))

    Two classes give `VC` (p + 1) exactly.

    Parameters
    ----------
    n_features : int
        p, without the intercept.
    n_classes : int
        C, at least 2.
    """

    name: ClassVar[str] = "linear"
    n_features: int
    n_classes: int = 2

    def __post_init__(self) -> None:
        _at_least_one(self.n_features, "n_features")
        _at_least_one(self.n_classes - 1, "a choice needs two classes, n_classes - 1")

    def _rate(self, m: float, delta: float) -> float:
        c = self.n_classes
        return _symmetrised((c - 1) * (self.n_features + 1), c * (c - 1), m, delta)


@dataclass(frozen=True)
class Norm(Capacity):
    """Linear scores of bounded norm under a Lipschitz loss in [0, 1]; free of the dimension.

    s = 2 L B R / sqrt(m) + sqrt(ln(2 / delta) / (2 m)): the Rademacher complexity of the ball is
    at most B R / sqrt(m), contraction gives L (Bartlett and Mendelson, 2002; Ledoux and
    Talagrand, 1991), McDiarmid the rest, at delta / 2 for either sign.

    Parameters
    ----------
    radius : float
        R: no row (with the 1 of its intercept) is longer.
    norm : float
        B: no weight vector (with its intercept) is longer.
    lipschitz : float
        L of the loss in the score; 1 / margin for the ramp loss, which lies over the 0/1 loss.
    """

    name: ClassVar[str] = "norm"
    radius: float
    norm: float
    lipschitz: float = 1.0

    def __post_init__(self) -> None:
        if not min(self.radius, self.norm, self.lipschitz) > 0:
            raise PlanError(f"radius, norm and lipschitz must be above 0, got {self}")

    def _rate(self, m: float, delta: float) -> float:
        complexity = 2 * self.lipschitz * self.norm * self.radius
        return (complexity + math.sqrt(math.log(2 / delta) / 2)) / math.sqrt(m)


@dataclass(frozen=True)
class Measured(Capacity):
    """What two halves of the data disagree on: the maximum discrepancy penalty.

    Bartlett, Boucheron and Lugosi (2002). With D = sup_h |R_S1(h) - R_S2(h)| over the halves of
    a sample of m rows, the mean of sup_h (R - R_S) is at most that of D, and their difference
    moves by at most 3 / m with any row; McDiarmid at delta / 2 for either sign gives
    s = D + 3 sqrt(ln(2 / delta) / (2 m)). A mean of D over several splits does as well.

    At other sizes D shrinks like 1 / sqrt(m). That is an estimate and no bound, for three
    reasons: the true shape is only near that, the largest discrepancy a learner finds may lie
    below the supremum, and a source that lies about its rows lies about D.

    Parameters
    ----------
    discrepancy_of_halves : float
        D, in [0, 1].
    rows : float
        Rows of both halves together.
    """

    name: ClassVar[str] = "measured"
    discrepancy_of_halves: float
    rows: float

    def __post_init__(self) -> None:
        if not 0 <= self.discrepancy_of_halves <= 1 or not self.rows > 0:
            raise PlanError(f"needs a discrepancy in [0, 1] and rows above 0, got {self}")

    @classmethod
    def of_sources(cls, null: NDArray[np.float64], rows: NDArray[Any]) -> "Measured":
        """Return the median over sources, which fewer than half of them cannot move at will.

        Parameters
        ----------
        null : ndarray of shape (B, n)
            Discrepancies between two random halves of each source, for B splits.
        rows : array of shape (n,)
            Rows of each source, both halves together.
        """
        constant = float(np.median(np.mean(null, axis=0) * np.sqrt(rows)))
        size = max(float(np.median(rows)), constant**2)  # keeps D within [0, 1]
        return cls(constant / math.sqrt(size), size)

    def _rate(self, m: float, delta: float) -> float:
        spread = self.discrepancy_of_halves * math.sqrt(self.rows)
        return (spread + 3 * math.sqrt(math.log(2 / delta) / 2)) / math.sqrt(m)


def _symmetrised(dimension: int, signs: int, m: float, delta: float) -> float:
    """Solve 4 Pi(2 m) exp(-m s^2 / 8) = delta for s, where `signs` * m signs tell the losses."""
    told = max(signs * m / dimension, 1.0)
    growth = min(dimension * (1 + math.log(told)), 2 * m * math.log(2))
    return math.sqrt(8 * (growth + math.log(4 / delta)) / m)


def _at_least_one(value: int, name: str) -> None:
    if value < 1:
        raise PlanError(f"{name} must be at least 1, got {value}")
