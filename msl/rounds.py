"""The one path through a run: sources are placed, rounds are run, the model comes back.

::

    model -> each host: solve -> encode -> payloads -> where they meet: decode -> attack
          -> aggregate -> step -> evaluate -> report -> tracker
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from msl import hosts, meeting
from msl.bounds.capacity import Capacity, Measured
from msl.cluster.base import Executor, Handle
from msl.errors import DataError, PlanError, WorkerLostError
from msl.ledger import Ledger
from msl.meeting import State
from msl.plan import Plan
from msl.random import derive, generator
from msl.sources.base import Source, info_of
from msl.tracking import active_tracker
from msl.tracking.base import Tracker
from msl.trust.all import TrustAll
from msl.trust.base import Held, TrustReport
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
class Stage:
    """Who is where: handles of what stays put during a run.

    Parameters
    ----------
    hosts : dict from str to Handle
        The loaded sources of each place that has some.
    ranks : dict from str to tuple of int
        Which sources those are.
    root : str
        Where payloads meet.
    held_out : Handle
        The held-out rows at the root, or None.
    verdict : TrustReport
        Whom the trust rule believes, and why.
    capacity : Capacity, optional
        Of the models, where something is guaranteed.
    """

    plan: Plan
    executor: Executor
    hosts: dict[str, Handle]
    ranks: dict[str, tuple[int, ...]]
    infos: tuple[SourceInfo, ...]
    root: str
    held_out: Handle
    verdict: TrustReport
    capacity: Capacity | None

    @property
    def believed(self) -> tuple[float, ...]:
        """Weight of each rank in [0, 1], from the trust rule."""
        return self.verdict.weights


@dataclass(frozen=True)
class Standing:
    """How far a run has come: handles of the state, and of each host's memories."""

    met: Handle
    worked: dict[str, Handle]


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


def set_stage(
    plan: Plan, sources: Sequence[Source], held_out: Source | None, executor: Executor
) -> Stage:
    """Load every source at a place, by its rank in turn, and ask whom to believe."""
    places = executor.places[: len(sources)]
    dealt = {
        place: [(rank, sources[rank]) for rank in range(i, len(sources), len(places))]
        for i, place in enumerate(places)
    }
    held = {
        place: executor.submit(hosts.hold, plan, place, tuple(mine), at=place)
        for place, mine in dealt.items()
    }
    root = plan.collective.meeting_place(places)
    judged = executor.submit(hosts.load_held_out, held_out, at=root) if held_out else None
    told = executor.gather(
        [executor.submit(hosts.infos_of, held[place], at=place) for place in places]
    )
    infos = tuple(info for _, info in sorted((r, i) for one in told for r, i in one.items()))
    _check_fit(plan, infos)
    ranks = {place: tuple(rank for rank, _ in mine) for place, mine in dealt.items()}
    where = {rank: place for place, mine in ranks.items() for rank in mine}
    sources_held = [
        Held(rank, info, held[where[rank]], where[rank]) for rank, info in enumerate(infos)
    ]
    if not isinstance(plan.trust, TrustAll) and any(info.sparse for info in infos):
        raise DataError(
            f"trust rule {plan.trust.name} compares dense rows, source "
            f"{next(info.name for info in infos if info.sparse)!r} has sparse ones: load them dense, "
            "or believe all of them"
        )
    verdict = plan.trust.weigh(sources_held, executor)
    capacity = _capacity(plan, held, infos, executor)
    return Stage(plan, executor, held, ranks, infos, root, judged, verdict, capacity)


def _capacity(
    plan: Plan, held: Mapping[str, Handle], infos: Sequence[SourceInfo], executor: Executor
) -> Capacity | None:
    """Return the size of the models' class: known, asked for or measured at the sources."""
    if plan.guarantee is None:
        return None
    if plan.guarantee.capacity != "measured":
        return plan.capacity
    told = executor.gather(
        [executor.submit(hosts.halves, host, at=place) for place, host in held.items()]
    )
    gaps = np.array([gap for _, gap in sorted((r, g) for one in told for r, g in one.items())])
    return Measured.of_sources(gaps[None], np.array([info.rows for info in infos]))


def _check_fit(plan: Plan, infos: Sequence[SourceInfo]) -> None:
    """Raise DataError when a source has other features or classes than the model."""
    features = getattr(plan.model, "n_features", infos[0].features)
    for info in infos:
        if info.features != features:
            raise DataError(
                f"source {info.name!r} has {info.features} features, the model takes {features}; "
                "give every source the same columns, or set model.n_features"
            )
        if plan.n_classes is not None and info.classes and max(info.classes) >= plan.n_classes:
            raise DataError(
                f"source {info.name!r} has class {max(info.classes)}, the run has classes "
                f"0..{plan.n_classes - 1}; set model.n_classes"
            )


def first_standing(stage: Stage) -> Standing:
    """Return the standing before round 0."""
    met = stage.executor.submit(meeting.begin, stage.plan, len(stage.infos), at=stage.root)
    return Standing(met, {})


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
    checkpoint_every: int | None = None,
) -> Result:
    """Run the plan to its end: all rounds, or until the server's rule says it has converged.

    When workers die, their sources are loaded again at the places that are left and the rounds
    so far are replayed to the same bits; nothing is reported twice.

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
    checkpoint_every : int, optional
        Rounds after which the tracker gets the model as it is then.

    Raises
    ------
    PlanError
        When the parts do not fit each other or the sources.
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
                checkpoint_every=checkpoint_every,
            )  # fmt: skip
    reports: list[Report] = []
    ledger: Ledger | None = None
    while True:
        try:
            stage = set_stage(plan, sources, held_out, executor)
            if ledger is None:
                tracker.log_sources(stage.infos)
                ledger = Ledger.open(stage.infos, stage.verdict)
            standing = first_standing(stage)
            done, ahead, over = 0, 1, False
            while done < plan.rounds and not over:
                if done and done % (plan.trust_every or plan.rounds) == 0:
                    stage = set_stage(plan, sources, held_out, executor)
                    if done == len(reports):
                        ledger = ledger.judged(done, stage.verdict)
                stops = (plan.rounds, plan.trust_every, checkpoint_every)
                batch = range(done, _stop(done, ahead, stops))
                told, standing = run_rounds(stage, standing, batch)
                ahead = _ahead(told[-1].seconds["round"])
                # Rounds after the end were queued already; they changed nothing.
                told, over = _until_converged(told)
                done += len(told)
                for report in told[max(0, len(reports) - batch.start) :]:
                    reports.append(report)
                    ledger = ledger.heard(report)
                    tracker.log(report)
                    if on_report:
                        on_report(report)
                if done == len(reports) and done % (checkpoint_every or plan.rounds + 1) == 0:
                    _checkpoint(stage, standing, done - 1, held_out, tracker)
            return Result(_params(stage, standing), tuple(reports), ledger)
        except WorkerLostError:
            executor.refresh()


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
