"""A source that calls the user's own function on the worker."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msl.errors import DataError, PlanError
from msl.sources.base import Source, check_data
from msl.types import Data

__all__ = ["LoaderSource"]


@dataclass(frozen=True)
class LoaderSource(Source):
    """Rows from ``loader(*arguments)``, called on the worker, and again when the worker dies.

    Parameters
    ----------
    name : str
        What reports call it.
    loader : callable
        A module-level function that returns (X, y), (X, y, weight) or `Data`; the same at
        every call, or a run cannot be repeated.
    arguments : tuple
        Small values that pickle: a path, a query, a number.

    Raises
    ------
    PlanError
        When loader or arguments do not pickle.
    """

    name: str
    loader: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        try:
            pickle.dumps((self.loader, self.arguments))
        except Exception as error:  # pickle raises whatever an object's own __reduce__ raises
            raise PlanError(
                f"source {self.name!r}: its loader cannot travel to a worker ({error}); use a "
                "module-level function, not a lambda or closure, and arguments that pickle"
            ) from error

    def load(self) -> Data:
        """Return what the loader returns, checked.

        Raises
        ------
        DataError
            When the loader raises anything, or its result cannot be learned from.
        """
        called = f"source {self.name!r}: loader {getattr(self.loader, '__name__', self.loader)}"
        try:
            found = self.loader(*self.arguments)
        except Exception as error:
            raise DataError(f"{called} raised {type(error).__name__}: {error}") from error
        if isinstance(found, Data):
            found = (found.X, found.y, found.weight)
        if not isinstance(found, tuple) or len(found) not in (2, 3):
            raise DataError(
                f"{called} must return (X, y), (X, y, weight) or Data, got {type(found).__name__}"
                + (f" of {len(found)}" if isinstance(found, tuple) else "")
            )
        return check_data(self.name, *found)
