"""What runs at the workers: plain functions, from values to values that stay there.

A host holds sources and works for them; one host is also where payloads meet. The only values
that leave a host are payloads (to the meeting host), the model (from it) and reports.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from msl.attacks.base import Attack, DataAttack
from msl.codecs.base import Codec
from msl.codecs.none import Identity
from msl.codecs.parts import Parts, bits_of_blocks
from msl.codecs.payload import Payload
from msl.errors import DataError, MslError, PayloadError, SourceError
from msl.models.base import Model
from msl.plan import Plan
from msl.random import derive
from msl.sources.base import Source, info_of
from msl.sources.corrupted import CorruptedSource
from msl.types import Data, Memory, Report, Rows, SourceInfo, Vector

__all__ = [
    "Delivery",
    "Host",
    "Met",
    "State",
    "Worked",
    "alone",
    "begin",
    "hold",
    "load_held_out",
    "meet",
    "work",
]


@dataclass(frozen=True)
class Host:
    """Loaded sources of one place, by rank."""

    plan: Plan
    place: str
    data: dict[int, Data]
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
    """What one host sends to where payloads meet."""

    sent: tuple[Sent, ...]
    dropped: dict[int, str]
    seconds: float


@dataclass(frozen=True)
class Kept:
    """What a source keeps until it is drawn again: memories, and the round they are of."""

    solving: Memory
    coding: Memory
    round: int


@dataclass(frozen=True)
class Worked:
    """A host's delivery, and the memories that stay with it, by rank."""

    delivery: Delivery
    memories: dict[int, Kept]


@dataclass(frozen=True)
class State:
    """Where a run stands between two rounds; lives where payloads meet."""

    params: Vector
    server: Any
    memory: Memory
    bytes_total: int
    layers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Met:
    """The state after a round, the model as it is sent down, and what the client hears."""

    state: State
    model: Payload
    report: Report | None


def hold(plan: Plan, place: str, sources: Sequence[tuple[int, Source]]) -> Host:
    """Load sources at their place; corrupted ones with the labels they lie about."""
    data, infos = {}, {}
    for rank, source in sources:
        if rank in plan.corrupted and isinstance(plan.attack, DataAttack):
            source = CorruptedSource(source, plan.attack, plan.n_classes or 0)
        try:
            data[rank] = source.load()
        except Exception as error:
            raise SourceError(source.name, -1, place, str(error)) from error
        infos[rank] = info_of(source.name, data[rank], place)
    return Host(plan, place, data, infos)


def infos_of(host: Host) -> dict[int, SourceInfo]:
    """Return what may be said of the host's sources."""
    return host.infos


def load_held_out(source: Source) -> Data:
    """Load the rows on which the model is judged."""
    return source.load()


def begin(plan: Plan, n: int) -> Met:
    """Return the state before round 0."""
    params = plan.model.init(derive(plan.seed, "init"))
    server = plan.algorithm.server().init(params)
    memory = plan.aggregator.init(plan.per_round or n, len(params))
    return Met(State(params, server, memory, 0), Identity().encode(params)[0], None)


def model_of(met: Met) -> Payload:
    """Return what goes down to the sources."""
    return met.model


def report_of(met: Met) -> Report | None:
    """Return what goes to the client."""
    return met.report


def params_of(met: Met) -> Vector:
    """Return the parameters, for the end of a run."""
    return met.state.params


def delivery_of(worked: Worked) -> Delivery:
    """Return what goes up to where payloads meet."""
    return worked.delivery


def work(
    host: Host, before: Worked | None, model: Payload, ranks: Sequence[int], round: int
) -> Worked:
    """Solve and encode for the chosen sources of this host."""
    start = perf_counter()
    plan, codec, params = host.plan, host.plan.wire, model.decode()
    params.flags.writeable = False
    memories = dict(before.memories) if before else {}
    sent: list[Sent] = []
    dropped: dict[int, str] = {}
    for rank in ranks:
        try:
            contribution, memories[rank] = _contribute(
                plan, codec, params, host.data[rank], memories.get(rank), rank, round
            )
        except Exception as error:
            failure = SourceError(host.infos[rank].name, round, host.place, str(error))
            if plan.on_failure == "raise":
                raise failure from error
            dropped[rank] = str(failure)
        else:
            sent.append(contribution)
    return Worked(Delivery(tuple(sent), dropped, perf_counter() - start), memories)


def _contribute(
    plan: Plan, codec: Codec, params: Vector, data: Data, kept: Kept | None, rank: int, round: int
) -> tuple[Sent, Kept]:
    """Return one source's payload, and what it keeps."""
    solver = plan.algorithm.solver(plan.model)
    if kept is None:
        kept = Kept(solver.init(len(params)), codec.init(len(params)), round - 1)
    update, solving = solver.solve(
        params, data, kept.solving, derive(plan.seed, round, rank, "solve"), round
    )
    payload, coding = codec.encode(
        update.vector,
        codec.carry(kept.coding, age=round - kept.round),
        key=derive(plan.seed, round, rank, "encode"),
    )
    return Sent(rank, payload, update.weight, update.loss), Kept(solving, coding, round)


