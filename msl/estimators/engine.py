"""The rounds of an estimator: on from where it stands, heard one by one, stopped when it likes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from msl import meeting
from msl.cluster.base import Executor
from msl.codecs.none import Identity
from msl.errors import WorkerLostError
from msl.ledger import Ledger
from msl.meeting import Met
from msl.plan import Plan
from msl.rounds import Stage, Standing, run_rounds, set_stage
from msl.sources import Source
from msl.tracking import Tracker, active_tracker
from msl.types import Report, Vector

__all__ = ["Hear", "Left", "Start", "learn"]

Hear: TypeAlias = Callable[[Report, Callable[[], Vector]], bool]
"""Told every report, and how to get the parameters after it; True ends the run."""


@dataclass(frozen=True)
class Start:
    """Where to begin: parameters, the server's state if it goes on, and the number of the round."""

    params: Vector
    server: Any = None
    round: int = 0


@dataclass(frozen=True)
class Left:
    """What a run leaves, and what it takes to go on."""

    params: Vector
    server: Any
    reports: tuple[Report, ...]
    ledger: Ledger


def learn(
    plan: Plan,
    sources: Sequence[Source],
    executor: Executor,
    *,
    held_out: Source | None = None,
    start: Start | None = None,
    hear: Hear | None = None,
) -> Left:
    """Run rounds up to `plan.rounds`, or until the server's rule or `hear` says that it is over.

    As with `msl.rounds.train`, lost workers are replaced by running the rounds so far again to
    the same bits, and nothing is heard twice.
    """
    plan.check(len(sources))
    with active_tracker("msl", plan.describe()) as tracker:
        run = _Run(plan, tracker, start, hear)
        while True:
            try:
                return run.through(set_stage(plan, sources, held_out, executor))
            except WorkerLostError:
                executor.refresh()


class _Run:
    """What outlives a lost worker: the reports, and the books."""

    def __init__(self, plan: Plan, tracker: Tracker, start: Start | None, hear: Hear | None):
        self.plan, self.tracker, self.start, self.hear = plan, tracker, start, hear
        self.reports: list[Report] = []
        self.ledger: Ledger | None = None

    def through(self, stage: Stage) -> Left:
        if self.ledger is None:
            self.tracker.log_sources(stage.infos)
            self.ledger = Ledger.open(stage.infos, stage.verdict)
        first = self.start.round if self.start else 0
        standing, done, ahead, over = self._standing(stage), first, 1, False
        while done < self.plan.rounds and not over:
            stop = min(done + ahead, self.plan.rounds)
            told, standing = run_rounds(stage, standing, range(done, stop))
            # Who listens may stop any round; else queue a tenth of a second of work at once.
            ahead = 1 if self.hear else max(1, min(16, round(0.1 / told[-1].seconds["round"])))
            for report in told[max(0, first + len(self.reports) - done) :]:
                over = self._heard(report, stage, standing)
                if over:
                    break
            done = stop
        params, server = _at_root(stage, _left, standing)
        return Left(params, server, tuple(self.reports), self.ledger)

    def _standing(self, stage: Stage) -> Standing:
        start, n = self.start, len(stage.infos)
        found = (start.params, start.server) if start else None
        return Standing(stage.executor.submit(_begin, self.plan, n, found, at=stage.root), {})

    def _heard(self, report: Report, stage: Stage, standing: Standing) -> bool:
        """Tell everybody of a report; return whether it is the last."""
        self.reports.append(report)
        self.ledger = self.ledger.heard(report) if self.ledger else None
        self.tracker.log(report)
        stop = self.hear is not None and self.hear(
            report, lambda: _at_root(stage, meeting.params_of, standing)
        )
        return stop or report.converged


def _at_root(stage: Stage, fn: Callable[[Met], Any], standing: Standing) -> Any:
    handle = stage.executor.submit(fn, standing.met, at=stage.root)
    return stage.executor.gather([handle])[0]


def _left(met: Met) -> tuple[Vector, Any]:
    return met.state.params, met.state.server


def _begin(plan: Plan, n: int, found: tuple[Vector, Any] | None) -> Met:
    """Return the state before the first round, from parameters that are already good."""
    met = meeting.begin(plan, n)
    if found is None:
        return met
    params, server = found
    if server is None:
        server = plan.algorithm.server().init(params)
    state = replace(met.state, params=params, server=server)
    return Met(state, Identity().encode(params)[0], None)
