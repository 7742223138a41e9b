"""The contract of an aggregator: n weighted rows become one direction."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError, PlanError
from msl.types import Aggregated, Memory, Rows, Vector

__all__ = ["Aggregator", "check_rows"]


class Aggregator(ABC):
    """Rows (n, d) float32 and weights (n,) -> one vector (d,); a frozen dataclass.

    Rules without a weighted meaning refuse unequal weights through `weighted`.
    """

    name: ClassVar[str]
    weighted: ClassVar[bool]
    """Whether the weights of the rows change the result; otherwise they are not read."""

    def init(self, n: int, d: int) -> Memory:
        """Return the memory before the first round; None for a rule that keeps nothing."""
        return None

    def tolerates(self, n: int) -> int:
        """Return the largest number of corrupted rows among n that the rule withstands."""
        return 0

    def check(self, n: int) -> None:
        """Raise PlanError when the rule cannot work on n rows."""
        if n < 1:
            raise PlanError(f"{self.name} needs at least one row")

    @abstractmethod
    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the direction, the share each row got, and the memory for the next round."""

    def __call__(self, rows: Rows, weights: NDArray[Any] | None = None) -> Vector:
        """Return the direction of checked rows; the stateless shorthand.

        Raises
        ------
        DataError
            When rows are not (n, d), not finite, or the weights do not fit them.
        """
        rows, given = check_rows(rows, weights)
        self.check(len(rows))
        return self.aggregate(rows, given, self.init(*rows.shape)).vector


def check_rows(
    rows: NDArray[Any], weights: NDArray[Any] | None
) -> tuple[Rows, NDArray[np.float64]]:
    """Return contiguous float32 rows and float64 weights.

    Raises
    ------
    DataError
        When a shape is wrong, a row is not finite (names it), or weights are negative or all zero.
    """
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if rows.ndim != 2 or not len(rows):
        raise DataError(f"an aggregator needs rows of shape (n, d) with n >= 1, got {rows.shape}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise DataError(f"row {int(np.argmin(finite))} holds NaN or Inf")
    if weights is None:
        return rows, np.ones(len(rows))
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (len(rows),):
        raise DataError(
            f"{len(rows)} rows need weights of shape ({len(rows)},), got {weights.shape}"
        )
    if not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() <= 0:
        raise DataError("weights must be finite, non-negative and not all zero")
    return rows, weights
