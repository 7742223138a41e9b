"""A source that learns from corrupted rows; for simulation only."""

from dataclasses import dataclass, field

from msl.attacks.base import DataAttack
from msl.errors import DataError
from msl.sources.base import Source, check_data
from msl.types import Data

__all__ = ["CorruptedSource"]


@dataclass(frozen=True)
class CorruptedSource(Source):
    """Wraps a source and keeps its name and machine: nothing but its rows gives it away.

    Parameters
    ----------
    source : Source
        The honest one.
    attack : DataAttack
        What happens to the rows.
    n_classes : int
        Classes of the whole run; one source may not have seen them all.
    """

    source: Source
    attack: DataAttack
    n_classes: int
    name: str = field(init=False)
    machine: str | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.source.name)
        object.__setattr__(self, "machine", self.source.machine)

    @property
    def in_memory(self) -> bool:
        """Whether the inner rows are."""
        return self.source.in_memory

    def load(self) -> Data:
        """Return the inner rows, corrupted.

        Raises
        ------
        DataError
            When the inner labels are not class numbers below n_classes.
        """
        data = self.source.load()
        if data.y.dtype.kind != "i" or data.y.max() >= self.n_classes:
            raise DataError(
                f"source {self.name!r}: {self.attack.name} needs class numbers "
                f"0..{self.n_classes - 1}, got {data.y.dtype} up to {data.y.max()}"
            )
        corrupted = self.attack.corrupt_data(data, self.n_classes)
        return check_data(self.name, corrupted.X, corrupted.y, corrupted.weight)
