"""Numbers that are none: from a solver that diverged, or on purpose."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from msl.attacks.base import Attack, Scene
from msl.errors import PlanError
from msl.types import Memory, Rows

__all__ = ["Nan"]


@dataclass(frozen=True)
class Nan(Attack):
    """Every corrupted row holds NaN or infinity, everywhere or in every k-th coordinate.

    The other coordinates are those of its own row (the honest mean in the shorthand), so that a
    few wrong numbers hide among many right ones.

    Parameters
    ----------
    value : {"nan", "inf"}
        What is written.
    every : int
        Coordinates 0, k, 2k, ... are written; 1 for all.
    """

    value: Literal["nan", "inf"] = "nan"
    every: int = 1
    name: ClassVar[str] = "nan"

    def __post_init__(self) -> None:
        if self.value not in ("nan", "inf"):
            raise PlanError(f"value must be nan or inf, got {self.value!r}")
        if not isinstance(self.every, int) or self.every < 1:
            raise PlanError(f"every must be an integer >= 1, got {self.every}")

    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Write into the honest mean; the key is not used."""
        return self.forge(Scene.imagined(honest, n_corrupted, key), None)[0]

    def forge(self, scene: Scene, memory: Memory) -> tuple[Rows, Memory]:
        """Write into copies of the own rows."""
        rows = scene.own.copy()
        rows[:, :: self.every] = float(self.value)
        return rows, memory
