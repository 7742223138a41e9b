"""A source whose rows may be read on one machine only."""

from dataclasses import dataclass, field

from msl.errors import PlanError
from msl.sources.base import Source
from msl.types import Data

__all__ = ["Pinned"]


@dataclass(frozen=True)
class Pinned(Source):
    """Wraps a source: loaded on a worker of that machine and nowhere else, waited for if need be.

    Parameters
    ----------
    source : Source
        The recipe; the name stays.
    machine : str
        The machine's host name as ``hostname`` prints it, its address as the workers have it, or
        the name of a Dask worker (``dask worker --name``); not a part of one.

    Raises
    ------
    PlanError
        When the machine has no name, or the source lives on one already.

    Examples
    --------
    >>> from msl.sources import FileSource
    >>> Pinned(FileSource("north", "/data/north.csv"), "hospital-a").name
    'north'
    """

    source: Source
    machine: str
    name: str = field(init=False)

    def __post_init__(self) -> None:
        name, before = self.source.name, self.source.machine
        if not isinstance(self.machine, str) or not self.machine:
            raise PlanError(f"source {name!r}: machine must be a name, got {self.machine!r}")
        if before is not None:
            raise PlanError(f"source {name!r} lives on {before!r} already, not {self.machine!r}")
        object.__setattr__(self, "name", name)

    @property
    def in_memory(self) -> bool:
        """Whether the inner rows are."""
        return self.source.in_memory

    def load(self) -> Data:
        """Return the rows of the source."""
        return self.source.load()
