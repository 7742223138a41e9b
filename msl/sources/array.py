"""A source whose rows are already in memory."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from msl.sources.base import Source, check_data
from msl.types import Data

__all__ = ["ArraySource"]


@dataclass(frozen=True, eq=False)
class ArraySource(Source):
    """Rows in memory; unlike every other source, they travel with it to the worker.

    Parameters
    ----------
    name : str
        What reports call it.
    X : ndarray or sparse matrix of shape (m, p)
        Features; sparse ones stay sparse, as CSR.
    y : ndarray of shape (m,)
        Class numbers from 0, or real targets.
    weight : ndarray of shape (m,), optional
        Non-negative weights of the rows.
    """

    name: str
    X: Any
    y: NDArray[Any]
    weight: NDArray[Any] | None = None

    @property
    def in_memory(self) -> bool:
        """They are."""
        return True

    def load(self) -> Data:
        """Return the rows, checked; without a copy where the dtypes already fit.

        Raises
        ------
        DataError
            When they cannot be learned from.
        """
        return check_data(self.name, self.X, self.y, self.weight)
