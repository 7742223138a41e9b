"""The contract of a tracker: it hears every report, on the driver only."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from msl.types import Report, SourceInfo

__all__ = ["BROKEN_OFF", "Flushed", "NullTracker", "Tracker", "Unfinished"]

BROKEN_OFF = ("RUNNING", "KILLED")
"""What a store says of a run whose driver was killed, and of one that was interrupted."""


@dataclass(frozen=True)
class Unfinished:
    """A comparison that broke off.

    Parameters
    ----------
    parent : str or None
        Its run, to go on in.
    outcomes : mapping from str to str
        Names of finished cells and what they left in ``outcome.json``.
    begun : mapping from str to str
        Names of cells that have a run whose driver was killed or interrupted, and the newest such.
    """

    parent: str | None
    outcomes: Mapping[str, str] = field(default_factory=dict)
    begun: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Flushed:
    """What became of a spool.

    Parameters
    ----------
    sent : tuple of str
        Runs that their store now has, by their id there.
    waiting : mapping from str to str
        Runs that must go on waiting, and why.
    refused : tuple of str
        What a store will never take; it stays in the spool.
    """

    sent: tuple[str, ...]
    waiting: Mapping[str, str]
    refused: tuple[str, ...]


class Tracker(ABC):
    """A context: entering opens a run, leaving closes it with the status the block ended in."""

    run_id: str | None = None
    """How the store calls the open run, for its children; a name of ours until it knows the run."""

    def __enter__(self) -> Self:
        """Open the run."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Flush and close: finished, failed (any error) or killed (Ctrl-C)."""

    def rounds(self) -> frozenset[int]:
        """Return the rounds that are in the store already, of a run that is gone on with."""
        return frozenset()

    @abstractmethod
    def log(self, report: Report) -> None:
        """Take one round; must not block on the store."""

    @abstractmethod
    def log_sources(self, sources: Sequence[SourceInfo]) -> None:
        """Record the sources as dataset inputs: name, rows, digest; no row of them."""

    @abstractmethod
    def log_table(self, name: str, table: dict[str, list[Any]]) -> None:
        """Store columns of equal length as a table artifact."""

    @abstractmethod
    def log_text(self, name: str, text: str) -> None:
        """Store a text artifact under a file name."""

    @abstractmethod
    def log_figure(self, name: str, figure: Any) -> None:
        """Store a matplotlib figure as a picture under a file name."""

    @abstractmethod
    def log_summary(self, metrics: dict[str, float]) -> None:
        """Record final numbers of the run."""

    @abstractmethod
    def log_model(self, model: Any, params: Any, example: Any) -> None:
        """Store the final model so that it can be loaded again; `example` is rows (k, p)."""

    @abstractmethod
    def log_checkpoint(
        self,
        round: int,
        model: Any,
        params: Any,
        *,
        example: Any = None,
        dataset: SourceInfo | None = None,
    ) -> None:
        """Store the model as it is after a round that was logged.

        Parameters
        ----------
        round : int
            Whose evaluation is linked to the checkpoint.
        model, params
            The model, and its parameters of shape (d,).
        example : ndarray of shape (k, p), optional
            Rows that show what it takes.
        dataset : SourceInfo, optional
            The rows it was evaluated on.
        """


class NullTracker(Tracker):
    """Hears everything, keeps nothing."""

    def log(self, report: Report) -> None:
        """Do nothing."""

    def log_sources(self, sources: Sequence[SourceInfo]) -> None:
        """Do nothing."""

    def log_table(self, name: str, table: dict[str, list[Any]]) -> None:
        """Do nothing."""

    def log_text(self, name: str, text: str) -> None:
        """Do nothing."""

    def log_figure(self, name: str, figure: Any) -> None:
        """Do nothing."""

    def log_summary(self, metrics: dict[str, float]) -> None:
        """Do nothing."""

    def log_model(self, model: Any, params: Any, example: Any) -> None:
        """Do nothing."""

    def log_checkpoint(
        self,
        round: int,
        model: Any,
        params: Any,
        *,
        example: Any = None,
        dataset: SourceInfo | None = None,
    ) -> None:
        """Do nothing."""
