"""A checkpoint that was found, and how it is put back where the sources are now."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msl.checkpoints.manifest import Manifest, Part
from msl.checkpoints.places import read_memories, read_state, trouble_of
from msl.cluster.base import Executor, Handle
from msl.ledger import Ledger
from msl.plan import Plan
from msl.reports import Reports
from msl.types import SourceInfo

__all__ = ["Saved", "warn_of"]


@dataclass(frozen=True)
class Saved:
    """A checkpoint whose manifest and books are whole.

    Parameters
    ----------
    url : str
        Of the folder.
    manifest : Manifest
        What belongs to it.
    ledger : Ledger
        The books after its round.
    reports : Reports
        Of all rounds until then; whoever goes on with the run adds to them.
    """

    url: str
    manifest: Manifest
    ledger: Ledger
    reports: Reports

    @property
    def done(self) -> int:
        """How many rounds it is after."""
        return self.manifest.round + 1

    def books(self, infos: Sequence[SourceInfo], *, same_rows: bool = True) -> Ledger:
        """Return the books, with the sources where they are now.

        Parameters
        ----------
        infos : sequence of SourceInfo
            By rank, as they were just loaded.
        same_rows : bool
            Whether they must have the rows that they had.

        Raises
        ------
        PlanError
            When these are not the sources of the checkpoint.
        """
        return self.ledger.loaded_again(infos, same_rows=same_rows)

    def restore(
        self, plan: Plan, executor: Executor, root: str, ranks: Mapping[str, Sequence[int]]
    ) -> tuple[Handle, dict[str, Handle]] | None:
        """Put the state and the memories where they belong now.

        Parameters
        ----------
        plan, executor, root
            Of the run; payloads meet at the root.
        ranks : mapping from str to sequence of int
            Which sources each place has now.

        Returns
        -------
        met : Handle
            Of the state, at the root.
        worked : dict from str to Handle
            Of the memories, at each place. None in place of both, and a warning, when a place
            cannot read its part.
        """
        manifest, size = self.manifest, plan.model.layout.size
        met = executor.submit(read_state, self.url, manifest.state, size, at=root)
        parts, round = tuple(manifest.memories), manifest.round
        worked = {
            place: executor.submit(
                read_memories, self.url, _with(parts, mine), tuple(mine), round, at=place
            )
            for place, mine in ranks.items()
        }
        at = {root: [met]}
        for place, handle in worked.items():
            at.setdefault(place, []).append(handle)
        troubles = executor.gather(
            [executor.submit(trouble_of, h, at=place) for place, all_ in at.items() for h in all_]
        )
        if why := [trouble for trouble in troubles if trouble]:
            warn_of(self.url, round, "; ".join(dict.fromkeys(why)))
            return None
        return met, worked


def _with(parts: Sequence[Part], mine: Sequence[int]) -> tuple[Part, ...]:
    """Return the parts in which there is something of these sources."""
    wanted = set(mine)
    return tuple(part for part in parts if not wanted.isdisjoint(part.ranks or ()))


def warn_of(url: str, round: int, why: str) -> None:
    """Say that an older checkpoint will have to do."""
    warnings.warn(
        f"the checkpoint of round {round} in {url} cannot be used: {why}",
        RuntimeWarning,
        stacklevel=3,
    )
