"""What runs at the workers: plain functions, from values to values that stay there.

A host holds sources and works for them; one host is also where payloads meet. The only values
that leave a host are payloads (to the meeting host), the model (from it) and reports.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.algorithms.base import LocalSolver
from msl.attacks.base import DataAttack
from msl.attempt import Attempt, Attempts, LateError
from msl.batch import Task, contribute_each
from msl.codecs import bundle
from msl.codecs.base import Codec
from msl.codecs.payload import Payload
from msl.errors import DataError, SourceError
from msl.fit import misfit
from msl.models.base import Model
from msl.plan import Plan
from msl.random import derive, generator
from msl.sources.base import Source, check_same
from msl.sources.cache import Cache
from msl.sources.corrupted import CorruptedSource
from msl.types import Data, Memory, SourceInfo, Vector

__all__ = [
    "Delivery",
    "Host",
    "Kept",
    "Sent",
    "Worked",
    "alone",
    "delivery_of",
    "forget",
    "halves",
    "hold",
    "infos_of",
    "judge",
    "load_held_out",
    "memories_of",
    "regrouped",
    "staying",
    "without",
    "work",
    "worked_before",
]

_HALVES_ROUNDS = 20
"""Rounds after which a model has learned wrong labels about as well as it ever will."""


@dataclass(frozen=True)
class Host:
    """Sources of one place, by rank; what is not loaded now is when it is asked for."""

    plan: Plan
    place: str
    data: Cache
    infos: dict[int, SourceInfo]


@dataclass(frozen=True)
class Sent:
    """One source's contribution on its way: everything the meeting host may know of it."""

    rank: int
    payload: Payload
    weight: float
    loss: float


