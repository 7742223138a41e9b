"""Rows with a trigger and the label it shall lead to; on all other rows nothing is to be seen."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.attacks.base import DataAttack
from msl.errors import PlanError
from msl.types import Data

__all__ = ["Backdoor"]


@dataclass(frozen=True)
class Backdoor(DataAttack):
    """A share of the rows gets a trigger and the label `target`: features set to a fixed value.

    The rows are spread evenly over the source by their index, at least one. Success is how often
    the model answers `target` on held-out rows of other classes that carry the trigger: accuracy
    on `probe`.

    Parameters
    ----------
    target : int
        The label the trigger shall lead to.
    features : int or sequence of int
        The first k features, or their numbers.
    pattern : float
        What they are set to; a value that honest rows have seldom there.
    share : float
        Share of the rows that is changed, 0 < share <= 1.

    References
    ----------
    Gu, Dolan-Gavitt, Garg: BadNets: identifying vulnerabilities in the machine learning model
    supply chain. 2017. Bagdasaryan, Veit, Hua, Estrin, Shmatikov: How to backdoor federated
    learning. AISTATS 2020.
    """

    target: int = 0
    features: int | tuple[int, ...] = 4
    pattern: float = 1.0
    share: float = 0.5
    name: ClassVar[str] = "backdoor"

    def __post_init__(self) -> None:
        if not isinstance(self.features, int):
            # A list, as configuration files have it, would make equal attacks unequal.
            object.__setattr__(self, "features", tuple(self.features))
        numbers = self._columns()
        if not numbers or not all(isinstance(i, int) and i >= 0 for i in numbers):
            raise PlanError(
                f"features must be a number >= 1 or a list of numbers >= 0, got {self.features}"
            )
        if not isinstance(self.target, int) or self.target < 0:
            raise PlanError(f"target must be a class number >= 0, got {self.target}")
        if not isfinite(self.pattern):
            raise PlanError(f"pattern must be finite, got {self.pattern}")
        if not 0 < self.share <= 1:
            raise PlanError(f"share must be in (0, 1], got {self.share}")

    def corrupt(self, y: NDArray[Any], n_classes: int) -> NDArray[Any]:
        """Return the labels alone: `target` on the changed rows.

        Raises
        ------
        PlanError
            When the target is none of the n_classes classes.
        """
        if self.target >= n_classes:
            raise PlanError(f"target must be one of {n_classes} classes, got {self.target}")
        labels = y.copy()
        labels[self.rows(len(y))] = self.target
        return labels

    def corrupt_data(self, data: Data, n_classes: int) -> Data:
        """Return the rows, some with trigger and label.

        Raises
        ------
        PlanError
            When the target is no class, or the rows lack a feature of the trigger.
        """
        X = self._triggered(data.X, self.rows(len(data)))
        return Data(X, self.corrupt(data.y, n_classes), data.weight)

    def probe(self, data: Data) -> Data | None:
        """Return the rows of other classes with the trigger, labelled `target`.

        None when all rows are of the target class: those would not show whose work it is.

        Raises
        ------
        PlanError
            When the rows lack a feature of the trigger.
        """
        others = np.flatnonzero(data.y != self.target)
        if not len(others):
            return None
        X = self._triggered(data.X[others], np.arange(len(others)))
        weight = None if data.weight is None else data.weight[others]
        return Data(X, np.full_like(data.y[others], self.target), weight)

    def rows(self, m: int) -> NDArray[np.int64]:
        """Return the indices of the changed rows among m, ascending."""
        count = max(1, round(self.share * m))
        return np.arange(count) * m // count

    def _columns(self) -> tuple[int, ...]:
        return tuple(range(self.features)) if isinstance(self.features, int) else self.features

    def _triggered(self, X: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
        if hasattr(X, "tocsr"):
            raise PlanError("backdoor sets features of dense rows, these are sparse; densify them")
        columns = self._columns()
        if max(columns) >= X.shape[1]:
            raise PlanError(f"backdoor sets feature {max(columns)} but rows have {X.shape[1]}")
        X = X.copy()
        X[rows[:, None], np.array(columns)] = self.pattern
        return X
