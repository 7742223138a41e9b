"""Losses of a linear output, each with its slope and the largest curvature it can have."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOSSES", "Huber", "Loss", "Poisson", "Quantile"]

Array: TypeAlias = NDArray[np.float64]


class Loss(ABC):
    """What an output z costs against a target t, elementwise on float64 arrays of one shape."""

    curvature: ClassVar[float]
    """Least bound on the second derivative in z: the slope moves at most this much per unit of z.
    Infinite where there is a kink, and for poisson."""
    classes: ClassVar[bool] = False
    """Whether t is -1 or +1, of one class against the rest; real otherwise."""

    @abstractmethod
    def value(self, z: Array, t: Array) -> Array:
        """Return the loss of each output, >= 0."""

    @abstractmethod
    def slope(self, z: Array, t: Array) -> Array:
        """Return its derivative in z; a subgradient at a kink."""


class Hinge(Loss):
    """max(0, 1 - tz)."""

    curvature = inf
    classes = True

    def value(self, z: Array, t: Array) -> Array:
        """Return max(0, 1 - tz)."""
        return np.maximum(1 - t * z, 0.0)

    def slope(self, z: Array, t: Array) -> Array:
        """Return -t below the margin, 0 from it on."""
        return np.where(t * z < 1, -t, 0.0)


class ModifiedHuber(Loss):
    """max(0, 1 - tz)^2, and -4tz below tz = -1 (Zhang, ICML 2004)."""

    curvature = 2.0
    classes = True

    def value(self, z: Array, t: Array) -> Array:
        """Return the squared hinge, linear far on the wrong side."""
        margin = t * z
        return np.where(margin < -1, -4 * margin, np.maximum(1 - margin, 0.0) ** 2)

    def slope(self, z: Array, t: Array) -> Array:
        """Return -2t (1 - tz), between 0 and -4t."""
        return -2 * t * np.clip(1 - t * z, 0.0, 2.0)


class Squared(Loss):
    """(z - t)^2 / 2."""

    curvature = 1.0

    def value(self, z: Array, t: Array) -> Array:
        """Return half the squared residual."""
        return 0.5 * (z - t) ** 2

    def slope(self, z: Array, t: Array) -> Array:
        """Return the residual."""
        return z - t


@dataclass(frozen=True)
class Huber(Loss):
    """(z - t)^2 / 2 within epsilon of t, and linear beyond (Huber 1964)."""

    epsilon: float = 1.35
    curvature: ClassVar[float] = 1.0

    def value(self, z: Array, t: Array) -> Array:
        """Return the loss of residuals that cost no more than linearly."""
        far = np.abs(z - t)
        near = np.minimum(far, self.epsilon)
        return near * (far - 0.5 * near)

    def slope(self, z: Array, t: Array) -> Array:
        """Return the clipped residual."""
        return np.clip(z - t, -self.epsilon, self.epsilon)


@dataclass(frozen=True)
class Quantile(Loss):
    """q (t - z) below t and (1 - q) (z - t) above (Koenker and Bassett 1978)."""

    q: float = 0.5
    curvature: ClassVar[float] = inf

    def value(self, z: Array, t: Array) -> Array:
        """Return the pinball loss."""
        return np.maximum(self.q * (t - z), (1 - self.q) * (z - t))

    def slope(self, z: Array, t: Array) -> Array:
        """Return -q below t, 1 - q above, 0 at t."""
        return np.where(z > t, 1 - self.q, np.where(z < t, -self.q, 0.0))


class Poisson(Loss):
    """Half the Poisson deviance of a count t when its mean is exp(z).

    Beyond exp(60) it goes on linearly, so that a step much too far still has a finite slope back.
    """

    curvature = inf

    @staticmethod
    def mean(z: Array) -> Array:
        """Return exp(z), or exp(60) where that is less."""
        return np.exp(np.minimum(z, 60.0))

    def value(self, z: Array, t: Array) -> Array:
        """Return exp(z) - t - t (z - log t): 0 where exp(z) = t."""
        beyond = self.mean(z) * np.maximum(z - 60.0, 0.0)
        return self.mean(z) + beyond - t - t * (z - np.log(np.where(t > 0, t, 1.0)))

    def slope(self, z: Array, t: Array) -> Array:
        """Return exp(z) - t."""
        return self.mean(z) - t


LOSSES: Mapping[str, type[Loss]] = {
    "squared": Squared,
    "huber": Huber,
    "quantile": Quantile,
    "poisson": Poisson,
    "hinge": Hinge,
    "modified_huber": ModifiedHuber,
}