@dataclass(frozen=True)
class Delivery:
    """What one host sends to where payloads meet; `late` are those dropped for want of time."""

    sent: tuple[Sent, ...]
    dropped: dict[int, str]
    seconds: float
    late: tuple[int, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a whole: one buffer, however many sources, beside those that are large."""
        told = [(s.rank, s.weight, s.loss) for s in self.sent]
        packed = bundle.pack([s.payload for s in self.sent])
        return _delivered, (told, *packed, self.dropped, self.seconds, self.late)


def _delivered(
    told: list[tuple[int, float, float]],
    heads: list[bundle.Head],
    blob: NDArray[np.uint8],
    large: list[NDArray[Any]],
    dropped: dict[int, str],
    seconds: float,
    late: tuple[int, ...],
) -> Delivery:
    """Return the delivery that was packed."""
    payloads = bundle.unpack(heads, blob, large)
    sent = tuple(
        Sent(rank, payload, weight, loss)
        for (rank, weight, loss), payload in zip(told, payloads, strict=True)
    )
    return Delivery(sent, dropped, seconds, late)


@dataclass(frozen=True)
class Kept:
    """What a source keeps until it is drawn again: memories, and the round they are of."""

    solving: Memory
    coding: Memory
    round: int


@dataclass(frozen=True)
class Worked:
    """A host's delivery, and the memories that stay with it, by rank.

    `hanging` are sources whose work did not end in time and goes on.
    """

    delivery: Delivery
    memories: dict[int, Kept]
    hanging: dict[int, Attempt] = field(default_factory=dict)


def hold(plan: Plan, place: str, sources: Sequence[tuple[int, Source]], room: float = inf) -> Host:
    """Describe sources at their place; corrupted ones with the labels they lie about.

    `room` bytes of rows stay loaded. One that cannot be loaded raises, or tells its trouble, as
    the plan's `on_failure` says.
    """
    empty = Host(plan, place, Cache(place, room, partial(_again, plan)), {})
    host = regrouped(empty, (), sources)
    if plan.waiting.limit is not None and host.data:
        _warm_up(host, next(iter(host.data)))
    return host


def regrouped(host: Host, ranks: Sequence[int], sources: Sequence[tuple[int, Source]]) -> Host:
    """Return a host of these ranks, which are here already, and of sources that come to it."""
    plan, infos = host.plan, {rank: host.infos[rank] for rank in ranks}
    for rank in set(host.data) - set(ranks):
        host.data.leave_out(rank)
    for rank, source in sources:
        if rank in plan.corrupted and isinstance(plan.attack, DataAttack):
            source = CorruptedSource(source, plan.attack, plan.n_classes or 0)
        try:
            infos[rank] = host.data.add(rank, source)
        except SourceError as error:
            if plan.on_failure == "raise":
                raise
            trouble = error.cause
            infos[rank] = SourceInfo(source.name, 0, 0, (), "", host.place, trouble=trouble)
    return replace(host, infos=infos)


def _warm_up(host: Host, rank: int) -> None:
    """Compile what a round needs, on two rows: it takes longer than many a deadline."""
    plan, data = host.plan, host.data[rank]
    weight = None if data.weight is None else data.weight[:2]
    few = Data(data.X[:2], data.y[:2], weight)
    params = plan.model.init(derive(plan.seed, "init"))
    solver, codec = plan.algorithm.solver(plan.model), plan.wire
    # What is wrong with a source is said in the rounds, by the plan's policy.
    with suppress(Exception):
        kept = _kept_first(solver, codec, params, 0)
        _contribution(plan.seed, solver, codec, params, few, kept, rank, 0)


def _again(plan: Plan, before: SourceInfo, now: SourceInfo) -> None:
    """Raise when rows that were loaded again changed, or too much where they may change."""
    if plan.trust_every is None:
        check_same(before, now)
    elif trouble := misfit(plan, now, before.features):
        raise DataError(trouble)


def without(host: Host, ranks: Sequence[int]) -> Host:
    """Return the host without sources that take no part."""
    for rank in ranks:
        host.data.leave_out(rank)
    return host


def forget(host: Host) -> None:
    """Let go of all rows that can be loaded again, as others will hold the sources now."""
    host.data.forget()


def infos_of(host: Host) -> dict[int, SourceInfo]:
    """Return what may be said of the host's sources."""
    return host.infos


def load_held_out(source: Source) -> Data:
    """Load the rows on which the model is judged."""
    return source.load()


def delivery_of(worked: Worked) -> Delivery:
    """Return what goes up to where payloads meet."""
    return worked.delivery


def memories_of(worked: Worked, ranks: Sequence[int]) -> dict[int, Kept]:
    """Return what these sources keep, for the place to which they move."""
    return {rank: worked.memories[rank] for rank in ranks if rank in worked.memories}


def worked_before(memories: Sequence[dict[int, Kept]]) -> Worked:
    """Return what sources keep that have come from several places."""
    return Worked(Delivery((), {}, 0.0), {rank: k for one in memories for rank, k in one.items()})


def staying(worked: Worked) -> Worked:
    """Return what the next round needs, so that payloads go when they have met."""
    return replace(worked, delivery=Delivery((), {}, worked.delivery.seconds))


def work(
    host: Host,
    before: Worked | None,
    model: Payload,
    ranks: Sequence[int],
    round: int,
    limit: float | None = None,
) -> Worked:
    """Solve and encode for the chosen sources of this host; those not ready in time are late."""
    start = perf_counter()
    plan, codec, params = host.plan, host.plan.wire, model.view()
    solver, memories = plan.algorithm.solver(plan.model), before.memories if before else {}
    solve: Callable[[int], tuple[Sent, Kept]]
    solve = partial(_contribute, host, solver, codec, params, memories, round)
    attempts, ready = None, {}
    if limit is None:
        ready = _contribute_each(host, solver, codec, params, memories, ranks, round)
    else:
        attempts = Attempts(solve, ranks, before.hanging if before else {}, round, limit)
        solve = attempts.outcome
    sent: list[Sent] = []
    kept: dict[int, Kept] = {}
    dropped: dict[int, str] = {}
    late: list[int] = []
    for rank in ranks:
        try:
            contribution, kept[rank] = ready.get(rank) or solve(rank)
        except LateError as error:
            late.append(rank)
            dropped[rank] = str(error)
        except Exception as error:
            cause = error.cause if isinstance(error, SourceError) else str(error)
            failure = SourceError(host.infos[rank].name, round, host.place, cause)
            if plan.on_failure == "raise":
                raise failure from error
            dropped[rank] = str(failure)
        else:
            sent.append(contribution)
    delivery = Delivery(tuple(sent), dropped, perf_counter() - start, tuple(late))
    return Worked(delivery, memories | kept, attempts.hanging if attempts else {})


def _contribute_each(
    host: Host,
    solver: LocalSolver,
    codec: Codec,
    params: Vector,
    memories: Mapping[int, Kept],
    ranks: Sequence[int],
    round: int,
) -> dict[int, tuple[Sent, Kept]]:
    """Return what `_contribute` does of small sources, by rank, without those where it raises."""

    def task(rank: int) -> Task:
        kept = memories.get(rank) or _kept_first(solver, codec, params, round)
        return Task(rank, host.data[rank], kept.solving, kept.coding, round - kept.round)

    return {
        rank: (Sent(rank, payload, update.weight, update.loss), Kept(solving, coding, round))
        for rank, update, solving, payload, coding in contribute_each(
            host.plan.seed, solver, codec, params, {r: host.infos[r] for r in ranks}, task, round
        )
    }


def _contribute(
    host: Host,
    solver: LocalSolver,
    codec: Codec,
    params: Vector,
    memories: Mapping[int, Kept],
    round: int,
    rank: int,
) -> tuple[Sent, Kept]:
    """Return one source's payload, and what it keeps."""
    kept = memories.get(rank) or _kept_first(solver, codec, params, round)
    data, seed = host.data[rank], host.plan.seed
    return _contribution(seed, solver, codec, params, data, kept, rank, round)


def _kept_first(solver: LocalSolver, codec: Codec, params: Vector, round: int) -> Kept:
    """Return what a source keeps before it is drawn for the first time."""
    return Kept(solver.init(len(params)), codec.init(len(params)), round - 1)


def _contribution(
    seed: int,
    solver: LocalSolver,
    codec: Codec,
    params: Vector,
    data: Data,
    kept: Kept,
    rank: int,
    round: int,
) -> tuple[Sent, Kept]:
    key = derive(seed, round, rank, "solve")
    update, solving = solver.solve(params, data, kept.solving, key, round)
    # Told, it is the round's: a codec that sends it as it is need not copy it.
    update.vector.flags.writeable = False
    payload, coding = codec.encode(
        update.vector,
        codec.carry(kept.coding, age=round - kept.round),
        key=derive(seed, round, rank, "encode"),
    )
    return Sent(rank, payload, update.weight, update.loss), Kept(solving, coding, round)


def judge(model: Model, params: Vector, held_out: Data) -> tuple[float, float]:
    """Return loss and score on held-out rows."""
    rows = held_out.X, held_out.y, held_out.weight
    return model.loss(params, *rows), model.score(params, *rows)


def alone(host: Host, held_out: Data) -> dict[int, tuple[float, float]]:
    """Train every source of this host by itself for all rounds: rank -> (loss, accuracy)."""
    plan = host.plan
    return {
        rank: judge(plan.model, _trained(plan, data, rank, plan.rounds), held_out)
        for rank, data in host.data.items()
    }


def _trained(plan: Plan, data: Data, rank: int, rounds: int) -> Vector:
    """Return the model of one source that nobody helps."""
    solver, rule = plan.algorithm.solver(plan.model), plan.algorithm.server()
    params = plan.model.init(derive(plan.seed, "init"))
    memory, server = solver.init(len(params)), rule.init(params)
    for round in range(rounds):
        update, memory = solver.solve(
            params, data, memory, derive(plan.seed, round, rank, "solve"), round
        )
        params, server = rule.step(params, update.vector, server)
    return params


def halves(host: Host) -> dict[int, float]:
    """Fit rows with wrong labels in a random half: rank -> how much better the other half does.

    An estimate of the largest difference of risks between two halves of a source over all models
    (Bartlett, Boucheron, Lugosi 2002): from below, as training need not find it.
    """
    plan, found = host.plan, {}
    for rank, data in host.data.items():
        wrong = np.arange(len(data)) < len(data) // 2
        generator(derive(plan.seed, "halves", rank)).shuffle(wrong)
        y = np.where(wrong, (data.y + 1) % (plan.n_classes or 2), data.y)
        params = _trained(plan, replace(data, y=y), rank, min(plan.rounds, _HALVES_ROUNDS))
        errors = plan.model.predict(params, data.X) != data.y
        found[rank] = max(0.0, float(errors[wrong].mean() - errors[~wrong].mean()))
    return found
