"""The contract of a model: losses and gradients of one flat parameter vector."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msl.types import Data, Layout, Vector

__all__ = ["Model", "Run"]


class Run(NamedTuple):
    """The mini-batches of one source: `order`, `batch` and `steps` of `Model.local_sgd`."""

    order: NDArray[np.int64]
    batch: int
    steps: int


class Model(ABC):
    """A differentiable predictor whose parameters are ONE flat float32 vector.

    A frozen dataclass; it holds sizes and hyper-parameters, never parameters.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Names and shapes of the blocks of the vector, in order."""

    @abstractmethod
    def init(self, key: int) -> Vector:
        """Return fresh parameters of shape (d,); equal keys give equal bits."""

    @abstractmethod
    def loss(
        self, params: Vector, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> float:
        """Return the weighted mean loss over rows X (m, p), y (m,)."""

    @abstractmethod
    def gradient(
        self, params: Vector, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> Vector:
        """Return the gradient of `loss` in the parameters, shape (d,) float32."""

    def local_sgd(
        self,
        params: Vector,
        source: Data,
        order: NDArray[np.int64],
        *,
        batch: int,
        steps: int,
        rate: float,
        shown: int,
    ) -> tuple[Vector, float]:
        """Return where mini-batch SGD ends, a fresh array, and the loss of `params`.

        A model may know a faster way; this one takes each step by itself.

        Parameters
        ----------
        order : ndarray of shape (epochs * m,)
            Rows of each epoch in their order; a batch does not reach into the next epoch.
        batch, steps : int
            Rows per step, 1..m, and how many steps the order is good for.
        rate : float
            Learning rate.
        shown : int
            Rows, the first ones, on which the loss is stated; it is 0 on none.
        """
        local, m, first = params.copy(), len(source), 0
        for _ in range(steps):
            last = min(first + batch, first - first % m + m)
            # A full batch needs no copy of the rows, and their order does not matter.
            rows = order[first:last] if batch < m else slice(None)
            weight = None if source.weight is None else source.weight[rows]
            gradient = self.gradient(local, source.X[rows], source.y[rows], weight)
            gradient *= np.float32(-rate)
            local += gradient
            first = last
        if not shown:
            return local, 0.0
        weight = None if source.weight is None else source.weight[:shown]
        return local, self.loss(params, source.X[:shown], source.y[:shown], weight)

    def local_sgd_each(
        self,
        params: Vector,
        sources: Sequence[Data],
        runs: Sequence[Run],
        *,
        rate: float,
        shown: int,
    ) -> list[tuple[Vector, float] | None]:
        """Return by how much `local_sgd` moves `params`, and their loss, at each of many sources.

        They equal those of `local_sgd` to the bit, whatever the other sources are. None stands
        for a source where it raises, or ends in numbers that are not finite. A model may know a
        faster way; this one goes by turns.
        """
        found: list[tuple[Vector, float] | None] = []
        for source, (order, batch, steps) in zip(sources, runs, strict=True):
            try:
                local, loss = self.local_sgd(
                    params, source, order, batch=batch, steps=steps, rate=rate, shown=shown
                )
            except Exception:  # whoever asks for that source alone hears why
                found.append(None)
            else:
                found.append((local - params, loss) if np.isfinite(local).all() else None)
        return found

    @abstractmethod
    def predict(self, params: Vector, X: NDArray[Any]) -> NDArray[Any]:
        """Return class numbers of shape (m,) (or real values for a regression)."""

    @abstractmethod
    def predict_proba(self, params: Vector, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return class probabilities of shape (m, C), each row summing to 1."""

    def score(
        self, params: Vector, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> float:
        """Return the accuracy; for real targets R2, at most 1."""
        return float(np.average(self.predict(params, X) == y, weights=weight))
