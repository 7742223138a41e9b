"""Rules that work coordinate by coordinate: they may see a large model a piece at a time."""

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.types import Aggregated, Memory, Rows, Vector

__all__ = ["Columnwise"]


class Columnwise(Aggregator):
    """A rule without memory whose result at a coordinate depends on nothing but that column."""

    @abstractmethod
    def reduce(self, rows: Rows, weights: NDArray[Any]) -> Vector:
        """Return the direction (d,) of rows (n, d), or its piece of some columns of them."""

    @abstractmethod
    def shares(self, rows: Rows, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Return `given` (n,), for which columns 0, k, 2 k, ... are enough, k = `kept.stride`."""

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return both."""
        return Aggregated(self.reduce(rows, weights), self.shares(rows, weights))
