"""A grid of runs beside their baselines: one parent run in the store, a child per cell."""

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any

from msl.baselines import BASELINES, Job
from msl.cell import run_cell, tracked
from msl.checkpoints.base import Checkpoints
from msl.cluster import Executor, open_executor
from msl.comparison_page import page
from msl.config import Config, load_config
from msl.errors import MslError
from msl.grid import Cell, cells_of
from msl.outcome import Outcome
from msl.plots import AGAINST, convergence, heat_map, traffic
from msl.ranking import Heat, Labels, Rank, heat, ranking
from msl.tracking import Tracker, Unfinished, unfinished
from msl.types import Report

if TYPE_CHECKING:
    # Takes half a second, and only a finished comparison needs it.
    import pandas as pd

__all__ = ["Comparison", "compare", "digest_of", "run_grid"]

OUTCOME = "outcome.json"
"""Artifact of a cell that is finished."""
OnCell = Callable[[str, int], Callable[[Report], None]]
"""Told name and rounds of a run that starts; what it returns is told every round."""


class CellsFailedError(MslError, RuntimeError):
    """Cells of a comparison failed; says which and why."""


@dataclass(frozen=True)
class Comparison:
    """What a grid found.

    Parameters
    ----------
    config : Config
        The file.
    outcomes : tuple of Outcome
        Baselines and cells that finished, in the order of the file.
    failed : mapping from str to str
        Names of the others, and the last line of their tracebacks.
    """

    config: Config
    outcomes: tuple[Outcome, ...]
    failed: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells of the grid, checked once."""
        return cells_of(self.config)

    def found(self) -> list[tuple[Labels, float]]:
        """Return labels and accuracy of every finished cell."""
        by_name = {o.name: o.accuracy for o in self.outcomes if not o.baseline}
        return [(c.labels, by_name[c.name]) for c in self.cells if c.name in by_name]

    def ranks(self) -> tuple[list[Rank], Heat]:
        """Return the ranking by worst case and its tables; both empty without an attack axis."""
        found = self.found()
        ranks = ranking(found)
        return ranks, heat(found, ranks) if ranks else {}

    def table(self) -> "pd.DataFrame":
        """Return a row per baseline and cell: its axes, its final numbers, why it failed.

        Columns: name, baseline, one per axis, accuracy, loss, bytes_up_per_round, bytes_total,
        compression, seconds, error. What a row does not have is missing.
        """
        import pandas as pd

        axes = {cell.name: cell.values for cell in self.cells}
        rows = [
            {"name": o.name, "baseline": o.baseline, **axes.get(o.name, {}), **o.numbers()}
            for o in self.outcomes
        ]
        rows += [
            {"name": name, "baseline": name in BASELINES, **axes.get(name, {}), "error": why}
            for name, why in self.failed.items()
        ]
        frame = pd.DataFrame(rows)
        frame["error"] = frame.get("error")
        return frame


def compare(
    config: "Config | Mapping[str, Any] | str | Path", client: Any = None
) -> "pd.DataFrame":
    """Run a comparison and return its table, a row per baseline and cell.

    Parameters
    ----------
    config : Config, mapping or path
        As in a YAML file, or its path; ``tracking: {uri: none}`` keeps it off the store.
    client : distributed.Client, optional
        A Dask client to run on; what ``cluster`` says when left out.

    Returns
    -------
    DataFrame
        See `Comparison.table`.

    Raises
    ------
    PlanError
        When the file has a mistake; what fails later is in the column ``error``.

    Examples
    --------
    >>> table = compare({
    ...     "data": {"dataset": "digits", "sources": 5},
    ...     "rounds": 5,
    ...     "compare": {"aggregator": ["mean", "median"], "seed": [0, 1]},
    ...     "cluster": {"workers": 0},
    ...     "tracking": {"uri": "none"},
    ... })
    >>> table.groupby("aggregator")["accuracy"].mean().gt(0.7).to_dict()
    {'mean': True, 'median': True}
    """
    checked = config if isinstance(config, Config) else load_config(config)
    cluster = checked.cluster
    tls = cluster.tls.made() if cluster.tls else None
    with open_executor(
        cluster.scheduler,
        cluster.workers,
        client,
        tls,
        cluster.at_least,
        cluster.patience,
        cluster.cache,
    ) as executor:
        return run_grid(checked, executor).table()


def run_grid(config: Config, executor: Executor, on_cell: OnCell | None = None) -> Comparison:
    """Run the baselines and every cell; what fails is noted, and the rest goes on.

    A comparison that broke off, or in which cells failed, goes on in its own run: cells that are
    finished in the store are not run again, those that were killed go on from their checkpoints
    where they have some, and those that failed begin anew.

    Parameters
    ----------
    config : Config
        A file with `compare` and `baselines`; ``cluster.cells`` says how many run at a time, each
        on workers of its own.
    executor : Executor
        Where to run.
    on_cell : callable, optional
        Told the name and the number of rounds of each run that starts; returns what is told its
        rounds.
    """
    grid = digest_of(config)
    jobs: list[tuple[str, Config, Job]] = [
        *((name, config, BASELINES[name]) for name in config.baselines),
        *((cell.name, cell.config, _cell_job(cell.name)) for cell in cells_of(config)),
    ]
    before = unfinished(config.tracking.uri, config.tracking.experiment, grid)
    try:
        with tracked(config, config.name, grid=grid, resume=before.parent) as parent:
            run = _runner(parent, grid, on_cell, before.begun)
            done = _run_all(jobs, executor, config.cluster.cells, run, before)
            outcomes = tuple(found for found in done if isinstance(found, Outcome))
            failed = {
                name: found
                for (name, _, _), found in zip(jobs, done, strict=True)
                if isinstance(found, str)
            }
            comparison = Comparison(config, outcomes, failed)
            _leave(parent, comparison)
            if failed:
                # The parent must not look finished: the next start goes on in it.
                raise CellsFailedError("; ".join(f"{name}: {why}" for name, why in failed.items()))
    except CellsFailedError:
        pass
    return comparison


Run = Callable[[str, Config, Job, Executor, Event], Outcome | str]


def _runner(parent: Tracker, grid: str, on_cell: OnCell | None, begun: Mapping[str, str]) -> Run:
    """Return what runs one job: its outcome, or the last line of what went wrong.

    `begun` says which runs broke off before, by name.
    """

    def run(name: str, config: Config, job: Job, executor: Executor, stop: Event) -> Outcome | str:
        heard = on_cell(name, config.rounds) if on_cell else None

        def on_report(report: Report) -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            if heard:
                heard(report)

        try:
            kept = config.checkpoint.left_by(begun.get(name))
            resume = begun[name] if kept else None
            # Held before its run is touched, which another driver may be at.
            held = kept.held() if kept else nullcontext()
            with held, tracked(config, name, config.plan(), parent.run_id, grid, resume) as tracker:
                outcome = job(config, executor, tracker, on_report, kept)
                tracker.log_text(OUTCOME, outcome.to_json())
        except Exception as error:
            return traceback.format_exception_only(error)[-1].strip()
        return outcome

    return run


def _run_all(
    jobs: Sequence[tuple[str, Config, Job]],
    executor: Executor,
    at_a_time: int,
    run: Run,
    before: Unfinished,
) -> list[Outcome | str]:
    """Run the jobs that are not finished, some at a time, each on places of its own."""
    parts, stop = executor.split(at_a_time), Event()
    free: SimpleQueue[Executor] = SimpleQueue()
    for part in parts:
        free.put(part)

    def one(job: tuple[str, Config, Job]) -> Outcome | str:
        if job[0] in before.outcomes:
            return Outcome.from_json(before.outcomes[job[0]])
        mine = free.get()
        try:
            return run(*job, mine, stop)
        finally:
            free.put(mine)

    if len(parts) == 1:
        # In this thread, so that Ctrl-C reaches the cell.
        return [one(job) for job in jobs]
    pool = ThreadPoolExecutor(len(parts))
    try:
        return list(pool.map(one, jobs))
    finally:
        # Cells that run end at their next round, killed, before their workers are given back.
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        for part in parts:
            part.close()


def digest_of(config: Config) -> str:
    """Return what two runs of the same comparison have in common; the store does not count."""
    text = json.dumps(
        config.model_dump(exclude={"tracking", "cluster", "checkpoint"}), sort_keys=True
    )
    return sha256(text.encode()).hexdigest()[:16]


def _cell_job(name: str) -> Job:
    """Return the job of a cell."""

    def job(
        config: Config,
        executor: Executor,
        tracker: Tracker,
        on_report: Callable[[Report], None] | None,
        kept: Checkpoints | None,
    ) -> Outcome:
        result = run_cell(config, executor, tracker, on_report, kept, kept is not None)
        return Outcome.of(name, result.reports)

    return job


def _leave(tracker: Tracker, comparison: Comparison) -> None:
    """Leave tables and pictures with the tracker."""
    frame = comparison.table()
    tracker.log_table("comparison.json", {str(c): frame[c].tolist() for c in frame})
    labels = {cell.name: cell.labels for cell in comparison.cells}
    for against in AGAINST:
        figure = convergence(comparison.outcomes, labels, against)
        tracker.log_figure(f"accuracy_by_{against}.png", figure)
    tracker.log_figure("traffic.png", traffic(comparison.outcomes, labels))
    tracker.log_text("report.html", page(comparison, "msl compare config.yaml"))
    ranks, tables = comparison.ranks()
    if not ranks:
        return
    columns = ("name", "worst", "mean", "deviation", "where")
    tracker.log_table("ranking.json", {c: [getattr(r, c) for r in ranks] for c in columns})
    for setting, table in tables.items():
        name = "".join(c if c.isalnum() else "_" for c in setting) or "attacks"
        tracker.log_figure(f"heat/{name}.png", heat_map(setting, *table))
