"""Sources whose labels are wrong: an honest mistake or a lie, the update looks the same."""

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from msl.attacks.base import DataAttack
from msl.errors import PlanError

__all__ = ["LabelFlip"]


@dataclass(frozen=True)
class LabelFlip(DataAttack):
    """Labels become C - 1 - y, or (y + shift) mod C.

    Parameters
    ----------
    shift : int, optional
        For odd C the default leaves the middle class as it is; a shift changes every label.
    """

    shift: int | None = None
    name: ClassVar[str] = "label_flip"

    def corrupt(self, y: NDArray[Any], n_classes: int) -> NDArray[Any]:
        """Return the changed labels.

        Raises
        ------
        PlanError
            When the shift is a multiple of n_classes and would change nothing.
        """
        if self.shift is None:
            return n_classes - 1 - y
        if self.shift % n_classes == 0:
            raise PlanError(f"shift {self.shift} changes no label of {n_classes} classes")
        return (y + self.shift) % n_classes
