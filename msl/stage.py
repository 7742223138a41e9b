"""Who is where: sources are dealt to places, loaded, checked and judged; where a run begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from msl import hosts, meeting
from msl.bounds.capacity import Capacity, Measured
from msl.cluster.base import Executor, Handle
from msl.codecs.none import Identity
from msl.dealing import deal
from msl.errors import DataError, PlanError
from msl.fit import check_fit, filled, usable
from msl.meeting import Met
from msl.plan import Plan
from msl.samplers.base import Candidates
from msl.sources.base import Source
from msl.trust.all import TrustAll
from msl.trust.base import Held, TrustReport
from msl.types import SourceInfo, Vector
from msl.work import warm_up

__all__ = ["Flight", "Stage", "Standing", "Start", "first_standing", "set_stage", "with_new_server"]


@dataclass(frozen=True)
class Stage:
    """Who is where: handles of what stays put during a run.

    Parameters
    ----------
    hosts : dict from str to Handle
        The loaded sources of each place that has some.
    ranks : dict from str to tuple of int
        Which sources those are.
    root : str
        Where payloads meet.
    held_out : Handle
        The held-out rows at the root, or None.
    verdict : TrustReport
        Whom the trust rule believes, and why.
    capacity : Capacity, optional
        Of the models, where something is guaranteed.
    """

    plan: Plan
    executor: Executor
    hosts: dict[str, Handle]
    ranks: dict[str, tuple[int, ...]]
    infos: tuple[SourceInfo, ...]
    root: str
    held_out: Handle
    verdict: TrustReport
    capacity: Capacity | None

    @property
    def taking_part(self) -> tuple[SourceInfo, ...]:
        """The sources that can be learned from."""
        return tuple(info for info in self.infos if not info.trouble)

    @cached_property
    def believed(self) -> tuple[float, ...]:
        """Weight of each rank in [0, 1], from the trust rule; 0 for those that take no part."""
        weights = zip(self.verdict.weights, self.infos, strict=True)
        return tuple(0.0 if info.trouble else weight for weight, info in weights)

    @cached_property
    def candidates(self) -> Candidates:
        """The sources that may be drawn; PlanError when none is believed."""
        return Candidates.of(self.infos, self.believed)

    @cached_property
    def counts(self) -> Handle:
        """At the root, once: how much each rank counts when it is drawn, without its rows."""
        plan, open_to = self.plan, self.candidates
        counts = np.zeros(len(self.infos))
        counts[open_to.ranks] = plan.sampler.counts(
            open_to, plan.waiting.drawn(plan.per_round or len(open_to)), plan.by_rows
        )
        return self.executor.scatter(tuple(counts.tolist()), at=self.root)

    @cached_property
    def place_of(self) -> dict[int, str]:
        """Where each rank is."""
        return {rank: place for place, ranks in self.ranks.items() for rank in ranks}

    def forget(self) -> None:
        """Make room for another stage with the same sources."""
        for place, host in self.hosts.items():
            self.executor.submit(hosts.forget, host, at=place)

    @property
    def task(self) -> tuple[object, ...]:
        """What is to be learned: equal where the same rows are believed, and as far."""
        return self.believed, *(info.digest for info in self.infos)


@dataclass(frozen=True)
class Flight:
    """A place at work on the model of a round: for whom, what it will send, and its memories then.

    The model is kept until the place has come back: it may not have fetched it yet. In a replay
    it is known in which round that is `due`.
    """

    place: str
    round: int
    ranks: tuple[int, ...]
    delivery: Handle
    worked: Handle
    model: Handle
    due: int | None


@dataclass(frozen=True)
class Standing:
    """How far a run has come: handles of the state, and of each host's memories.

    `flights` are the places that nobody waited for.
    """

    met: Handle
    worked: dict[str, Handle]
    flights: tuple[Flight, ...] = ()


@dataclass(frozen=True)
class Start:
    """Where to begin: parameters, the server's state if it goes on, and the number of the round."""

    params: Vector
    server: Any = None
    round: int = 0

    def check(self, plan: Plan) -> None:
        """Raise PlanError when the plan has another model, or no such round."""
        shape, rounds = (plan.model.layout.size,), plan.rounds
        fits = self.params.shape == shape and self.params.dtype == np.float32
        if not fits or not 0 <= self.round < rounds:
            raise PlanError(
                f"a start needs float32 parameters of shape {shape} and a round in "
                f"0..{rounds - 1}, got {self.params.dtype} {self.params.shape} and {self.round}"
            )


