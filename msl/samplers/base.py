"""The contract of a sampler: which k of n sources take part in a round.

A choice is a pure function of (candidates, k, key, round): nothing is kept between rounds, so
any number of workers, a replay after a loss and a resumed run choose the same sources. That is
why nothing measured during the run, such as speed or place, may enter it.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from re import compile as pattern
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from msl.errors import PlanError
from msl.types import SourceInfo

__all__ = ["Candidates", "Sampler"]

Positions = NDArray[np.integer[Any]]
"""(k,) places among the candidates, 0..n-1, no two equal."""

_LAST_PART = pattern(r"[-_./ ][^-_./ ]*$")


@dataclass(frozen=True, eq=False)
class Candidates:
    """The n sources that may be drawn, by rank; made once, asked every round.

    Parameters
    ----------
    ranks : ndarray of shape (n,)
        Ascending.
    weights : ndarray of shape (n,)
        How much each is believed, in (0, 1].
    rows : ndarray of shape (n,)
        How many rows each says it has, >= 1.
    classes : tuple of tuple of int
        The class numbers each says it has; empty for real targets.
    names : tuple of str
    """

    ranks: NDArray[np.int64]
    weights: NDArray[np.float64]
    rows: NDArray[np.int64]
    classes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, infos: Sequence[SourceInfo], believed: Sequence[float]) -> Self:
        """Return the sources that are believed at all.

        Raises
        ------
        PlanError
            When none is.
        """
        ranks = np.flatnonzero(np.asarray(believed) > 0)
        if not len(ranks):
            raise PlanError("the trust rule believes no source; there is nothing to learn from")
        mine = [infos[rank] for rank in ranks.tolist()]
        return cls(
            ranks,
            np.asarray(believed, np.float64)[ranks],
            np.array([info.rows for info in mine], np.int64),
            tuple(info.classes for info in mine),
            tuple(info.name for info in mine),
        )

    def __len__(self) -> int:
        return len(self.ranks)

    def without(self, ranks: Collection[int]) -> "Candidates":
        """Return the others."""
        if not ranks:
            return self
        keep = np.flatnonzero(~np.isin(self.ranks, list(ranks)))
        return Candidates(
            self.ranks[keep],
            self.weights[keep],
            self.rows[keep],
            tuple(self.classes[i] for i in keep.tolist()),
            tuple(self.names[i] for i in keep.tolist()),
        )

    @cached_property
    def class_sets(self) -> NDArray[np.unsignedinteger[Any]]:
        """(n,) number of the set of classes a source has: equal sets, equal numbers."""
        return _numbered(self.classes)

    @cached_property
    def name_groups(self) -> NDArray[np.unsignedinteger[Any]]:
        """(n,) number of the group a name says: the name without its last part, if it has two.

        Parts end at ``-``, ``_``, ``.``, ``/`` or a blank: lyon-03 and lyon-07 are one group.
        """
        return _numbered([_LAST_PART.sub("", name) for name in self.names])


def _numbered(labels: Sequence[Hashable]) -> NDArray[np.unsignedinteger[Any]]:
    """Return each label's number in order of appearance, 0..count - 1."""
    number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    # In the smallest type: NumPy sorts 16 bits by radix, ten times as fast as 64.
    return np.array([number[label] for label in labels], np.min_scalar_type(len(number)))


class Sampler(ABC):
    """Draws k of n sources without replacement; a frozen dataclass.

    A source that is drawn more often than another counts more in the long run. What is in the
    draw must not be in the weight of an update too, so a run weighs updates by `counts`: there
    the chance of the draw is divided out (Horvitz and Thompson, JASA 1952), and a plan's
    `weights` keep their meaning: "rows" aims at the mean over all rows, "equal" at the mean over
    sources, both times what is believed (but see `weighted` by rows). An aggregator divides by
    the sum of the weights, so the expected mean of a round *is* that mean when this sum is the
    same in every draw:

    - weights "equal", all believed alike: `uniform`, `cyclic`, `stratified`
    - weights "rows" ("auto" with the mean), all believed alike: `weighted` by rows
    - weights "equal": `weighted` by belief

    Otherwise it is a ratio estimate, off by a term of order 1 / k.
    """

    name: ClassVar[str]

    def inclusion(self, candidates: Candidates, k: int) -> NDArray[np.float64]:
        """Return (n,) the probability, over all keys, that each source is drawn in a round."""
        return np.full(len(candidates), min(1.0, k / len(candidates)))

    def counts(self, candidates: Candidates, k: int, by_rows: bool) -> NDArray[np.float64]:
        """Return (n,) how much an update counts when its source is drawn, without its rows.

        Parameters
        ----------
        candidates, k
            As for `choose`.
        by_rows : bool
            Whether the run multiplies this by the rows of the source.
        """
        return candidates.weights

    def choose(self, candidates: Candidates, k: int, key: int, round: int) -> tuple[int, ...]:
        """Return the ranks of a round, ascending: k of them, or all when there are no more.

        Parameters
        ----------
        candidates : Candidates
            The n sources that may be drawn.
        k : int
            How many, at least 1.
        key : int
            Of the run, 0 <= key < 2**64.
        round : int
            Number of the round, from 0.

        Raises
        ------
        PlanError
            When k is less than 1.
        """
        if k < 1:
            raise PlanError(f"a round needs at least 1 source, got k = {k}")
        if k >= len(candidates):
            return tuple(candidates.ranks.tolist())
        positions = self.draw(candidates, k, key, round)
        return tuple(np.sort(candidates.ranks[positions]).tolist())

    @abstractmethod
    def draw(self, candidates: Candidates, k: int, key: int, round: int) -> Positions:
        """Return the places of k of the n candidates, k < n; what `choose` is made of."""
