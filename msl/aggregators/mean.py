"""The weighted mean: optimal among honest rows, at the mercy of a single corrupted one."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.columnwise import Columnwise
from msl.types import Rows, Vector
from msl_kernels.pairs import combine

__all__ = ["Mean"]


@dataclass(frozen=True)
class Mean(Columnwise):
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

    def reduce(self, rows: Rows, weights: NDArray[Any]) -> Vector:
        """Sum in float64 and round once."""
        mean: Vector = combine(self.shares(rows, weights), rows)
        return mean

    def shares(self, rows: Rows, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Return the normalised weights."""
        return np.asarray(weights / weights.sum())
