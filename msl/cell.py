"""One configuration, trained and tracked."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import yaml

from msl.checkpoints.base import Checkpoints
from msl.cluster.base import Executor
from msl.config import Config
from msl.ledger import Ledger
from msl.plan import Plan
from msl.report_plots import bound_and_reality, trust_over_rounds
from msl.rounds import Result, train
from msl.sources.base import is_sparse
from msl.tracking import Tracker, make_tracker, note_of
from msl.types import Report

__all__ = ["leave_books", "run_cell", "tracked"]


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
    note = note_of(params, "msl run config.yaml") if plan else _note_of_grid(config)
    text = yaml.safe_dump(config.model_dump(), sort_keys=False)
    with make_tracker(
        config.tracking.uri,
        experiment=config.tracking.experiment,
        run_name=name,
        parent=parent,
        params=params | {"config_name": config.name},
        tags={"msl.config": config.name, "msl.cell": name} | ({"msl.grid": grid} if grid else {}),
        note=note,
        resume=resume,
        register=config.tracking.registered_name,
        system_metrics=config.tracking.system_metrics,
        spool=config.tracking.spool,
    ) as tracker:
        tracker.log_text("config.yaml", text)
        if plan:
            tracker.log_text("plan.yaml", yaml.safe_dump(plan.describe(), sort_keys=False))
        yield tracker


def _note_of_grid(config: Config) -> str:
    """Return the description of a comparison."""
    axes = [f"- `{axis}`: {len(values)} values" for axis, values in config.compare.items()]
    beside = f"Beside it: {', '.join(config.baselines)}." if config.baselines else ""
    return "\n".join(
        ["**A comparison** over", "", *axes, "", beside, "", "Run it again:", "",
         "    msl compare config.yaml"]
    )  # fmt: skip


def run_cell(
    config: Config,
    executor: Executor,
    tracker: Tracker,
    on_report: Callable[[Report], None] | None = None,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
) -> Result:
    """Train one configuration and leave model, books and pictures with the tracker.

    Its checkpoints go to a folder named after the tracker's run, unless another one is given; with
    `resume` it goes on from the last of them.
    """
    checkpoints = checkpoints or config.checkpoint.of(tracker.run_id)
    plan, held_out = config.plan(), config.held_out()
    result = train(
        plan,
        config.sources(),
        executor,
        held_out=held_out,
        tracker=tracker,
        on_report=on_report,
        log_model_every=config.tracking.log_model_every,
        checkpoints=checkpoints,
        resume=resume,
    )
    leave_books(tracker, result.ledger, plan.corrupted)
    if result.ledger.verdict.discrepancy is not None:
        names = [info.name for info in result.sources]
        tracker.log_figure("trust.png", trust_over_rounds(result.reports, names, plan.corrupted))
    if result.ledger.verdict.filtered:
        tracker.log_figure("bound.png", bound_and_reality(result.reports))
    example: Any = held_out.load().X[:5] if held_out else None
    if example is None:
        example = np.zeros((1, result.sources[0].features), np.float32)
    if is_sparse(example):
        example = example.toarray()
    tracker.log_model(plan.model, result.params, example)
    return result


def leave_books(tracker: Tracker, ledger: Ledger, corrupted: Sequence[int] = ()) -> None:
    """Leave what is known of each source with the tracker: a table, and a page if any differ."""
    liars = [rank in corrupted for rank in range(len(ledger.sources))]
    tracker.log_table("trust.json", {**ledger.columns(), "corrupted": liars})
    if ledger.verdict.discrepancy is not None:
        # Where nobody was compared the table says it all.
        tracker.log_text("trust.html", ledger.html())
