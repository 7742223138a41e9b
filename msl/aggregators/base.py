"""The contract of an aggregator: n weighted rows become one direction."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError, PlanError
from msl.finite import finite_rows
from msl.types import Aggregated, Memory, Rows, Vector

__all__ = ["Aggregator", "check_rows"]


class Aggregator(ABC):
    """Rows (n, d) float32 and weights (n,) -> one vector (d,); a frozen dataclass."""

    name: ClassVar[str]
    weighted: ClassVar[bool]
    """Whether unequal weights have a meaning for the rule; otherwise it refuses them."""
    by_size: ClassVar[bool] = False
    """Whether a run weighs rows by the sizes of their sources, unless told otherwise.

    Sizes are what sources say of themselves: a rule that outvotes liars by number should not let
    them buy votes.
    """

    per_source: ClassVar[bool] = False
    """Whether the memory knows each source: then all must be there in every round, and the rule
    sees rows with NaN or Inf as they are."""
    needs_trusted: ClassVar[bool] = False
    """Whether the rule needs `trusting`."""

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

    def trusting(self, loss: Callable[[Vector], float]) -> "Aggregator":
        """Return the rule with a judge: the loss, on rows the server trusts, after a step.

        Parameters
        ----------
        loss : callable
            From a direction (d,) to the loss of the model that has gone along it.
        """
        return self

    @abstractmethod
    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the direction, the share each row got, and the memory for the next round.

        Parameters
        ----------
        rows : ndarray of shape (n, d)
            Checked: float32, contiguous, finite.
        weights : ndarray of shape (n,)
            Checked: non-negative, not all zero; equal for a rule that has no use for them.
        memory : object
            From `init` or the last round.
        """

    def __call__(self, rows: Rows, weights: NDArray[Any] | None = None) -> Vector:
        """Return the direction of some rows; the stateless shorthand.

        Rows that hold NaN or Inf are left out, with a warning that names them.

        Raises
        ------
        DataError
            When rows are not (n, d), none is finite, or the weights do not fit rows or rule.
        PlanError
            When the rule cannot work on as many rows as are left.
        """
        rows, given = check_rows(rows, weights)
        kept = finite_rows(rows)
        if not kept.all():
            left_out = ", ".join(map(str, np.flatnonzero(~kept)))
            if not kept.any():
                raise DataError("no row is finite")
            warnings.warn(f"rows left out, as they hold NaN or Inf: {left_out}", stacklevel=2)
            rows, given = rows[kept], given[kept]
        if not self.weighted and given.min() < given.max():
            raise DataError(f"{self.name} has no use for unequal weights; pass none")
        self.check(len(rows))
        return self.aggregate(rows, given, self.init(*rows.shape)).vector


def check_rows(
    rows: NDArray[Any], weights: NDArray[Any] | None
) -> tuple[Rows, NDArray[np.float64]]:
    """Return contiguous float32 rows and float64 weights, ones when left out.

    Raises
    ------
    DataError
        When a shape is wrong, or weights are negative or all zero.
    """
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if rows.ndim != 2 or not len(rows):
        raise DataError(f"an aggregator needs rows of shape (n, d) with n >= 1, got {rows.shape}")
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
