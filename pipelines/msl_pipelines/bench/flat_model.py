"""A model of any size that learns nothing: for benchmarks in which only its size counts."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.algorithms.base import Algorithm, LocalSolver, ServerRule, Step
from msl.models.base import Model
from msl.random import generator
from msl.types import Data, Layout, Memory, Update, Vector

__all__ = ["FlatModel", "Told"]

_BLOCK = 1 << 18


@dataclass(frozen=True)
class FlatModel(Model):
    """`size` numbers in one block, and a loss of 0."""

    size: int
    name: ClassVar[str] = "flat"

    @property
    def layout(self) -> Layout:
        """One block."""
        return Layout((("all", (self.size,)),))

    def init(self, key: int) -> Vector:
        """Return zeros whose memory is there."""
        return np.full(self.size, 0, np.float32)

    def loss(
        self, params: Vector, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> float:
        """Return 0."""
        return 0.0

    def gradient(
        self, params: Vector, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> Vector:
        """Return zeros."""
        return np.zeros_like(params)

    def predict(self, params: Vector, X: NDArray[Any]) -> NDArray[Any]:
        """Return class 0."""
        return np.zeros(len(X), np.int64)

    def predict_proba(self, params: Vector, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return certainty of class 0."""
        return np.ones((len(X), 1))


@dataclass(frozen=True)
class TellNormals(LocalSolver):
    """An update of normal numbers, at the price of writing it."""

    model: Model

    def solve(
        self, params: Vector, source: Data, memory: Memory, key: int, round: int
    ) -> tuple[Update, Memory]:
        """Return one drawn block over and over, each time a little larger: ties would be rare."""
        block = generator(key).standard_normal(_BLOCK, np.float32)
        told = np.empty_like(params)
        for i, start in enumerate(range(0, len(told), _BLOCK)):
            part = told[start : start + _BLOCK]
            np.multiply(block[: len(part)], np.float32(1 + i / 1024), out=part)
        return Update(told, float(len(source)), 0.0), memory


@dataclass(frozen=True)
class Told(Algorithm):
    """Updates that were not learned, and a step along them."""

    name: ClassVar[str] = "told"

    def solver(self, model: Model) -> LocalSolver:
        """Return the one that tells normal numbers."""
        return TellNormals(model)

    def server(self) -> ServerRule:
        """Return a step."""
        return Step(0.5)