def meet(
    host: Host,
    before: Met,
    deliveries: Sequence[Delivery],
    believed: Sequence[float],
    held_out: Data | None,
    round: int,
) -> Met:
    """Decode, attack (simulation), aggregate, step, evaluate: the server's part of a round."""
    start = perf_counter()
    plan, state = host.plan, before.state
    # By rank, whatever host came first: float sums depend on the order.
    sent = sorted((s for d in deliveries for s in d.sent), key=lambda s: s.rank)
    dropped = {rank: why for d in deliveries for rank, why in d.dropped.items()}
    if not sent:
        raise MslError(f"no update in round {round}: {'; '.join(dropped.values())}")
    rows = np.empty((len(sent), len(state.params)), np.float32)
    for row, s in zip(rows, sent, strict=True):
        _decode(s, row, round)
    _attack(plan, rows, [s.rank for s in sent], round)
    plan.aggregator.check(len(rows))
    weights = np.array([s.weight * believed[s.rank] for s in sent])
    aggregated = plan.aggregator.aggregate(rows, weights, state.memory)
    params, server = plan.algorithm.server().step(state.params, aggregated.vector, state.server)
    if not np.isfinite(params).all():
        raise DataError(f"the model is no longer finite after round {round}; lower the lr")
    model = Identity().encode(params)[0]
    met = perf_counter() - start
    loss, accuracy = _evaluate(plan, params, held_out, round)
    up = sum(s.payload.nbytes for s in sent)
    down = before.model.nbytes * (len(sent) + len(dropped))
    total = state.bytes_total + up + down
    layers = _layers(plan, sent)
    report = Report(
        round=round,
        participants=tuple(s.rank for s in sent),
        given=tuple(aggregated.given.tolist()),
        source_loss=tuple(s.loss for s in sent),
        dropped=dropped,
        bytes_up=up,
        bytes_down=down,
        bytes_up_dense=4 * rows.size,
        bytes_total=total,
        step_norm=float(np.linalg.norm((params - state.params).astype(np.float64))),
        seconds={
            "solve": max(d.seconds for d in deliveries),
            "meet": met,
            "evaluate": perf_counter() - start - met,
        },
        loss=loss,
        accuracy=accuracy,
        layers={} if layers == state.layers else layers,
    )
    return Met(State(params, server, aggregated.memory, total, layers), model, report)


def _decode(sent: Sent, row: Vector, round: int) -> None:
    """Decode a payload into its row; an error says whose it is."""
    try:
        if sent.payload.size != len(row):
            raise PayloadError(f"{sent.payload.size} numbers for a model of {len(row)}")
        sent.payload.decode(out=row)
    except PayloadError as error:
        raise PayloadError(f"update of source {sent.rank} in round {round}: {error}") from error


def _layers(plan: Plan, sent: Sequence[Sent]) -> dict[str, float]:
    """Return the mean bits per number of every block, where payloads are cut into blocks."""
    found = [bits_of_blocks(s.payload) for s in sent if isinstance(s.payload.codec, Parts)]
    names = [name for name, _ in plan.model.layout.blocks]
    if not found or any(len(bits) != len(names) for bits in found):
        return {}
    return dict(zip(names, np.mean(found, axis=0).tolist(), strict=True))


def _attack(plan: Plan, rows: Rows, ranks: Sequence[int], round: int) -> None:
    """Replace the rows of corrupted sources in place; what they send passes the codec too."""
    if not isinstance(plan.attack, Attack):
        return
    lying = np.isin(ranks, plan.corrupted)
    if not lying.any() or lying.all():
        return
    forged = plan.attack(rows[~lying], int(lying.sum()), derive(plan.seed, round, "attack"))
    for index, row in zip(np.flatnonzero(lying).tolist(), forged, strict=True):
        key = derive(plan.seed, round, ranks[index], "encode")
        plan.wire.encode(row, key=key)[0].decode(out=rows[index])


def _evaluate(
    plan: Plan, params: Vector, held_out: Data | None, round: int
) -> tuple[float | None, float | None]:
    last = round == plan.rounds - 1
    if held_out is None or not (last or round % plan.evaluate_every == 0):
        return None, None
    return judge(plan.model, params, held_out)


def judge(model: Model, params: Vector, held_out: Data) -> tuple[float, float]:
    """Return loss and accuracy on held-out rows."""
    loss = model.loss(params, held_out.X, held_out.y, held_out.weight)
    hits = model.predict(params, held_out.X) == held_out.y
    return loss, float(np.average(hits, weights=held_out.weight))


def alone(host: Host, held_out: Data) -> dict[int, tuple[float, float]]:
    """Train every source of this host by itself for all rounds: rank -> (loss, accuracy)."""
    plan = host.plan
    solver, rule = plan.algorithm.solver(plan.model), plan.algorithm.server()
    found = {}
    for rank, data in host.data.items():
        params = plan.model.init(derive(plan.seed, "init"))
        memory, server = solver.init(len(params)), rule.init(params)
        for round in range(plan.rounds):
            update, memory = solver.solve(
                params, data, memory, derive(plan.seed, round, rank, "solve"), round
            )
            params, server = rule.step(params, update.vector, server)
        found[rank] = judge(plan.model, params, held_out)
    return found
