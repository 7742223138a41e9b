"""Where payloads meet: decode, attack (simulation), aggregate, step, evaluate, report.

Plain functions that run at one worker, from values to values that stay there. What leaves is the
model, for the sources, and a report, for the client.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.attacks.base import Attack, DataAttack, Scene
from msl.blocks import block_of, distance, finite_payloads, reduce_blocks
from msl.codecs.none import Identity
from msl.codecs.parts import Parts, bits_of_blocks
from msl.codecs.pass_through import PassThrough
from msl.codecs.payload import Payload
from msl.delivery import Delivery, Sent
from msl.errors import DataError, PayloadError, PlanError
from msl.finite import finite_rows, first_non_finite
from msl.hosts import Host, judge
from msl.plan import Plan
from msl.random import derive
from msl.terms import Came, Fate, Terms, enough, sort, suits
from msl.types import Aggregated, Data, Memory, Report, Rows, Vector

__all__ = ["Met", "State", "begin", "fates_of", "meet", "model_of", "params_of", "report_of"]


@dataclass(frozen=True)
class State:
    """Where a run stands between two rounds; lives where payloads meet."""

    params: Vector
    server: Any
    memory: Memory
    bytes_total: int
    layers: dict[str, float] = field(default_factory=dict)
    attack: Memory = None


@dataclass(frozen=True)
class Met:
    """The state after a round, the model as it is sent down, and what the client hears.

    `fates` of the deliveries that a round was closed without waiting for.
    """

    state: State
    model: Payload
    report: Report | None
    fates: tuple[Fate, ...] = ()


def begin(plan: Plan, n: int) -> Met:
    """Return the state before round 0."""
    params = plan.model.init(derive(plan.seed, "init"))
    server = plan.algorithm.server().init(params)
    memory = plan.aggregator.init(plan.per_round or n, len(params))
    attack = None
    if isinstance(plan.attack, Attack):
        attack = plan.attack.init(len(plan.corrupted), len(params))
    state = State(params, server, memory, 0, attack=attack)
    return Met(state, Identity().lend(params), None)


def model_of(met: Met) -> Payload:
    """Return what goes down to the sources."""
    return met.model


def report_of(met: Met) -> Report | None:
    """Return what goes to the client."""
    return met.report


def fates_of(met: Met) -> tuple[Fate, ...]:
    """Return what became of each delivery, for the client."""
    return met.fates


def params_of(met: Met) -> Vector:
    """Return the parameters, for the end of a run."""
    return met.state.params


def meet(
    host: Host,
    before: Met,
    deliveries: Sequence[Delivery | None],
    counts: Sequence[float],
    held_out: Data | None,
    round: int,
    terms: Terms | None = None,
) -> Met:
    """Decode, attack (simulation), aggregate, step, evaluate: the server's part of a round.

    A round that did not wait for everyone has terms, and None in place of who did not come.
    """
    start = perf_counter()
    plan, state = host.plan, before.state
    came = sort(plan.waiting, deliveries, terms, round)
    heard = _hear(plan, state, came, round)
    if not enough(plan, terms, len(heard.sent), heard.dropped, round):
        heard, came = heard.unused(state.attack), came.unused()
    trusted, held_out = _split(held_out, plan.trusted)
    params, server, aggregated = _step(plan, state, heard, counts, trusted)
    if first_non_finite(params) >= 0:
        raise DataError(f"the model is no longer finite after round {round}; lower the lr")
    model = Identity().lend(params)
    met = perf_counter() - start
    converged = plan.algorithm.server().converged(server)
    last = converged or round == plan.rounds - 1
    loss, accuracy, success = _evaluate(
        plan, params, held_out, last or round % plan.evaluate_every == 0
    )
    asked = len(heard.sent) + len(heard.dropped) if terms is None else len(terms.asked)
    down = before.model.nbytes * asked
    total = state.bytes_total + heard.up + down
    if terms is not None and terms.bytes_total is not None:
        total = terms.bytes_total
    layers = _layers(plan, heard.sent)
    report = Report(
        round=round,
        participants=tuple(s.rank for s in heard.sent),
        given=tuple(aggregated.given.tolist()),
        source_loss=tuple(s.loss for s in heard.sent),
        dropped=heard.dropped,
        bytes_up=heard.up,
        bytes_down=down,
        bytes_up_dense=heard.up_dense,
        bytes_total=total,
        step_norm=distance(params, state.params),
        seconds={
            "solve": max((d.seconds for d in came.deliveries), default=0.0),
            "meet": met,
            "evaluate": perf_counter() - start - met,
        },
        loss=loss,
        accuracy=accuracy,
        attack_success=success,
        layers={} if layers == state.layers else layers,
        converged=converged,
        late=tuple(sorted(came.late)) if plan.waiting.timed else None,
        stale=came.ages,
    )
    state = State(params, server, aggregated.memory, total, layers, heard.attack)
    return Met(state, model, report, came.fates)


@dataclass(frozen=True)
class _Heard:
    """What came in: the rows that may be aggregated and whose they are, and what the wire took.

    Rows of a large model may not be decoded yet: there are none, and the block to do it in.
    """

    rows: Rows
    block: int | None
    sent: tuple[Sent, ...]
    dropped: dict[int, str]
    up: int
    up_dense: int
    attack: Memory

    def unused(self, attack: Memory) -> "_Heard":
        """Return it for a round that goes by without a step, with the memory before it."""
        alone = dict.fromkeys((s.rank for s in self.sent), "too few others came")
        dropped = self.dropped | alone
        return replace(self, rows=self.rows[:0], sent=(), dropped=dropped, attack=attack)


def _hear(plan: Plan, state: State, came: Came, round: int) -> _Heard:
    """Decode and attack (simulation); leave out what is not finite."""
    # By rank, whatever host came first: float sums depend on the order.
    sent = sorted((s for d in came.deliveries for s in d.sent), key=lambda s: s.rank)
    dropped = {rank: why for d in came.deliveries for rank, why in d.dropped.items()}
    dropped |= came.late
    payloads, size, attack = [s.payload for s in sent], len(state.params), state.attack
    changed = isinstance(plan.attack, Attack) or any(came.ages.values())
    block = None if changed else block_of(plan.aggregator, payloads, size)
    if block is None:
        rows = np.empty((len(sent), size), np.float32)
        for row, s in zip(rows, sent, strict=True):
            _decode(s, row, round)
        attack = _attack(plan, rows, [s.rank for s in sent], attack, round)
        for row, s in zip(rows, sent, strict=True):
            if age := came.ages.get(s.rank, 0):
                row *= np.float32(plan.waiting.share(age))
        finite = finite_rows(rows)
    else:
        rows, finite = np.empty((0, size), np.float32), finite_payloads(payloads, block)
    up, up_dense = sum(p.nbytes for p in payloads) + came.spare, 4 * size * len(sent)
    if not finite.all() and not plan.aggregator.per_source:
        dropped |= {s.rank: "sent NaN or Inf" for s, ok in zip(sent, finite, strict=True) if not ok}
        rows = rows[finite] if block is None else rows
        sent = [s for s, ok in zip(sent, finite, strict=True) if ok]
    return _Heard(rows, block, tuple(sent), dropped, up, up_dense, attack)


def _step(
    plan: Plan, state: State, heard: _Heard, counts: Sequence[float], trusted: Data | None
) -> tuple[Vector, Any, Aggregated]:
    """Return the parameters and the server's state after the round, and who got which share."""
    if not heard.sent:
        nothing = Aggregated(np.zeros_like(state.params), np.zeros(0), state.memory)
        return state.params, state.server, nothing
    aggregated = _aggregate(plan, state, heard, counts, trusted)
    params, server = plan.algorithm.server().step(state.params, aggregated.vector, state.server)
    return params, server, aggregated


