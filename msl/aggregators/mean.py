"""The weighted mean: optimal among honest rows, at the mercy of a single corrupted one."""

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.types import Aggregated, Memory, Rows
from msl_kernels.pairs import combine

__all__ = ["Mean"]


@dataclass(frozen=True)
class Mean(Aggregator):
    """Weighted mean of the rows; one corrupted row moves it anywhere.

    Examples
    --------
    >>> import numpy as np
    >>> Mean()(np.array([[0.0, 4.0], [2.0, 0.0]]), weights=np.array([1.0, 3.0]))
    array([1.5, 1. ], dtype=float32)
    """

    name: ClassVar[str] = "mean"
    weighted: ClassVar[bool] = True
    by_size: ClassVar[bool] = True

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Sum in float64 and round once; `given` are the normalised weights."""
        given = weights / weights.sum()
        return Aggregated(combine(given, rows), given)
