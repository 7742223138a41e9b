"""What runs at the workers: plain functions, from values to values that stay there.

A host holds sources and works for them; one host is also where payloads meet. The only values
that leave a host are payloads (to the meeting host), the model (from it) and reports.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf

import numpy as np

from msl.attacks.base import DataAttack
from msl.errors import DataError, SourceError
from msl.fit import misfit
from msl.models.base import Model
from msl.plan import Plan
from msl.random import derive, generator
from msl.sources.base import Source, check_same
from msl.sources.cache import Cache
from msl.sources.corrupted import CorruptedSource
from msl.types import Data, SourceInfo, Vector

__all__ = [
    "Host",
    "alone",
    "forget",
    "halves",
    "hold",
    "infos_of",
    "judge",
    "load_held_out",
    "regrouped",
    "without",
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


def hold(plan: Plan, place: str, sources: Sequence[tuple[int, Source]], room: float = inf) -> Host:
    """Describe sources at their place; corrupted ones with the labels they lie about.

    `room` bytes of rows stay loaded. One that cannot be loaded raises, or tells its trouble, as
    the plan's `on_failure` says.
    """
    empty = Host(plan, place, Cache(place, room, partial(_again, plan)), {})
    return regrouped(empty, (), sources)


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
