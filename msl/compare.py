"""A grid of runs beside their baselines: one parent run in the store, a child per cell."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import numpy as np
import yaml

from msl.baselines import BASELINES, Job
from msl.cluster.base import Executor
from msl.config import Config
from msl.grid import cells_of
from msl.outcome import Outcome
from msl.plan import Plan
from msl.ledger import Ledger
from msl.plots import bound_and_reality, convergence, heat_map
from msl.ranking import Heat, Labels, Rank, heat, ranking
from msl.rounds import Result, train
from msl.tracking import Tracker, make_tracker, unfinished
from msl.types import Report

__all__ = ["compare", "digest_of", "ranks_of", "run_cell", "tracked"]

OUTCOME = "outcome.json"
"""Artifact of a cell that is finished."""


@contextmanager
def tracked(
    config: Config,
    name: str,
    plan: Plan | None = None,
    parent: str | None = None,
    grid: str | None = None,
    resume: str | None = None,
) -> Iterator[Tracker]:
    """Yield a tracker that already knows the plan and the file behind it.

    Parameters
    ----------
    config, name, plan
        What is run.
    parent : str, optional
        Run under which this one is nested.
    grid : str, optional
        Digest of the comparison it belongs to.
    resume : str, optional
        Run to go on with.
    """
    params = plan.describe() if plan else {"compare": config.compare}
    text = yaml.safe_dump(config.model_dump(), sort_keys=False)
    with make_tracker(
        config.tracking.uri,
        experiment=config.tracking.experiment,
        run_name=name,
        parent=parent,
        params=params | {"config_name": config.name},
        tags={"msl.config": config.name, "msl.cell": name} | ({"msl.grid": grid} if grid else {}),
        resume=resume,
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
    """Train one configuration and leave model, books and pictures with the tracker."""
    plan, held_out = config.plan(), config.held_out()
    result = train(
        plan, config.sources(), executor, held_out=held_out, tracker=tracker, on_report=on_report
    )
    leave_books(tracker, result.ledger, plan.corrupted)
    if plan.trust.filters and any(report.bound for report in result.reports):
        tracker.log_figure("bound.png", bound_and_reality(result.reports))
    example = held_out.load().X[:5] if held_out else np.zeros((1, 1), np.float32)
    tracker.log_model(plan.model, result.params, example)
    return result


def leave_books(tracker: Tracker, ledger: Ledger, corrupted: Sequence[int] = ()) -> None:
    """Leave what is known of each source with the tracker: a table, and a page if any differ."""
    liars = [rank in corrupted for rank in range(len(ledger.sources))]
    tracker.log_table("trust.json", {**ledger.columns(), "corrupted": liars})
    if ledger.verdict.discrepancy is not None:
        # Where nobody was compared the table says it all.
        tracker.log_text("trust.html", ledger.html())


def compare(
    config: Config,
    executor: Executor,
    on_cell: Callable[[str, int], None] | None = None,
    on_report: Callable[[Report], None] | None = None,
) -> list[Outcome]:
    """Run the baselines and every cell; return their outcomes in that order.

    A comparison that broke off goes on in its own run: cells that are finished in the store are
    not run again.

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
    grid = digest_of(config)
    cells = cells_of(config)
    jobs: list[tuple[str, Config, Job]] = [
        *((name, config, BASELINES[name]) for name in config.baselines),
        *((cell.name, cell.config, _outcome_of(cell.name)) for cell in cells),
    ]
    before = unfinished(config.tracking.uri, config.tracking.experiment, grid)
    outcomes = []
    with tracked(config, config.name, grid=grid, resume=before.parent) as parent:
        for name, own, job in jobs:
            if name in before.outcomes:
                outcomes.append(Outcome.from_json(before.outcomes[name]))
                continue
            if on_cell:
                on_cell(name, own.rounds)
            with tracked(own, name, own.plan(), parent.run_id, grid) as tracker:
                outcomes.append(job(own, executor, tracker, on_report))
                tracker.log_text(OUTCOME, outcomes[-1].to_json())
        parent.log_table("comparison.json", comparison_table(outcomes))
        parent.log_figure("convergence.png", convergence(outcomes))
        _log_ranking(parent, ranks_of(config, outcomes))
    return outcomes


def digest_of(config: Config) -> str:
    """Return what two runs of the same comparison have in common; the store does not count."""
    text = json.dumps(config.model_dump(exclude={"tracking", "cluster"}), sort_keys=True)
    return sha256(text.encode()).hexdigest()[:16]


def _outcome_of(name: str) -> Job:
    """Return the job of a cell."""

    def job(
        config: Config,
        executor: Executor,
        tracker: Tracker,
        on_report: Callable[[Report], None] | None,
    ) -> Outcome:
        return Outcome.of(name, run_cell(config, executor, tracker, on_report).reports)

    return job


def _found(config: Config, outcomes: Sequence[Outcome]) -> list[tuple[Labels, float]]:
    """Return labels and accuracy of every cell."""
    by_name = {o.name: o.accuracy for o in outcomes if not o.baseline}
    return [(cell.labels, by_name[cell.name]) for cell in cells_of(config)]


def ranks_of(config: Config, outcomes: Sequence[Outcome]) -> tuple[list[Rank], Heat]:
    """Return the ranking by worst case and its tables; both empty without an attack axis."""
    found = _found(config, outcomes)
    ranks = ranking(found)
    return ranks, heat(found, ranks) if ranks else {}


def _log_ranking(tracker: Tracker, ranked: tuple[list[Rank], Heat]) -> None:
    """Leave the ranking and a heat map per setting with the tracker."""
    ranks, tables = ranked
    if not ranks:
        return
    columns = ("name", "worst", "mean", "deviation", "where")
    tracker.log_table("ranking.json", {c: [getattr(r, c) for r in ranks] for c in columns})
    for i, (setting, table) in enumerate(tables.items()):
        name = "".join(c if c.isalnum() else "_" for c in setting) or str(i)
        tracker.log_figure(f"heat/{name}.png", heat_map(setting, *table))


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
