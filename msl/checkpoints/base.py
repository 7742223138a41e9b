"""Checkpoints of a run: all that its rounds go on from, so that a restart changes no bit."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from msl.checkpoints.identity import differing, digests
from msl.checkpoints.lock import held
from msl.checkpoints.manifest import RUN, Run, put_run, read_run
from msl.checkpoints.saved import Saved
from msl.checkpoints.shelf import Shelf
from msl.checkpoints.store import Folder
from msl.errors import PlanError
from msl.plan import Plan

__all__ = ["Checkpoints", "Saved", "Shelf", "run_of"]


@dataclass(frozen=True)
class Checkpoints:
    """Where a run can be taken up again, and how often.

    Parameters
    ----------
    folder : str
        Of this run alone; a path, or what fsspec takes (``s3://...``). All places must reach it.
    every : int
        Rounds between two checkpoints, at least 1.
    keep : int
        How many are kept, at least 1. The one before the last is what is left when the last one
        turns out to be damaged.
    """

    folder: str
    every: int = 10
    keep: int = 2

    def __post_init__(self) -> None:
        if self.every < 1 or self.keep < 1:
            raise PlanError(
                f"checkpoints need every >= 1 and keep >= 1, got {self.every} and {self.keep}"
            )

    @property
    def begun(self) -> bool:
        """Whether a run has begun to keep its checkpoints here."""
        return Folder(self.folder).has(RUN)

    def held(self) -> AbstractContextManager[None]:
        """Keep other drivers out of the folder meanwhile, where it is one of local files.

        `train` does so by itself; do it before a tracker goes on with the run, which a second
        driver must not touch either.

        Raises
        ------
        CheckpointError
            On entering, when another driver holds it; says which, and since when.
        """
        return held(Folder(self.folder))

    def open(self, plan: Plan, *, resume: bool = False, run: str | None = None) -> Shelf:
        """Return the shelf of a new run, or of one to go on with.

        Parameters
        ----------
        plan : Plan
            Of the run. With another number of rounds, other evaluations, guarantees or another
            policy on failures it is still the same run.
        resume : bool
            Whether to go on with the run whose folder this is.
        run : str, optional
            How the tracker calls it.

        Raises
        ------
        PlanError
            When a new run finds the folder of another one; when there is no run to resume, or it
            has another plan.
        CheckpointError
            When what is there cannot be read.
        """
        folder, own = Folder(self.folder), digests(plan)
        if resume:
            if other := differing(_run_in(self.folder).plan, own):
                raise PlanError(
                    f"the run in {self.folder} was started with another {', '.join(other)}: "
                    "resume it with the file it was started with"
                )
        elif read_run(folder) is not None:
            raise PlanError(
                f"{self.folder} holds the checkpoints of a run: resume it, or give each run a "
                "folder of its own"
            )
        else:
            put_run(folder, Run(plan=own, run=run))
        return Shelf(folder.url, self.every, self.keep, own)


def run_of(folder: str) -> str | None:
    """Return how the tracker calls the run whose checkpoints these are.

    Raises
    ------
    PlanError
        When there is no run.
    """
    return _run_in(folder).run


def _run_in(folder: str) -> Run:
    found = read_run(Folder(folder))
    if found is None:
        raise PlanError(f"{folder} holds no run to go on with")
    return found
