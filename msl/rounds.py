"""The one path through a run: the stage is set, rounds are run, the model comes back.

::

    model -> each host: solve -> encode -> payloads -> where they meet: decode -> attack
          -> aggregate -> step -> evaluate -> report -> tracker
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from msl import hosts, meeting
from msl.checkpoints.base import Checkpoints, Saved, Shelf
from msl.cluster.base import Executor
from msl.errors import PlanError, WorkerLostError
from msl.ledger import Ledger
from msl.meeting import State
from msl.plan import Plan
from msl.random import derive, generator
from msl.sources.base import Source, info_of
from msl.stage import Stage, Standing, first_standing, set_stage
from msl.tracking import active_tracker
from msl.tracking.base import Tracker
from msl.types import Report, SourceInfo, Vector

__all__ = [
    "Plan",
    "Result",
    "Stage",
    "Standing",
    "State",
    "run_round",
    "run_rounds",
    "set_stage",
    "train",
]


@dataclass(frozen=True)
class Result:
    """What a run leaves: the model, every report, and the books on its sources."""

    params: Vector
    reports: tuple[Report, ...]
    ledger: Ledger

    @property
    def sources(self) -> tuple[SourceInfo, ...]:
        """What may be said of each source, by rank."""
        return self.ledger.sources


def run_round(stage: Stage, before: Standing, round: int) -> tuple[Report, Standing]:
    """Run one round: one message to each worker that has a part in it."""
    (report,), standing = run_rounds(stage, before, range(round, round + 1))
    return report, standing


def run_rounds(
    stage: Stage, before: Standing, rounds: range
) -> tuple[tuple[Report, ...], Standing]:
    """Run some rounds; the client's part of them, one message per worker, is paid once.

    Nothing in a round waits for the client, so workers go from one to the next by themselves.
    """
    start = perf_counter()
    told, standing = [], before
    for round in rounds:
        standing = queue_round(stage, standing, round)
        told.append(stage.executor.submit(meeting.report_of, standing.met, at=stage.root))
    reports = stage.executor.gather(told)
    seconds = {"round": (perf_counter() - start) / len(rounds)}
    done = tuple(
        replace(
            report,
            seconds={**report.seconds, **seconds},
            believed=sum(weight > 0 for weight in stage.believed),
            bound=_guaranteed(stage, report),
        )
        for report in reports
    )
    return done, standing


def _guaranteed(stage: Stage, report: Report) -> dict[str, float]:
    """Return what is guaranteed of the risk of a model that agrees with this round's sources."""
    guarantee = stage.plan.guarantee
    if guarantee is None or stage.capacity is None:
        return {}
    rows = [stage.infos[rank].rows for rank in report.participants]
    filtered = stage.verdict.filtered
    return guarantee.of_round(rows, report.given, stage.capacity, filtered=filtered).metrics()


def queue_round(stage: Stage, before: Standing, round: int) -> Standing:
    """Submit the calls of a round: this function is the round."""
    executor, root = stage.executor, stage.root
    model = executor.submit(meeting.model_of, before.met, at=root)
    worked, deliveries = dict(before.worked), []
    chosen = choose(stage.plan, stage.believed, round)
    for place, ranks in stage.ranks.items():
        mine = tuple(rank for rank in ranks if rank in chosen)
        if mine:
            worked[place] = executor.submit(
                hosts.work,
                stage.hosts[place],
                before.worked.get(place),
                model,
                mine,
                round,
                at=place,
            )
            deliveries.append(executor.submit(hosts.delivery_of, worked[place], at=place))
    met = executor.submit(
        meeting.meet,
        stage.hosts[root],
        before.met,
        deliveries,
        stage.believed,
        stage.held_out,
        round,
        at=root,
    )
    return Standing(met, worked)


def choose(plan: Plan, believed: Sequence[float], round: int) -> frozenset[int]:
    """Return the ranks of a round, drawn uniformly among the sources that are believed at all."""
    open_to = [rank for rank, weight in enumerate(believed) if weight > 0]
    if not open_to:
        raise PlanError("the trust rule believes no source; there is nothing to learn from")
    if plan.per_round is None or plan.per_round >= len(open_to):
        return frozenset(open_to)
    draw = generator(derive(plan.seed, round, "choose"))
    return frozenset(draw.choice(open_to, plan.per_round, replace=False).tolist())


