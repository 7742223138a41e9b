"""The contracts of attacks: what lying sources send or learn from. For simulation only."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from numpy.typing import NDArray

from msl.types import Rows

__all__ = ["Attack", "DataAttack"]


class Attack(ABC):
    """Corrupted rows, given the honest ones; a frozen dataclass."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Return rows of shape (n_corrupted, d) from honest rows (h, d), h >= 1."""


class DataAttack(ABC):
    """Labels changed at the source; the source then takes part honestly with what it has."""

    name: ClassVar[str]

    @abstractmethod
    def corrupt(self, y: NDArray[Any], n_classes: int) -> NDArray[Any]:
        """Return the labels the source will learn from; class numbers 0..n_classes-1."""