def _aggregate(
    plan: Plan, state: State, heard: _Heard, counts: Sequence[float], trusted: Data | None
) -> Aggregated:
    """Return the direction, and the share of each source that was heard."""
    aggregator, server_rule = plan.aggregator, plan.algorithm.server()
    if trusted is not None:
        aggregator = aggregator.trusting(
            lambda direction: plan.model.loss(
                server_rule.step(state.params, direction, state.server)[0], trusted.X, trusted.y
            )
        )
    rows, weights = heard.rows, _weights(plan, heard.sent, counts)
    if not aggregator.per_source:
        aggregator.check(len(heard.sent))
    if heard.block is not None:
        return reduce_blocks(aggregator, [s.payload for s in heard.sent], weights, heard.block)
    if not aggregator.per_source:
        return aggregator.aggregate(rows, weights, state.memory)
    # A source that is missing keeps its place: a row without numbers, which is not heard.
    ranks = [s.rank for s in heard.sent]
    everyone = np.full((len(counts), rows.shape[1]), np.nan, np.float32)
    counted = np.zeros(len(counts))
    everyone[ranks], counted[ranks] = rows, weights
    whole = aggregator.aggregate(everyone, counted, state.memory)
    return replace(whole, given=whole.given[ranks])


def _weights(plan: Plan, sent: Sequence[Sent], counts: Sequence[float]) -> NDArray[np.float64]:
    """Return how much each update counts."""
    if not plan.aggregator.weighted:
        return np.ones(len(sent))
    return np.array([(s.weight if plan.by_rows else 1.0) * counts[s.rank] for s in sent])


