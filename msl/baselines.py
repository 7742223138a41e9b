"""What a comparison is held against: honest rows in one place, and every source alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from msl import hosts
from msl.aggregators.mean import Mean
from msl.attacks.base import DataAttack
from msl.checkpoints.base import Checkpoints
from msl.cluster.base import Executor
from msl.codecs.none import Identity
from msl.config import Config
from msl.errors import MslError
from msl.outcome import Outcome
from msl.rounds import set_stage, train
from msl.sources import CorruptedSource, PooledSource, Source
from msl.tracking import Tracker
from msl.trust import TrustAll
from msl.types import Report

__all__ = ["BASELINES", "Job"]


Job: TypeAlias = Callable[
    [Config, Executor, Tracker, Callable[[Report], None] | None, Checkpoints | None], Outcome
]
"""What makes an outcome of a configuration; of the checkpoints to go on from, if there are any."""


def pooled(
    config: Config,
    executor: Executor,
    tracker: Tracker,
    on_report: Callable[[Report], None] | None = None,
    resume: Checkpoints | None = None,
) -> Outcome:
    """Train on all rows in one place, with the labels that lying sources give."""
    plan, sources = config.plan(), config.sources()
    if isinstance(plan.attack, DataAttack):
        for rank in plan.corrupted:
            sources[rank] = CorruptedSource(sources[rank], plan.attack, plan.n_classes or 0)
    pool: list[Source] = [PooledSource(tuple(sources))]
    return _plainly("pooled", pool, config, executor, tracker, on_report, resume)


def pooled_clean(
    config: Config,
    executor: Executor,
    tracker: Tracker,
    on_report: Callable[[Report], None] | None = None,
    resume: Checkpoints | None = None,
) -> Outcome:
    """Train on all rows with their true labels in one place, for as many passes."""
    sources: list[Source] = [PooledSource(tuple(config.sources()))]
    return _plainly("pooled_clean", sources, config, executor, tracker, on_report, resume)


def oracle(
    config: Config,
    executor: Executor,
    tracker: Tracker,
    on_report: Callable[[Report], None] | None = None,
    resume: Checkpoints | None = None,
) -> Outcome:
    """Train on the honest sources where they are, as if it were known who lies."""
    corrupted = config.plan().corrupted
    honest = [s for rank, s in enumerate(config.sources()) if rank not in corrupted]
    return _plainly("oracle", honest, config, executor, tracker, on_report, resume)


def _plainly(
    name: str,
    sources: Sequence[Source],
    config: Config,
    executor: Executor,
    tracker: Tracker,
    on_report: Callable[[Report], None] | None,
    resume: Checkpoints | None,
) -> Outcome:
    """Train by the mean of all, uncompressed; nobody lies on the way."""
    plan = replace(
        config.plan(),
        attack=None,
        corrupted=(),
        aggregator=Mean(),
        codec=Identity(),
        trust=TrustAll(),
        per_round=None,
    )
    result = train(
        plan,
        sources,
        executor,
        held_out=config.held_out(),
        tracker=tracker,
        on_report=on_report,
        checkpoints=resume or config.checkpoint.of(tracker.run_id),
        resume=resume is not None,
    )
    return Outcome.of(name, result.reports, baseline=True)


def local_only(
    config: Config,
    executor: Executor,
    tracker: Tracker,
    on_report: Callable[[Report], None] | None = None,  # noqa: ARG001 - there are no rounds to tell
    resume: Checkpoints | None = None,  # noqa: ARG001 - and none to go on from
) -> Outcome:
    """Train every honest source by itself; the mean over them is what they have without us."""
    plan, held_out = config.plan(), config.held_out()
    if held_out is None:
        raise MslError("the baseline local_only needs held-out rows: set data.held_out_file")
    sources = config.sources()
    honest = [source for rank, source in enumerate(sources) if rank not in plan.corrupted]
    plan = replace(plan, attack=None, corrupted=(), aggregator=Mean(), per_round=None)
    stage = set_stage(plan, honest, held_out, executor)
    tracker.log_sources(stage.taking_part)
    told = []
    for place, host in stage.hosts.items():
        judged = executor.submit(hosts.load_held_out, held_out, at=place)
        told.append(executor.submit(hosts.alone, host, judged, at=place))
    found = [pair for one in executor.gather(told) for _, pair in sorted(one.items())]
    loss, accuracy = np.mean(found, axis=0).tolist()
    tracker.log_summary({"eval/loss": loss, "eval/accuracy": accuracy})
    return Outcome("local_only", True, accuracy, loss, 0.0, 0, 1.0)


BASELINES: Mapping[str, Job] = {
    "pooled": pooled,
    "pooled_clean": pooled_clean,
    "local_only": local_only,
    "oracle": oracle,
}
