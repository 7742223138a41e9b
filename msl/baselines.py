"""What a comparison is held against: honest rows in one place, and every source alone."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from msl import hosts
from msl.aggregators.mean import Mean
from msl.cluster.base import Executor
from msl.codecs.none import Identity
from msl.config import Config
from msl.errors import MslError
from msl.outcome import Outcome
from msl.rounds import set_stage, train
from msl.sources import PooledSource, Source
from msl.tracking import Tracker
from msl.types import Report

__all__ = ["BASELINES", "Job"]


Job: TypeAlias = Callable[[Config, Executor, Tracker, Callable[[Report], None] | None], Outcome]
"""What makes an outcome of a configuration."""


def pooled_clean(
    config: Config,
    executor: Executor,
    tracker: Tracker,
    on_report: Callable[[Report], None] | None = None,
) -> Outcome:
    """Train on all rows with their true labels in one place, for as many passes."""
    pooled: Source = PooledSource(tuple(config.sources()))
    plan = replace(
        config.plan(),
        attack=None,
        corrupted=(),
        aggregator=Mean(),
        codec=Identity(),
        per_round=None,
    )
    result = train(
        plan, [pooled], executor, held_out=config.held_out(), tracker=tracker, on_report=on_report
    )
    return Outcome.of("pooled_clean", result.reports, baseline=True)


def local_only(
    config: Config,
    executor: Executor,
    tracker: Tracker,
    on_report: Callable[[Report], None] | None = None,  # noqa: ARG001 - there are no rounds to tell
) -> Outcome:
    """Train every honest source by itself; the mean over them is what they have without us."""
    plan, held_out = config.plan(), config.held_out()
    if held_out is None:
        raise MslError("the baseline local_only needs held-out rows: set data.held_out_file")
    sources = config.sources()
    honest = [source for rank, source in enumerate(sources) if rank not in plan.corrupted]
    plan = replace(plan, attack=None, corrupted=(), aggregator=Mean(), per_round=None)
    stage = set_stage(plan, honest, held_out, executor)
    tracker.log_sources(stage.infos)
    told = []
    for place, host in stage.hosts.items():
        judged = executor.submit(hosts.load_held_out, held_out, at=place)
        told.append(executor.submit(hosts.alone, host, judged, at=place))
    found = [pair for one in executor.gather(told) for _, pair in sorted(one.items())]
    loss, accuracy = np.mean(found, axis=0).tolist()
    tracker.log_summary({"eval/loss": loss, "eval/accuracy": accuracy})
    return Outcome("local_only", True, accuracy, loss, 0.0, 0, 1.0)


BASELINES: Mapping[str, Job] = {"pooled_clean": pooled_clean, "local_only": local_only}
