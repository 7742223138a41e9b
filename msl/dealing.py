"""At which place each source lives: where it is pinned to, and else where there are fewest."""

from collections.abc import Mapping, Sequence
from math import ceil
from types import MappingProxyType
from typing import Protocol

from msl.cluster.base import Executor

__all__ = ["Sited", "deal"]

_NOWHERE: Mapping[int, str] = MappingProxyType({})


class Sited(Protocol):
    """Something with a name that may have to be on one machine."""

    @property
    def name(self) -> str:
        """What an error calls it."""

    @property
    def machine(self) -> str | None:
        """Where it has to be, anywhere when None."""


def deal(
    sources: Sequence[Sited], executor: Executor, before: Mapping[int, str] = _NOWHERE
) -> dict[str, tuple[int, ...]]:
    """Return the ranks of each place that has some; waits for the machines that sources need.

    Without pinned sources rank i is at place i modulo their number. A source that was at a place
    before stays there, unless the place has more than its share.

    Raises
    ------
    PlanError
        When a machine has no worker after as long as the executor is patient; names the source.
    """
    executor.expect(len(sources), {s.machine: s.name for s in reversed(sources) if s.machine})
    places = executor.places
    found: dict[str, list[int]] = {place: [] for place in places}
    open_to = {s.machine: places for s in sources}
    for machine in open_to.keys() - {None}:
        open_to[machine] = tuple(p for p in places if machine in executor.machines[p])
    fair = ceil(len(sources) / len(places))
    dealt = []
    # Pinned ones have no choice; the others even out.
    for rank in sorted(range(len(sources)), key=lambda rank: sources[rank].machine is None):
        place = before.get(rank)
        if place in open_to[sources[rank].machine] and len(found[place]) < fair:
            found[place].append(rank)
        else:
            dealt.append(rank)
    for rank in dealt:
        place = min(open_to[sources[rank].machine], key=lambda place: len(found[place]))
        found[place].append(rank)
    return {place: tuple(sorted(ranks)) for place, ranks in found.items() if ranks}
