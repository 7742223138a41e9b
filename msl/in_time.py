"""A round that does not wait for everyone: who is asked, who is still at work, what came in time.

The client has a part in every such round: it hears who came before it asks anybody again. One
place works on one round at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from time import perf_counter, sleep
from typing import Any

from msl import meeting
from msl.cluster.base import Soonest
from msl.delivery import delivery_of, left_out, staying
from msl.round import at_places, finished
from msl.stage import Flight, Stage, Standing
from msl.terms import Terms
from msl.types import Report
from msl.waiting.base import Waiting
from msl.work import work

__all__ = ["Patience", "Script", "run_round_in_time"]


@dataclass(frozen=True)
class Script:
    """Rounds that were told already, and are replayed as they were: who worked on which model.

    Parameters
    ----------
    reports : mapping from int to Report
        By round.
    asked : mapping from int to mapping from int to tuple of int
        By round, and the round in which its update was used: ranks that got that model.
    """

    reports: Mapping[int, Report]
    asked: Mapping[int, Mapping[int, tuple[int, ...]]]

    @classmethod
    def of(cls, reports: Iterable[Report]) -> "Script":
        """Return the script of these rounds."""
        by_round: dict[int, Report] = {}
        asked: dict[int, dict[int, tuple[int, ...]]] = {}
        for report in reports:
            by_round[report.round] = report
            for rank in sorted(_delivered(report)):
                cohorts = asked.setdefault(report.round - report.stale.get(rank, 0), {})
                cohorts[report.round] = (*cohorts.get(report.round, ()), rank)
        return cls(by_round, asked)


def _delivered(report: Report) -> list[int]:
    """Return whose update came in time, whether it was fit for use or not."""
    if not report.participants:
        return []  # the round went by without a step
    late = report.late or ()
    return [*report.participants, *(rank for rank in report.dropped if rank not in late)]


@dataclass(frozen=True)
class Patience:
    """For how long to wait, by what came.

    Parameters
    ----------
    waiting : Waiting
        How the plan waits.
    needed : int
        How many updates were to be heard.
    counted : tuple of bool
        Which deliveries are waited for; the others may come while we wait.
    for_all : bool
        Whether all of those are, however long it takes.
    """

    waiting: Waiting
    needed: int
    counted: tuple[bool, ...]
    for_all: bool

    def __call__(self, came: Sequence[Any], seconds: float) -> float:
        """Return the seconds to wait on, 0 for none."""
        mine = [d for d, counted in zip(came, self.counted, strict=True) if counted]
        if all(d is not None for d in mine):
            return 0.0
        if self.for_all:
            return inf
        heard = sum(len(d.sent) for d in mine if d is not None)
        return self.waiting.patience(heard, self.needed, seconds)


def run_round_in_time(
    stage: Stage,
    before: Standing,
    round: int,
    *,
    resting: frozenset[int] = frozenset(),
    script: Script | None = None,
    for_all: bool = False,
) -> tuple[Report, Standing]:
    """Run a round, and close it as the plan's `waiting` says.

    Parameters
    ----------
    stage, before, round
        As for any round.
    resting : frozenset of int
        Ranks not to ask.
    script : Script, optional
        What happened in this round, if it is replayed.
    for_all : bool
        Whether to wait for all who are at work, so that nobody is after this round.
    """
    start = perf_counter()
    plan, root, submit = stage.plan, stage.root, stage.executor.submit
    # Before the sources of that place are at work, behind whom it would wait.
    counts = stage.counts
    # Beside the sources of that place, so that they hold up nobody.
    meet = partial(submit, at=root, aside=True)
    model, worked_by = meet(meeting.model_of, before.met), dict(before.worked)
    flights = list(before.flights)
    asked: tuple[int, ...] = ()
    limit = None if script else plan.waiting.limit
    whom = script.asked.get(round, {}) if script else {None: _whom(stage, flights, resting, round)}
    for due, ranks in whom.items():
        asked += ranks
        for at, mine in at_places(stage, ranks).items():
            host, kept = stage.hosts[at], worked_by.get(at)
            done = submit(work, host, kept, model, mine, round, limit, at=at)
            delivery = submit(delivery_of, done, at=at)
            worked = submit(staying, done, at=at)
            flights.append(Flight(at, round, mine, delivery, worked, model, due))
            if script:
                # What was used for sure: the next one there may not wait until it is.
                worked_by[at] = worked
    closing = [flight for flight in flights if flight.due in (None, round)]
    terms = Terms(
        asked,
        _wanted(stage),
        tuple(flight.round for flight in closing),
        tuple(flight.ranks for flight in closing),
        script.reports[round].bytes_total if script else None,
    )
    met = meet(
        meeting.meet,
        stage.hosts[root],
        before.met,
        Soonest(
            [flight.delivery for flight in closing],
            _patience(stage, terms, round, for_all=for_all or script is not None),
        ),
        counts,
        stage.held_out,
        round,
        terms,
    )
    report, fates = stage.executor.gather(
        [meet(meeting.report_of, met), meet(meeting.fates_of, met)]
    )
    if limit and not report.participants:
        # In its own time: all rounds might go by while something is down for a minute.
        sleep(max(0.0, start + limit - perf_counter()))
    for flight, fate in zip(closing, fates, strict=True):
        if fate != "away":
            flights.remove(flight)
        at = flight.place
        if fate == "used" and not script:
            worked_by[at] = flight.worked
        elif fate == "spare" and not script:
            worked_by[at] = submit(left_out, worked_by.get(at), flight.worked, at=at)
    standing = Standing(met, worked_by, tuple(flights))
    return finished(stage, report, perf_counter() - start), standing


def _whom(
    stage: Stage, flights: Sequence[Flight], resting: frozenset[int], round: int
) -> tuple[int, ...]:
    """Return whom to ask: drawn among those whose place is free and who do not rest."""
    plan, waiting, k = stage.plan, stage.plan.waiting, _wanted(stage)
    busy = {rank for flight in flights for rank in stage.ranks[flight.place]}
    open_to = free = stage.candidates.without(busy)
    if resting:
        rested = free.without(resting)
        # Rather those who may be late than a round that cannot do.
        open_to = rested if len(rested) >= waiting.least(k) else free
    wanted = waiting.drawn(k)
    if waiting.folds:
        wanted -= sum(len(flight.ranks) for flight in flights)
    if not open_to or wanted < 1:
        return ()
    return plan.sampler.choose(open_to, wanted, plan.seed, round)


def _wanted(stage: Stage) -> int:
    """Return how many updates are to be heard: no more than there are sources to believe."""
    n = len(stage.candidates)
    return min(stage.plan.per_round or n, n)


def _patience(stage: Stage, terms: Terms, round: int, *, for_all: bool) -> Patience:
    waiting = stage.plan.waiting
    # What is too late is not waited for, unless there is nobody else.
    counted = tuple(waiting.folds or begun == round or not terms.asked for begun in terms.rounds)
    return Patience(waiting, terms.k, counted, for_all)
