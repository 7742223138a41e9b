"""A grid of runs beside their baselines: one parent run in the store, a child per cell."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import yaml

from msl import hosts
from msl.aggregators.mean import Mean
from msl.cluster.base import Executor
from msl.codecs.none import Identity
from msl.config import Config
from msl.errors import MslError, PlanError
from msl.plan import Plan
from msl.plots import convergence
from msl.rounds import Result, set_stage, train
from msl.sources import PooledSource, Source
from msl.tracking import Tracker, make_tracker
from msl.types import Report

__all__ = ["Cell", "Outcome", "cells_of", "compare", "run_cell", "tracked"]


@dataclass(frozen=True)
class Cell:
    """One run of a comparison: its readable name and its configuration."""

    name: str
    config: Config


@dataclass(frozen=True)
class Outcome:
    """What the table and the plots need of one cell; curves are empty for `local_only`."""

    name: str
    baseline: bool
    accuracy: float
    loss: float
    bytes_up_per_round: float
    bytes_total: int
    ratio: float
    rounds: tuple[int, ...] = ()
    accuracies: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, reports: Sequence[Report], baseline: bool = False) -> "Outcome":
        """Return the outcome of a finished run; refuses one that was never evaluated."""
        seen = [r for r in reports if r.accuracy is not None]
        if not seen:
            raise PlanError("comparing needs held-out rows: set data.held_out_file")
        up = sum(r.bytes_up for r in reports)
        return cls(
            name=name,
            baseline=baseline,
            accuracy=seen[-1].accuracy or 0.0,
            loss=seen[-1].loss or 0.0,
            bytes_up_per_round=0.0 if baseline else up / len(reports),
            bytes_total=0 if baseline else reports[-1].bytes_total,
            ratio=1.0 if baseline else sum(r.bytes_up_dense for r in reports) / up,
            rounds=tuple(r.round for r in seen),
            accuracies=tuple(r.accuracy or 0.0 for r in seen),
        )


def cells_of(config: Config) -> list[Cell]:
    """Return the cells of the grid in `compare`, in the file's order."""
    axes = config.compare or {"aggregator": [config.aggregator]}
    cells = []
    for values in product(*axes.values()):
        raw = config.model_dump() | dict(zip(axes, values, strict=True))
        name = " ".join(_label(value) for value in values)
        cells.append(Cell(name, Config.model_validate(raw)))
    return cells


def _label(value: Any) -> str:
    return str(value["name"]) if isinstance(value, dict) else str(value)


@contextmanager
def tracked(
    config: Config, name: str, plan: Plan | None = None, parent: str | None = None
) -> Iterator[Tracker]:
    """Yield a tracker that already knows the plan and the file behind it."""
    params = plan.describe() if plan else {"compare": config.compare}
    text = yaml.safe_dump(config.model_dump(), sort_keys=False)
    with make_tracker(
        config.tracking.uri,
        experiment=config.tracking.experiment,
        run_name=name,
        parent=parent,
        params=params | {"config_name": config.name},
        tags={"msl.config": config.name, "msl.cell": name},
    ) as tracker:
        tracker.log_text("config.yaml", text)
        if plan:
            tracker.log_text("plan.yaml", yaml.safe_dump(plan.describe(), sort_keys=False))
        yield tracker


def run_cell(
    config: Config,
    executor: Executor,
    tracker: Tracker,
    on_report: Callable[[Report], None] | None = None,
) -> Result:
    """Train one configuration and leave model and per-source table with the tracker."""
    plan, held_out = config.plan(), config.held_out()
    result = train(
        plan, config.sources(), executor, held_out=held_out, tracker=tracker, on_report=on_report
    )
    tracker.log_table("sources.json", source_table(result, plan))
    example = held_out.load().X[:5] if held_out else np.zeros((1, 1), np.float32)
    tracker.log_model(plan.model, result.params, example)
    return result


def source_table(result: Result, plan: Plan) -> dict[str, list[Any]]:
    """Return one row per source: who it is, how often it took part, what share it got."""
    n = len(result.sources)
    rounds, given, dropped = np.zeros(n, int), np.zeros(n), np.zeros(n, int)
    for report in result.reports:
        rounds[list(report.participants)] += 1
        given[list(report.participants)] += report.given
        dropped[list(report.dropped)] += 1
    return {
        "source": [info.name for info in result.sources],
        "rows": [info.rows for info in result.sources],
        "classes": [len(info.classes) for info in result.sources],
        "digest": [info.digest for info in result.sources],
        "corrupted": [rank in plan.corrupted for rank in range(n)],
        "rounds": rounds.tolist(),
        "dropped": dropped.tolist(),
        "mean_share": (given / np.maximum(rounds, 1)).round(6).tolist(),
    }


def compare(
    config: Config,
    executor: Executor,
    on_cell: Callable[[str, int], None] | None = None,
    on_report: Callable[[Report], None] | None = None,
) -> list[Outcome]:
    """Run the baselines and every cell; return their outcomes in that order.

    Parameters
    ----------
    config : Config
        A file with `compare` and `baselines`.
    executor : Executor
        Where to run; cells run one after another on all of it.
    on_cell : callable, optional
        Told the name and the number of rounds of each run that starts.
    on_report : callable, optional
        Told every round.
    """
    outcomes = []
    with tracked(config, config.name) as parent:
        for name in config.baselines:
            if on_cell:
                on_cell(name, config.rounds)
            with tracked(config, name, config.plan(), parent.run_id) as tracker:
                outcomes.append(_BASELINES[name](config, executor, tracker, on_report))
        for cell in cells_of(config):
            if on_cell:
                on_cell(cell.name, cell.config.rounds)
            with tracked(cell.config, cell.name, cell.config.plan(), parent.run_id) as tracker:
                result = run_cell(cell.config, executor, tracker, on_report)
                outcomes.append(Outcome.of(cell.name, result.reports))
        parent.log_table("comparison.json", comparison_table(outcomes))
        parent.log_figure("convergence.png", convergence(outcomes))
    return outcomes


def comparison_table(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    """Return the final numbers, a row per cell."""
    return {
        "cell": [o.name for o in outcomes],
        "accuracy": [o.accuracy for o in outcomes],
        "loss": [o.loss for o in outcomes],
        "bytes_up_per_round": [o.bytes_up_per_round for o in outcomes],
        "bytes_total": [o.bytes_total for o in outcomes],
        "compression": [o.ratio for o in outcomes],
    }


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


_BASELINES = {"pooled_clean": pooled_clean, "local_only": local_only}
