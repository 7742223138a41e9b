"""The one path through a run: the stage is set, rounds are run, the model comes back.

::

    model -> each host: solve -> encode -> payloads -> where they meet: decode -> attack
          -> aggregate -> step -> evaluate -> report -> tracker
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from msl import meeting
from msl.checkpoints.base import Checkpoints, Saved, Shelf
from msl.cluster.base import Executor
from msl.errors import PlanError, WorkerLostError
from msl.in_time import Script, run_round_in_time
from msl.ledger import Ledger
from msl.meeting import Met, State
from msl.moving import moved
from msl.plan import Plan
from msl.reports import Reports
from msl.round import ahead_of, run_round, run_rounds, run_until_converged
from msl.sources.base import Source, info_of
from msl.stage import Stage, Standing, Start, first_standing, set_stage, with_new_server
from msl.tracking import active_tracker
from msl.tracking.base import Tracker
from msl.types import Report, SourceInfo, Vector

__all__ = [
    "Plan",
    "Result",
    "Stage",
    "Standing",
    "Start",
    "State",
    "Watch",
    "run_round",
    "run_rounds",
    "set_stage",
    "train",
]

Watch: TypeAlias = Callable[[Report, Callable[[], Vector]], bool]
"""Told every report, and how to get the parameters after it; True ends the run."""


@dataclass(frozen=True)
class Result:
    """What a run leaves: the model, every report, and the books on its sources.

    `server` is the server's state, for a `Start`; None unless `train` was asked to keep it.
    """

    params: Vector
    reports: Sequence[Report]
    ledger: Ledger
    server: Any = None

    @property
    def sources(self) -> tuple[SourceInfo, ...]:
        """What may be said of each source, by rank."""
        return self.ledger.sources


def train(
    plan: Plan,
    sources: Sequence[Source],
    executor: Executor,
    *,
    held_out: Source | None = None,
    tracker: Tracker | None = None,
    on_report: Callable[[Report], None] | None = None,
    watch: Watch | None = None,
    log_model_every: int | None = None,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    start: Start | None = None,
    keep_server: bool = False,
) -> Result:
    """Run the plan to its end: all rounds, or until the server's rule says it has converged.

    When workers die, their sources are loaded again at the places that are left and the rounds
    since the last checkpoint, or since the start, are replayed to the same bits; nothing is
    reported twice. To workers that join, sources move with their memories, between two rounds.

    Where sources are weighed anew during a run (`Plan.trust_every`), a server that has converged
    has them weighed at once. If other rows are believed, or the same ones less or more, the
    server begins anew from the parameters as they are; else the run is over.

    Parameters
    ----------
    plan, sources, executor
        What is learned, from whom, and where.
    held_out : Source, optional
        Rows on which the model is judged.
    tracker : Tracker, optional
        Hears every report; what `msl.autolog` says when left out.
    on_report : callable, optional
        Told every report after the tracker.
    watch : callable, optional
        Told every report before the tracker, and how to get the parameters after it; returns
        whether the run ends there. Each round then waits for it.
    log_model_every : int, optional
        Rounds after which the tracker gets the model as it is then.
    checkpoints : Checkpoints, optional
        Where to keep what the run can go on from, and how often; nowhere when left out.
    resume : bool
        Whether to go on with the run whose checkpoints those are. It ends in the same bits as
        without the break, on any number of places. The tracker hears the rounds that it does not
        know, `on_report` and `watch` new ones, and the result has all.
    start : Start, optional
        Where to begin; its rounds have no checkpoints.
    keep_server : bool
        Whether the result has the server's state, which may be many times as large as the model.

    Raises
    ------
    PlanError
        When the parts do not fit each other or the sources, or not the run to resume.
    CheckpointError
        When a run cannot be resumed from any of its checkpoints, another driver is writing them,
        or a part keeps what no checkpoint can hold.
    SourceError
        When a source cannot be loaded, or fails and the plan says raise.
    WorkerLostError
        When no place is left.
    """
    plan.check(len(sources))
    if start is not None:
        start.check(plan)
    if start is not None and checkpoints is not None:
        raise PlanError("checkpoints hold a run from round 0: leave them or the start out")
    if resume and checkpoints is None:
        raise PlanError("a run is resumed from its checkpoints: say where they are")
    own = active_tracker("msl", plan.describe()) if tracker is None else nullcontext(tracker)
    held = checkpoints.held() if checkpoints else nullcontext()
    with held, own as heard:
        shelf = checkpoints.open(plan, resume=resume, run=heard.run_id) if checkpoints else None
        staged = partial(set_stage, plan, sources, held_out, executor)
        run = _Run(
            plan, staged, start, held_out, heard, on_report, watch, log_model_every, shelf, resume
        )
        while True:
            try:
                stage, standing = run.through()
                params = _params(stage, standing)
                server = _fetch(stage, standing, _server_of) if keep_server else None
                return Result(params, run.reports, run.ledger, server)
            except WorkerLostError:
                executor.refresh()


@dataclass
class _Run:
    """What was asked for, and what outlives a lost worker: reports, books, and the shelf."""

    plan: Plan
    staged: Callable[..., Stage]
    start: Start | None
    held_out: Source | None
    tracker: Tracker
    on_report: Callable[[Report], None] | None
    watch: Watch | None
    log_model_every: int | None
    shelf: Shelf | None
    resume: bool

    def __post_init__(self) -> None:
        self.first, self.end = self.start.round if self.start else 0, self.plan.rounds
        self.reports = Reports()
        self.ledger: Ledger
        self.opened, self.tracked = False, frozenset[int]()

    @property
    def known(self) -> int:
        """The first round that nobody has heard of."""
        return self.first + len(self.reports)

    def through(self) -> tuple[Stage, Standing]:
        """Run all rounds, and return where that ends."""
        stage, standing, done = self.begin()
        self.script = Script.of(self.reports[done - self.first :])
        ahead, settled = 1, False
        while done < self.end and (found := self.judged(stage, standing, done, settled)):
            stage, standing = self.widened(*found)
            rounds = range(done, self.pause(done, ahead))
            told, standing = self.run(stage, standing, rounds)
            ahead, settled = ahead_of(told[-1]), told[-1].converged
            for report in told[max(0, self.known - done) :]:
                self.hear(report, stage, standing)
            done += len(told)
            if done == self.known:
                self.keep(stage, standing, settled)
        return stage, standing

    def run(
        self, stage: Stage, standing: Standing, rounds: range
    ) -> tuple[tuple[Report, ...], Standing]:
        """Run some rounds, or those until the server has converged."""
        if not self.plan.waiting.timed:
            return run_until_converged(stage, standing, rounds)
        (round,) = rounds
        report, standing = run_round_in_time(
            stage,
            standing,
            round,
            resting=self.ledger.resting(round),
            script=self.script if round < self.known else None,
            # What is under way is in no checkpoint, and another stage knows nothing of it.
            for_all=self.plan.waiting.folds and self.breaks(round + 1),
        )
        return (report,), standing

    def breaks(self, done: int) -> bool:
        """Whether there is a checkpoint to make, or a stage to set, after so many rounds."""
        cadences = (self.plan.trust_every, self.shelf.every if self.shelf else None)
        return any(every and done % every == 0 for every in cadences)

    def begin(self) -> tuple[Stage, Standing, int]:
        """Set the stage after the newest checkpoint that can be read, or for the first round."""
        required = self.resume and not self.opened
        for saved in self.shelf.saved(required=required) if self.shelf else ():
            stage = self.staged(saved.ledger.verdict)
            # Rows may change where sources are loaded anew during a run.
            ledger = saved.books(stage.infos, same_rows=self.plan.trust_every is None)
            restored = saved.restore(self.plan, stage.executor, stage.root, stage.ranks)
            if restored is not None:
                self.open(stage, replace(saved, ledger=ledger))
                return stage, Standing(*restored), saved.done
        # After a loss by the first verdict: a source that came back was not in those rounds.
        stage = self.staged(self.ledger.verdicts[0][1] if self.opened else None)
        self.open(stage, None)
        return stage, first_standing(stage, self.start), self.first

    def open(self, stage: Stage, saved: Saved | None) -> None:
        """Begin after this checkpoint; open the books, unless they are since before a loss."""
        self.shelf = self.shelf and self.shelf.after(saved)
        if self.opened:
            # Loaded again after a loss; rows may change only where they are weighed anew.
            same_rows = self.plan.trust_every is None
            self.ledger = self.ledger.loaded_again(stage.infos, same_rows=same_rows)
            return
        self.tracker.log_sources(stage.taking_part)
        self.ledger, self.opened = Ledger.open(stage.infos, stage.verdict, self.first), True
        if saved is not None:
            self.ledger, self.reports = saved.ledger, saved.reports
        # A tracker that was killed may lack the last rounds, or be ahead of us.
        self.tracked = self.tracker.rounds() if self.resume else frozenset()
        for report in self.reports:
            self.track(report)

    def track(self, report: Report) -> None:
        if report.round not in self.tracked:
            self.tracker.log(report)

    def judged(
        self, stage: Stage, standing: Standing, done: int, settled: bool
    ) -> tuple[Stage, Standing] | None:
        """Weigh the sources anew if it is time; None when a settled server has no more to learn."""
        every = self.plan.trust_every
        if every and (settled or (done > self.first and done % every == 0)):
            stage.forget()
            before, stage = stage, self.staged()
            standing = moved(standing, before, stage)
            if done == self.known:
                self.ledger = self.ledger.judged(done, stage.verdict, stage.infos)
            if stage.task != before.task:
                submit = stage.executor.submit
                met = submit(with_new_server, self.plan, standing.met, at=stage.root)
                standing, settled = replace(standing, met=met), False
            standing = replace(standing, flights=())
        return None if settled else (stage, standing)

    def widened(self, stage: Stage, standing: Standing) -> tuple[Stage, Standing]:
        """Take in workers that joined: some sources move there, with their memories.

        Not while somebody is at work for a round that is over.
        """
        if standing.flights or not stage.executor.grow():
            return stage, standing
        wider = self.staged(stage.verdict, stage)
        same_rows = self.plan.trust_every is None
        self.ledger = self.ledger.loaded_again(wider.infos, same_rows=same_rows)
        return wider, moved(standing, stage, wider)

    def pause(self, done: int, ahead: int) -> int:
        """Return the round to pause before: at each cadence's multiples, or so many ahead."""
        on_shelf = self.shelf.every if self.shelf else None
        cadences = (self.end, self.plan.trust_every, self.log_model_every, on_shelf)
        nearest = min(done - done % every + every for every in cadences if every)
        return min(nearest, done + (1 if self.watch or self.plan.waiting.timed else ahead))

    def hear(self, report: Report, stage: Stage, standing: Standing) -> None:
        """Tell everybody of a report."""
        # First who may find a worker lost, and is told again then.
        # A copy: in process it is what the run goes on from, and a watch may write to it.
        if self.watch and self.watch(report, lambda: _params(stage, standing).copy()):
            self.end = report.round + 1
        self.reports.append(report)
        self.ledger = self.ledger.heard(report)
        self.track(report)
        if self.on_report:
            self.on_report(report)

    def keep(self, stage: Stage, standing: Standing, settled: bool) -> None:
        """Leave the model with the tracker, and a checkpoint on the shelf, where it is time."""
        executor, root, done = stage.executor, stage.root, self.known
        if self.log_model_every and done % self.log_model_every == 0:
            dataset, judges = None, self.held_out
            if judges is not None:
                known = executor.submit(info_of, judges.name, stage.held_out, root, at=root)
                (dataset,) = executor.gather([known])
            params = _params(stage, standing)
            self.tracker.log_checkpoint(done - 1, self.plan.model, params, dataset=dataset)
        if self.shelf and not settled and self.shelf.due(done):
            self.shelf = self.shelf.save(
                executor, root, standing.met, standing.worked, self.ledger, self.reports
            )


def _fetch(stage: Stage, standing: Standing, fn: Callable[[Met], Any]) -> Any:
    """Bring what a function says of the state to the client."""
    asked = stage.executor.submit(fn, standing.met, at=stage.root, aside=True)
    (found,) = stage.executor.gather([asked])
    return found


def _params(stage: Stage, standing: Standing) -> Vector:
    """Bring the model to the client; what came over a wire may lie at an odd address.

    NumPy multiplies matrices there in another order: predictions would differ in their last bits.
    """
    return np.require(_fetch(stage, standing, meeting.params_of), requirements="A")


def _server_of(met: Met) -> Any:
    return met.state.server
