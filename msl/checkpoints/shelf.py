"""The checkpoints of one run: written by all places, read by whoever holds the sources next."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from msl.checkpoints.file import packed
from msl.checkpoints.identity import differing
from msl.checkpoints.manifest import (
    MANIFEST,
    Manifest,
    Part,
    put_manifest,
    read_manifest,
    rounds_in,
    rounds_of,
)
from msl.checkpoints.places import (
    Trouble,
    read_part,
    write_memories,
    write_part,
    write_state,
)
from msl.checkpoints.saved import Saved, warn_of
from msl.checkpoints.store import Folder
from msl.cluster.base import Executor, Handle
from msl.errors import CheckpointError
from msl.ledger import Ledger
from msl.reports import Reports
from msl.types import Report

__all__ = ["Shelf"]


@dataclass(frozen=True)
class Shelf:
    """What is known of a run's checkpoints; a new one after every save.

    Parameters
    ----------
    url : str
        The folder's name at every place.
    every, keep : int
        As in `Checkpoints`.
    plan : mapping from str to str
        What `digests` says of it.
    told : tuple of Part
        Files with the reports so far: every one is written once.
    done : int
        How many rounds the last checkpoint is after.
    failing : bool
        Whether the last save failed; that is said once.
    """

    url: str
    every: int
    keep: int
    plan: Mapping[str, str]
    told: tuple[Part, ...] = ()
    done: int = 0
    failing: bool = False

    def due(self, done: int) -> bool:
        """Return whether there is to be a checkpoint after so many rounds."""
        return done > self.done and done % self.every == 0

    def saved(self, *, required: bool = False) -> Iterator[Saved]:
        """Yield the checkpoints, the newest first; warn of those that cannot be used.

        Parameters
        ----------
        required : bool
            Whether it is an error when there are some and none is taken.

        Raises
        ------
        CheckpointError
            When one was required.
        """
        folder = Folder(self.url)
        found = rounds_in(folder)
        for round in found:
            try:
                saved = self._open(folder, round)
            except Exception as error:
                # A store that does not give it, whatever it raises, is no better than damage.
                warn_of(self.url, round, str(error))
            else:
                yield saved
        if found and required:
            raise CheckpointError(
                f"none of the {len(found)} checkpoint(s) in {self.url} can be used; the warnings "
                "say why. To start anew, give the run another folder"
            )

    def _open(self, folder: Folder, round: int) -> Saved:
        manifest = read_manifest(folder, round)
        if other := differing(manifest.plan, self.plan):
            raise CheckpointError(f"it was made with another {', '.join(other)}")
        ledger = read_part(self.url, manifest.books)
        if not isinstance(ledger, Ledger) or ledger.rounds != round + 1:
            raise CheckpointError(f"{manifest.books.name} holds no books of {round + 1} rounds")
        return Saved(self.url, manifest, ledger, self._reports(manifest))

    def _reports(self, manifest: Manifest) -> Reports:
        reports = Reports()
        for part in manifest.reports:
            for report in read_part(self.url, part):
                if not isinstance(report, Report) or report.round != len(reports):
                    raise CheckpointError(f"{part.name} does not go on with round {len(reports)}")
                reports.append(report)
        if len(reports) != manifest.round + 1:
            raise CheckpointError(f"its reports end after {len(reports)} rounds")
        return reports

    def after(self, saved: Saved | None) -> "Shelf":
        """Return the shelf as it was after a checkpoint, or before the first."""
        if saved is None:
            return replace(self, told=(), done=0)
        return replace(self, told=tuple(saved.manifest.reports), done=saved.done)

    def save(
        self,
        executor: Executor,
        root: str,
        met: Handle,
        worked: Mapping[str, Handle],
        ledger: Ledger,
        reports: Sequence[Report],
    ) -> "Shelf":
        """Write a checkpoint after all rounds that were reported, and remove old ones.

        Every place writes its own part at the same time; the manifest comes last, so that a
        checkpoint is there whole or not at all. When something cannot be written, a warning says
        so, the older checkpoints stay, and the next save tries again.

        Parameters
        ----------
        executor, root, met, worked
            Where payloads meet, and handles of what is there (`Met`) and at each place (`Worked`).
        ledger, reports
            The books, and all reports since round 0.

        Raises
        ------
        CheckpointError
            When a part of the plan keeps what no file can hold; names it.
        WorkerLostError
            When a place is gone.
        """
        name, folder = f"{reports[-1].round:06d}", Folder(self.url)
        books, news = packed(ledger, "ledger"), packed(list(reports[self.done :]), "reports")
        handles = [executor.submit(write_state, met, self.url, name, at=root)]
        for i, (place, handle) in enumerate(sorted(worked.items())):
            handles.append(executor.submit(write_memories, handle, self.url, name, i, at=place))
        written = executor.gather(handles)
        try:
            state, *memories = (_seen(folder, part) for part in written)
            told = f"reports-{self.done:06d}-{name}.tree"
            manifest = Manifest(
                round=reports[-1].round,
                plan=dict(self.plan),
                state=state,
                memories=memories,
                books=write_part(self.url, f"{name}/books.tree", books),
                reports=[*self.told, write_part(self.url, told, news)],
            )
            put_manifest(folder, manifest)
            _prune(folder, self.keep)
        except Exception as error:
            # Every store raises errors of its own, and none of them may end a training.
            return self._failed(folder, name, error)
        return replace(self, told=tuple(manifest.reports), done=len(reports), failing=False)

    def _failed(self, folder: Folder, name: str, error: Exception) -> "Shelf":
        """Make room again, and say once what does not work."""
        try:
            if not folder.has(f"{name}/{MANIFEST}"):
                folder.remove(name)
        except Exception as again:
            error.add_note(f"and what was written so far cannot be removed: {again}")
        if not self.failing:
            warnings.warn(
                f"checkpoint {name} in {self.url} failed: {error}; training goes on, and the next "
                "one will be tried",
                RuntimeWarning,
                stacklevel=3,
            )
        return replace(self, failing=True)


def _seen(folder: Folder, part: Part | Trouble) -> Part:
    """Return a part that was written, if it can be seen from here as well."""
    if isinstance(part, Trouble):
        raise CheckpointError(part.why)
    if not folder.has(part.name) or folder.size(part.name) != part.nbytes:
        raise CheckpointError(
            f"{part.name} was written at its place and is not seen here; the folder must be one "
            "that all places reach"
        )
    return part


def _prune(folder: Folder, keep: int) -> None:
    """Remove what is older than the checkpoints to keep, or was broken off before the newest."""
    kept = rounds_in(folder)[:keep]
    for round in rounds_of(folder.names()):
        if round < kept[0] and round not in kept:
            # Without its manifest it is none, should the rest of it stay for a while.
            folder.remove(f"{round:06d}/{MANIFEST}")
            folder.remove(f"{round:06d}")