def _split(held_out: Data | None, trusted: int) -> tuple[Data | None, Data | None]:
    """Return the first rows, which the server trusts, and the rest, which judge the model."""
    if not trusted:
        return None, held_out
    if held_out is None or len(held_out) <= trusted:
        raise PlanError(f"{trusted} trusted rows need more held-out rows than that")
    weight = held_out.weight
    first, rest = slice(None, trusted), slice(trusted, None)
    return (
        Data(held_out.X[first], held_out.y[first], None if weight is None else weight[first]),
        Data(held_out.X[rest], held_out.y[rest], None if weight is None else weight[rest]),
    )


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


def _attack(plan: Plan, rows: Rows, ranks: Sequence[int], memory: Memory, round: int) -> Memory:
    """Replace the rows of corrupted sources in place; what they send passes the codec too."""
    if not isinstance(plan.attack, Attack):
        return memory
    lying = np.isin(ranks, plan.corrupted)
    # Rows that are too few to be aggregated are not used, whatever is in them.
    if not lying.any() or lying.all() or not suits(plan, len(rows)):
        return memory

    def aggregate(imagined: Rows) -> Vector:
        n = len(imagined)
        return plan.aggregator.aggregate(
            imagined, np.ones(n), plan.aggregator.init(*imagined.shape)
        ).vector

    key = derive(plan.seed, round, "attack")
    scene = Scene(rows[~lying], rows[lying], key, round, aggregate)
    forged, memory = plan.attack.forge(scene, memory)
    codec = PassThrough(plan.wire)
    for index, row in zip(np.flatnonzero(lying).tolist(), forged, strict=True):
        key = derive(plan.seed, round, ranks[index], "encode")
        codec.encode(row, key=key)[0].decode(out=rows[index])
    return memory


def _evaluate(
    plan: Plan, params: Vector, held_out: Data | None, now: bool
) -> tuple[float | None, float | None, float | None]:
    """Return loss, accuracy, and how often a backdoor opens, in rounds with evaluation."""
    if held_out is None or not now:
        return None, None, None
    probe = plan.attack.probe(held_out) if isinstance(plan.attack, DataAttack) else None
    success = None if probe is None else judge(plan.model, params, probe)[1]
    return *judge(plan.model, params, held_out), success