def train(
    plan: Plan,
    sources: Sequence[Source],
    executor: Executor,
    *,
    held_out: Source | None = None,
    tracker: Tracker | None = None,
    on_report: Callable[[Report], None] | None = None,
    log_model_every: int | None = None,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
) -> Result:
    """Run the plan to its end: all rounds, or until the server's rule says it has converged.

    When workers die, their sources are loaded again at the places that are left and the rounds
    since the last checkpoint, or since the start, are replayed to the same bits; nothing is
    reported twice.

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
    log_model_every : int, optional
        Rounds after which the tracker gets the model as it is then.
    checkpoints : Checkpoints, optional
        Where to keep what the run can go on from, and how often; nowhere when left out.
    resume : bool
        Whether to go on with the run whose checkpoints those are. It ends in the same bits as
        without the break, on any number of places. The tracker hears the rounds that it does not
        know, `on_report` new ones, and the result has all.

    Raises
    ------
    PlanError
        When the parts do not fit each other or the sources, or not the run to resume.
    CheckpointError
        When a run cannot be resumed from any of its checkpoints, or a part keeps what no
        checkpoint can hold.
    SourceError
        When a source cannot be loaded, or fails and the plan says raise.
    WorkerLostError
        When no place is left.
    """
    plan.check(len(sources))
    if tracker is None:
        with active_tracker("msl", plan.describe()) as own:
            return train(
                plan, sources, executor, held_out=held_out, tracker=own, on_report=on_report,
                log_model_every=log_model_every, checkpoints=checkpoints, resume=resume,
            )  # fmt: skip
    shelf = None
    if checkpoints is not None:
        shelf = checkpoints.open(plan, resume=resume, run=tracker.run_id)
    elif resume:
        raise PlanError("a run is resumed from its checkpoints: say where they are")
    reports: list[Report] = []
    ledger: Ledger | None = None
    tracked: frozenset[int] = frozenset()
    while True:
        try:
            required = resume and ledger is None
            stage, standing, saved = _start(plan, sources, held_out, executor, shelf, required)
            if ledger is None:
                tracker.log_sources(stage.infos)
                ledger = Ledger.open(stage.infos, stage.verdict)
                if saved is not None:
                    ledger, reports = saved.ledger, list(saved.reports)
                # A tracker that was killed may lack the last rounds, or be ahead of us.
                tracked = tracker.rounds() if resume else frozenset()
                for report in reports:
                    if report.round not in tracked:
                        tracker.log(report)
            shelf = shelf and shelf.after(saved)
            done, ahead, over = saved.done if saved else 0, 1, False
            while done < plan.rounds and not over:
                if done and done % (plan.trust_every or plan.rounds) == 0:
                    stage = set_stage(plan, sources, held_out, executor)
                    if done == len(reports):
                        ledger = ledger.judged(done, stage.verdict)
                every = checkpoints.every if checkpoints else None
                stops = (plan.rounds, plan.trust_every, log_model_every, every)
                batch = range(done, _stop(done, ahead, stops))
                told, standing = run_rounds(stage, standing, batch)
                ahead = _ahead(told[-1].seconds["round"])
                # Rounds after the end were queued already; they changed nothing.
                told, over = _until_converged(told)
                done += len(told)
                for report in told[max(0, len(reports) - batch.start) :]:
                    reports.append(report)
                    ledger = ledger.heard(report)
                    if report.round not in tracked:
                        tracker.log(report)
                    if on_report:
                        on_report(report)
                if done == len(reports) and done % (log_model_every or plan.rounds + 1) == 0:
                    _checkpoint(stage, standing, done - 1, held_out, tracker)
                if shelf and not over and done == len(reports) and shelf.due(done):
                    shelf = shelf.save(
                        executor, stage.root, standing.met, standing.worked, ledger, reports
                    )
            return Result(_params(stage, standing), tuple(reports), ledger)
        except WorkerLostError:
            executor.refresh()


def _start(
    plan: Plan,
    sources: Sequence[Source],
    held_out: Source | None,
    executor: Executor,
    shelf: Shelf | None,
    required: bool,
) -> tuple[Stage, Standing, Saved | None]:
    """Set the stage for the round after the newest checkpoint that can be read, or for round 0."""
    for saved in shelf.saved(required=required) if shelf else ():
        stage = set_stage(plan, sources, held_out, executor, saved.ledger.verdict)
        # Rows may change where sources are loaded anew during a run.
        ledger = saved.books(stage.infos, same_rows=plan.trust_every is None)
        restored = saved.restore(plan, executor, stage.root, stage.ranks)
        if restored is not None:
            return stage, Standing(*restored), replace(saved, ledger=ledger)
    stage = set_stage(plan, sources, held_out, executor)
    return stage, first_standing(stage), None


def _until_converged(told: tuple[Report, ...]) -> tuple[tuple[Report, ...], bool]:
    """Return the reports up to the first that has come to an end, and whether one has."""
    for i, report in enumerate(told):
        if report.converged:
            return told[: i + 1], True
    return told, False


def _params(stage: Stage, standing: Standing) -> Vector:
    """Bring the parameters to the client."""
    handle = stage.executor.submit(meeting.params_of, standing.met, at=stage.root)
    params: Vector = stage.executor.gather([handle])[0]
    return params


def _checkpoint(
    stage: Stage, standing: Standing, round: int, held_out: Source | None, tracker: Tracker
) -> None:
    """Leave the model as it is after a round with the tracker."""
    dataset = None
    if held_out is not None:
        known = stage.executor.submit(
            info_of, held_out.name, stage.held_out, stage.root, at=stage.root
        )
        (dataset,) = stage.executor.gather([known])
    params = _params(stage, standing)
    tracker.log_checkpoint(round, stage.plan.model, params, dataset=dataset)


def _stop(done: int, ahead: int, cadences: Sequence[int | None]) -> int:
    """Return the round to pause before: at most so many ahead, and at each cadence's multiples."""
    return min(done + ahead, *(done - done % every + every for every in cadences if every))


def _ahead(seconds: float) -> int:
    """Return how many rounds of that length to queue at once: about a tenth of a second."""
    return max(1, min(16, round(0.1 / seconds)))
