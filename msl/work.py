"""A round at a host: solve and encode for its sources, many small ones together, some in time."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter

from msl.algorithms.base import LocalSolver
from msl.attempt import Attempts, LateError
from msl.batch import Task, contribute_each
from msl.codecs.base import Codec
from msl.codecs.payload import Payload
from msl.delivery import Delivery, Kept, Sent, Worked
from msl.errors import SourceError
from msl.hosts import Host
from msl.random import derive
from msl.types import Data, Vector

__all__ = ["warm_up", "work"]


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


def warm_up(host: Host) -> None:
    """Compile what a round needs, on two rows: it takes longer than many a deadline."""
    if not host.data:
        return
    plan, rank = host.plan, next(iter(host.data))
    params = plan.model.init(derive(plan.seed, "init"))
    solver, codec = plan.algorithm.solver(plan.model), plan.wire
    # What is wrong with a source is said in the rounds, by the plan's policy.
    with suppress(Exception):
        data = host.data[rank]
        weight = None if data.weight is None else data.weight[:2]
        few = Data(data.X[:2], data.y[:2], weight)
        kept = _kept_first(solver, codec, params, 0)
        _contribution(plan.seed, solver, codec, params, few, kept, rank, 0)