def set_stage(
    plan: Plan,
    sources: Sequence[Source],
    held_out: Source | None,
    executor: Executor,
    verdict: TrustReport | None = None,
    before: Stage | None = None,
) -> Stage:
    """Describe every source at its place; ask whom to believe, if not told.

    After a stage on the same executor sources stay where they are if they can: only those are
    loaded that have to move. A source that cannot be loaded, or has other columns or classes than
    the model, ends this with an error, or takes no part, as the plan's `on_failure` says.
    """
    if held_out is not None and held_out.machine is not None:
        raise PlanError(
            f"held-out rows are loaded where updates meet: {held_out.name!r} cannot be pinned"
        )
    ranks = deal(sources, executor, before.place_of if before else {})
    held = {
        place: _held(plan, place, mine, sources, executor, before) for place, mine in ranks.items()
    }
    root = plan.collective.meeting_place(tuple(ranks))
    if before is not None and before.root == root:
        judged = before.held_out
    else:
        judged = executor.submit(hosts.load_held_out, held_out, at=root) if held_out else None
    if plan.waiting.limit is not None:
        # A place that was at work is warm, and a source that hangs would hold it up.
        for place, host in held.items():
            if before is None or place not in before.hosts:
                executor.submit(warm_up, host, at=place)
    told = executor.gather(
        [executor.submit(hosts.infos_of, held[place], at=place) for place in ranks]
    )
    infos = tuple(info for _, info in sorted((r, i) for one in told for r, i in one.items()))
    infos = check_fit(plan, infos)
    able = usable(plan, infos)
    where = {rank: place for place, mine in ranks.items() for rank in mine}
    for place in {where[rank] for rank, info in enumerate(infos) if info.trouble}:
        out = tuple(rank for rank in ranks[place] if infos[rank].trouble)
        held[place] = executor.submit(hosts.without, held[place], out, at=place)
    sources_held = [Held(rank, infos[rank], held[where[rank]], where[rank]) for rank in able]
    sparse = [infos[rank].name for rank in able if infos[rank].sparse]
    if sparse and not isinstance(plan.trust, TrustAll):
        raise DataError(
            f"trust rule {plan.trust.name} compares dense rows, source {sparse[0]!r} has sparse "
            "ones: load them dense, or believe all of them"
        )
    if verdict is None:
        verdict = filled(plan.trust.weigh(sources_held, executor), able, len(infos))
    capacity = before.capacity if before else None
    if capacity is None:
        capacity = _capacity(plan, held, [infos[rank] for rank in able], executor)
    return Stage(plan, executor, held, ranks, infos, root, judged, verdict, capacity)


def _held(
    plan: Plan,
    place: str,
    ranks: Sequence[int],
    sources: Sequence[Source],
    executor: Executor,
    before: Stage | None,
) -> Handle:
    """Return the host of a place's sources; those that are there already are not sent again."""
    there = frozenset(before.ranks.get(place, ())) if before else frozenset()
    stay = tuple(rank for rank in ranks if rank in there)
    come = tuple((rank, sources[rank]) for rank in ranks if rank not in there)
    if before is None or not stay:
        return executor.submit(hosts.hold, plan, place, come, executor.room(place), at=place)
    return executor.submit(hosts.regrouped, before.hosts[place], stay, come, at=place)


def _capacity(
    plan: Plan, held: Mapping[str, Handle], infos: Sequence[SourceInfo], executor: Executor
) -> Capacity | None:
    """Return the size of the models' class: known, asked for or measured at the sources."""
    if plan.guarantee is None:
        return None
    if plan.guarantee.capacity != "measured":
        return plan.capacity
    told = executor.gather(
        [executor.submit(hosts.halves, host, at=place) for place, host in held.items()]
    )
    gaps = np.array([gap for _, gap in sorted((r, g) for one in told for r, g in one.items())])
    return Measured.of_sources(gaps[None], np.array([info.rows for info in infos]))


def first_standing(stage: Stage, start: Start | None = None) -> Standing:
    """Return the standing before the first round."""
    n = len(stage.infos)
    return Standing(stage.executor.submit(_begin, stage.plan, n, start, at=stage.root), {})


def _begin(plan: Plan, n: int, start: Start | None) -> Met:
    met = meeting.begin(plan, n)
    if start is None:
        return met
    state = replace(met.state, params=start.params, server=start.server)
    met = replace(met, state=state, model=Identity().encode(start.params)[0])
    return met if start.server is not None else with_new_server(plan, met)


def with_new_server(plan: Plan, met: Met) -> Met:
    """Return the state for another task: the server has yet to learn of it, the model stays."""
    server = plan.algorithm.server().init(met.state.params)
    return replace(met, state=replace(met.state, server=server))
