"""One round: who takes part, what is sent to each worker, and what the client hears of it."""

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from msl import meeting
from msl.bounds.capacity import Linear
from msl.delivery import delivery_of, staying
from msl.stage import Stage, Standing
from msl.types import Report
from msl.work import work

__all__ = [
    "ahead_of",
    "at_places",
    "choose",
    "finished",
    "queue_round",
    "run_round",
    "run_rounds",
    "run_until_converged",
]


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
    seconds = (perf_counter() - start) / len(rounds)
    return tuple(finished(stage, report, seconds) for report in reports), standing


def finished(stage: Stage, report: Report, seconds: float) -> Report:
    """Return a report with what the client knows: how long it took, and what is guaranteed."""
    return replace(
        report,
        seconds={**report.seconds, "round": seconds},
        believed=len(stage.candidates),
        bound=_guaranteed(stage, report),
    )


def run_until_converged(
    stage: Stage, before: Standing, rounds: range
) -> tuple[tuple[Report, ...], Standing]:
    """Run some rounds, or those until the server has converged."""
    told, standing = run_rounds(stage, before, rounds)
    ended = next((i for i, report in enumerate(told, 1) if report.converged), len(told))
    if ended < len(told) and stage.plan.trust_every:
        # What was queued beyond the end left the model as it is, but not the memories of the
        # sources; and with another verdict the run goes on from here.
        _, standing = run_rounds(stage, before, rounds[:ended])
    return told[:ended], standing


def ahead_of(report: Report) -> int:
    """Return how many rounds of that length to queue at once: about a tenth of a second."""
    return max(1, min(16, round(0.1 / report.seconds["round"])))


def _guaranteed(stage: Stage, report: Report) -> dict[str, float]:
    """Return what is guaranteed of the risk of a model that agrees with this round's sources."""
    guarantee = stage.plan.guarantee
    if guarantee is None or stage.capacity is None or not report.participants:
        return {}
    rows = [stage.infos[rank].told for rank in report.participants]
    # The rule compares linear classifiers: of another class it promises nothing.
    filtered = stage.verdict.filtered and isinstance(stage.capacity, Linear)
    told = guarantee.of_round(
        rows, report.given, stage.capacity, filtered=filtered, believed=len(stage.candidates)
    )
    return told.metrics()


def queue_round(stage: Stage, before: Standing, round: int) -> Standing:
    """Submit the calls of a round: this function is the round."""
    submit, root = stage.executor.submit, stage.root
    model = submit(meeting.model_of, before.met, at=root)
    worked, deliveries = dict(before.worked), []
    for place, mine in choose(stage, round).items():
        host, memories = stage.hosts[place], before.worked.get(place)
        done = submit(work, host, memories, model, mine, round, at=place)
        deliveries.append(submit(delivery_of, done, at=place))
        worked[place] = submit(staying, done, at=place)
    host, counts, rows = stage.hosts[root], stage.counts, stage.held_out
    met = submit(meeting.meet, host, before.met, deliveries, counts, rows, round, at=root)
    return Standing(met, worked)


def choose(stage: Stage, round: int) -> dict[str, tuple[int, ...]]:
    """Return the ranks of a round at each place, drawn among the sources believed at all."""
    plan, open_to = stage.plan, stage.candidates
    k = plan.per_round or len(open_to)
    return at_places(stage, plan.sampler.choose(open_to, k, plan.seed, round))


def at_places(stage: Stage, ranks: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return which of these ranks each place has."""
    found: dict[str, list[int]] = {place: [] for place in stage.ranks}
    for rank in ranks:
        found[stage.place_of[rank]].append(rank)
    return {place: tuple(mine) for place, mine in found.items() if mine}
