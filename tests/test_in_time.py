"""Rounds that do not wait for everyone: deadline, quorum, over-selection, buffers, replays."""

import asyncio
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tasks import SlowSgd, blobs, held_out, pid, plan, some_slow

from msl import meeting
from msl.aggregators import Mean, TrimmedMean
from msl.algorithms import Lbfgs
from msl.attacks import Delayed, Nan, Optimal
from msl.attempt import Attempt, Attempts, LateError
from msl.checkpoints import Checkpoints
from msl.cluster import DaskExecutor, LocalExecutor, open_executor
from msl.cluster.base import Soonest
from msl.cluster.lane import Program, _lanes
from msl.codecs import Identity
from msl.delivery import Delivery, Sent
from msl.errors import MslError, PlanError
from msl.hosts import Host
from msl.in_time import Script, run_round_in_time
from msl.ledger import Drops
from msl.rounds import set_stage, train
from msl.stage import first_standing
from msl.terms import Terms
from msl.trust.base import TrustReport
from msl.waiting import Buffered, Deadline, Everyone

SGD = {"epochs": 1, "batch": 8, "lr": 0.1}


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Kernels are compiled by the first round, which takes longer than these deadlines."""
    local(plan(rounds=1), blobs())


def slow_plan(seconds, waiting, **changes):
    before = changes.pop("before", 1 << 30)
    algorithm = SlowSgd(**SGD, seconds=seconds, before=before)
    return plan(algorithm=algorithm, waiting=waiting, **changes)


def local(a_plan, sources, **more):
    with LocalExecutor() as executor:
        return train(a_plan, sources, executor, held_out=held_out(), **more)


def replayed(a_plan, sources, reports):
    """The parameters after each of these rounds, run again in this process as they were told."""
    found, script = [], Script.of(reports)
    with LocalExecutor() as executor:
        stage = set_stage(a_plan, sources, held_out(), executor)
        standing = first_standing(stage)
        for report in reports:
            _, standing = run_round_in_time(stage, standing, report.round, script=script)
            found.append(meeting.params_of(standing.met))
    return found


def keep(found):
    """A watch that keeps the parameters after each round."""
    return lambda _, params: bool(found.append(params().copy()))


def test_whoever_is_not_ready_is_left_out_and_said():
    sources = some_slow({2})
    result = local(slow_plan(1.5, Deadline(0.7), rounds=5, before=1), sources)
    first, *later = result.reports
    assert first.late == (2,)
    assert first.dropped[2].startswith("late: not ready")
    assert set(first.participants) == set(range(7)) - {2}
    assert all(set(report.participants) >= set(range(7)) - {2} for report in later)
    assert result.ledger.table()["late"].tolist()[2] == sum(2 in r.late for r in result.reports)
    assert first.metrics()["round/late"] == 1


def test_in_time_is_as_if_everyone_was_waited_for():
    waited, in_time = (
        local(plan(waiting=waiting), blobs()) for waiting in (Everyone(), Deadline(60))
    )
    assert in_time.params.tobytes() == waited.params.tobytes()
    assert [r.late for r in in_time.reports] == [()] * 6
    assert [r.late for r in waited.reports] == [None] * 6


def test_a_source_that_hangs_is_left_alone():
    start = time.monotonic()
    result = local(slow_plan(4.0, Deadline(0.7, quorum=3), rounds=6), some_slow({0}))
    # Waited for once, not in every round.
    assert time.monotonic() - start < 3.5
    assert all(0 not in report.participants for report in result.reports)
    assert result.reports[0].dropped[0].startswith("late: not ready")
    assert result.reports[1].dropped[0] == "late: still at round 0"
    assert [0 in report.dropped for report in result.reports] == [
        True,
        True,
        False,
        True,
        *[False] * 2,
    ]
    assert all(set(report.participants) == set(range(1, 7)) for report in result.reports)


def test_who_is_late_in_a_row_rests_longer_and_longer():
    drops = Drops(0, 0, "")
    rests = []
    for _ in range(9):
        drops = drops.after(100, "late: not ready", late=True)
        rests.append(drops.rests_until - 101)
    assert rests == [0, 1, 3, 7, 15, 31, 63, 63, 63]


def test_a_round_without_its_quorum_is_an_error_or_goes_by():
    sources = some_slow({0, 1, 2, 3})
    a_plan = slow_plan(1.5, Deadline(0.7, quorum=4), rounds=3, before=1, corrupted=(), attack=None)
    with pytest.raises(MslError, match="round 0 needs 4 updates and got 3: source 0: late"):
        local(a_plan, sources)
    seen = []
    result = local(
        replace(a_plan, on_failure="drop"),
        sources,
        watch=keep(seen),
    )
    first = result.reports[0]
    assert first.participants == ()
    assert first.given == ()
    assert len(first.dropped) == 7
    assert set(first.late) >= {1, 2, 3}
    assert first.bytes_up > 0
    assert first.step_norm == 0
    assert seen[0].tobytes() == a_plan.model.init(0).tobytes()
    assert len(result.reports) == 3


def test_rounds_that_go_by_take_their_time():
    # The source that hangs is left out without a try from the second round on.
    a_plan = slow_plan(2.0, Deadline(0.3, quorum=7), rounds=4, on_failure="drop")
    result = local(a_plan, some_slow({0}))
    assert all(report.participants == () for report in result.reports)
    assert all(report.seconds["round"] >= 0.3 for report in result.reports)


def test_a_round_is_closed_when_enough_are_heard(cluster):
    # With two places, one of them always slow: it holds up nobody, and is not asked meanwhile.
    a_plan = slow_plan(
        0.6, Deadline(20, over=1.3), rounds=5, per_round=3, corrupted=(), attack=None
    )
    sources, params = some_slow({1, 3, 5, 7}, 8), []
    with DaskExecutor(cluster) as executor:
        result = train(a_plan, sources, executor, watch=keep(params))
    first = result.reports[0]
    assert len(first.participants) + len(first.late) == 7
    assert {rank % 2 for rank in first.participants} == {0}
    assert {rank % 2 for rank in first.late} == {1}
    # The others are at work for 2 s: nobody waits for them, nor asks them again meanwhile.
    assert not {1, 3, 5, 7} & {*result.reports[1].participants, *result.reports[1].dropped}
    again = replayed(a_plan, sources, result.reports)
    assert [p.tobytes() for p in again] == [p.tobytes() for p in params]


def test_a_buffer_lets_the_fast_go_on(cluster):
    # The slow place is the one where payloads meet: meetings do not wait for its sources.
    a_plan = slow_plan(0.05, Buffered(4), rounds=2000, corrupted=(), attack=None, aggregator=Mean())
    sources, slow, params = some_slow({0, 2, 4, 6}, 8), {0, 2, 4, 6}, []

    def twice_heard(report, now):
        params.append(now().copy())
        heard.append(slow <= {*report.stale} & {*report.participants})
        return sum(heard) == 2

    heard = []
    with DaskExecutor(cluster) as executor:
        result = train(a_plan, sources, executor, watch=twice_heard)
    assert sum(heard) == 2
    fast = [set(report.participants) == {1, 3, 5, 7} for report in result.reports]
    # The slow take 0.2 s: others had their steps between the two times.
    assert sum(fast) >= 2
    again = replayed(a_plan, sources, result.reports)
    assert [p.tobytes() for p in again] == [p.tobytes() for p in params]


def test_without_slow_ones_a_buffer_for_all_is_a_round():
    waited, buffered = (
        local(plan(waiting=waiting), blobs()) for waiting in (Everyone(), Buffered(7))
    )
    assert buffered.params.tobytes() == waited.params.tobytes()
    assert all(not report.stale for report in buffered.reports)


@settings(max_examples=25, deadline=None)
@given(
    ages=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    power=st.floats(0, 2),
    seed=st.integers(0, 999),
)
def test_old_updates_count_as_fedbuff_says(ages, power, seed):
    """The step is the sum of (1 + age)^-power times update over their number (Algorithm 1)."""
    a_plan = plan(
        waiting=Buffered(1, power), aggregator=Mean(), codec=Identity(), corrupted=(), attack=None,
        weights="equal",
    )  # fmt: skip
    d = a_plan.model.layout.size
    updates = np.random.default_rng(seed).standard_normal((len(ages), d)).astype(np.float32)
    deliveries = [
        Delivery((Sent(rank, Identity().encode(row)[0], 1.0, 0.0),), {}, 0.0)
        for rank, row in enumerate(updates)
    ]
    terms = Terms(
        (), 1, tuple(20 - age for age in ages), tuple((rank,) for rank in range(len(ages)))
    )
    before = meeting.begin(a_plan, len(ages))
    host = Host(a_plan, "here", {}, {})
    met = meeting.meet(host, before, deliveries, (1.0,) * len(ages), None, 20, terms)
    wanted = sum((1 + age) ** -power * row for age, row in zip(ages, updates, strict=True))
    moved = met.state.params - before.state.params
    assert np.allclose(moved, wanted / len(ages), rtol=1e-4, atol=1e-5)
    assert met.report.stale == {rank: age for rank, age in enumerate(ages) if age}


def test_what_comes_too_late_is_thrown_away_and_its_bytes_are_counted():
    a_plan = plan(waiting=Deadline(1, quorum=1), codec=Identity(), corrupted=(), attack=None)
    d = a_plan.model.layout.size
    late, fresh = (
        Delivery((Sent(rank, Identity().encode(np.full(d, v, np.float32))[0], 1.0, 0.0),), {}, 0.0)
        for rank, v in ((0, 100.0), (1, 1.0))
    )
    terms = Terms((1, 2), 2, (3, 4, 4), ((0,), (1,), (2,)))
    before = meeting.begin(a_plan, 3)
    host = Host(a_plan, "here", {}, {})
    met = meeting.meet(host, before, [late, fresh, None], (1.0,) * 3, None, 4, terms)
    assert met.fates == ("spare", "used", "away")
    assert np.allclose(met.state.params - before.state.params, 1.0)
    assert met.report.participants == (1,)
    assert met.report.late == (2,)
    assert met.report.bytes_up == 2 * fresh.sent[0].payload.nbytes
    assert met.report.bytes_down == 2 * before.model.nbytes


@pytest.mark.parametrize("waiting", [Deadline(20, over=0.5), Buffered(3)])
def test_a_lost_worker_replays_what_was_told(waiting, tmp_path):
    a_plan = slow_plan(
        0.02, waiting, rounds=16, per_round=4, corrupted=(), attack=None, aggregator=Mean()
    )
    sources, params, told = some_slow({0, 2}), [], []
    with open_executor(workers=2) as executor:
        (victim,) = executor.gather([executor.submit(pid, at=executor.places[-1])])

        def watch(report, now):
            if report.round == 8:
                os.kill(victim, signal.SIGKILL)
            params.append((report.round, now().tobytes()))
            return False

        result = train(
            a_plan, sources, executor, watch=watch,
            on_report=lambda report: told.append(report.round),
            checkpoints=Checkpoints(str(tmp_path), every=5),
        )  # fmt: skip
    assert told == list(range(16)) == [report.round for report in result.reports]
    # In this process, from the first round on: to the bit what was told, before and after.
    again = replayed(a_plan, sources, result.reports)
    assert dict(params) == {round: now.tobytes() for round, now in enumerate(again)}
    assert result.params.tobytes() == again[-1].tobytes()
    totals = np.diff([0] + [report.bytes_total for report in result.reports])
    assert totals.tolist() == [r.bytes_up + r.bytes_down for r in result.reports]


def test_a_run_in_step_goes_on_with_a_deadline(tmp_path):
    checkpoints = Checkpoints(str(tmp_path), every=3)
    local(plan(rounds=3), blobs(), checkpoints=checkpoints)
    a_plan = plan(rounds=6, waiting=Deadline(60))
    result = local(a_plan, blobs(), checkpoints=checkpoints, resume=True)
    assert result.params.tobytes() == local(plan(rounds=6), blobs()).params.tobytes()


def test_an_attempt_ends_with_its_value_its_error_or_the_time():
    fine, fails, slow = (
        Attempt(3, *call) for call in ((max, 1, 2), (divmod, 1, 0), (time.sleep, 0.3))
    )
    with pytest.raises(LateError, match="not ready"):
        slow.outcome()
    for attempt in (fine, fails, slow):
        attempt.wait(5.0)
    assert fine.outcome() == 2
    assert slow.outcome() is None
    with pytest.raises(ZeroDivisionError):
        fails.outcome()


def test_the_slow_take_no_time_from_the_others():
    """Five calls in 1 s: the one that hangs gets its fifth, then the others theirs."""
    start = time.monotonic()
    attempts = Attempts(lambda rank: time.sleep(3) if rank == 0 else rank, range(5), {}, 0, 1.0)
    assert time.monotonic() - start < 0.9
    assert [attempts.outcome(rank) for rank in range(1, 5)] == [1, 2, 3, 4]
    with pytest.raises(LateError, match="not ready"):
        attempts.outcome(0)
    assert list(attempts.hanging) == [0]
    later = Attempts(lambda rank: rank, range(5), attempts.hanging, 1, 1.0)
    with pytest.raises(LateError, match="still at round 0"):
        later.outcome(0)
    assert later.outcome(4) == 4
    assert Attempts(abs, [1], {}, 2, 0.0).tried == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"waiting": Buffered(8)}, "8 updates are to make a step, and only 7"),
        ({"waiting": Deadline(1, quorum=5), "per_round": 4}, "5 updates .* only 4 are to be heard"),
        ({"waiting": Deadline(1, quorum=4), "aggregator": TrimmedMean(f=2)}, "trimmed_mean"),
        ({"waiting": Buffered(2), "algorithm": Lbfgs()}, "lbfgs compares gradients"),
    ],
)
def test_what_does_not_fit_is_said(changes, words):
    with pytest.raises(PlanError, match=words):
        plan(**{"corrupted": (), "attack": None} | changes).check(7)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Deadline, {"seconds": 0}),
        (Deadline, {"seconds": 1, "quorum": 0}),
        (Deadline, {"seconds": 1, "over": -1}),
        (Buffered, {"updates": 0}),
        (Buffered, {"updates": 1, "power": -1}),
    ],
)
def test_settings_out_of_range_are_refused(kind, arguments):
    with pytest.raises(PlanError, match=f"{list(arguments)[-1]} must be"):
        kind(**arguments)


def test_who_was_late_and_is_ready_by_now_is_asked_again():
    first = Attempts(lambda rank: time.sleep(0.2 + rank), [0], {}, 0, 0.05)
    before = first.hanging
    before[0].wait(5.0)
    assert Attempts(lambda rank: rank + 7, [0], before, 1, 1.0).outcome(0) == 7


@pytest.mark.parametrize("waiting", [Deadline(20, over=1.3), Buffered(4)])
def test_the_first_meeting_does_not_wait_for_the_sources_beside_it(cluster, waiting):
    a_plan = slow_plan(
        0.5, waiting, rounds=1, per_round=3 if waiting.name == "deadline" else None,
        corrupted=(), attack=None, aggregator=Mean(),
    )  # fmt: skip
    with DaskExecutor(cluster) as executor:
        stage = set_stage(a_plan, some_slow({0, 2, 4, 6}, 8), held_out(), executor)
        report, _ = run_round_in_time(stage, first_standing(stage), 0)
    assert report.seconds["round"] < 1.0


def delivered(size, *ranks):
    """A delivery of plain updates."""
    rows = [np.full(size, 1.0 + rank, np.float32) for rank in ranks]
    sent = [Sent(r, Identity().encode(x)[0], 1.0, 0.0) for r, x in zip(ranks, rows, strict=True)]
    return Delivery(tuple(sent), {}, 0.0)


def two_of_seven(a_plan):
    """What meets when two of seven sources came."""
    before = meeting.begin(a_plan, 7)
    deliveries = [delivered(a_plan.model.layout.size, 0, 2), None]
    terms = Terms(tuple(range(7)), 7, (0, 0), ((0, 2), (1, 3, 4, 5, 6)))
    return meeting.meet(
        Host(a_plan, "here", {}, {}), before, deliveries, (1.0,) * 7, None, 0, terms
    )


def test_a_liar_remembers_nothing_of_a_round_that_went_by():
    """A replay asks nobody in that round."""
    a_plan = plan(
        waiting=Deadline(1), codec=Identity(), attack=Delayed(1), corrupted=(0,), on_failure="drop"
    )
    met = two_of_seven(a_plan)
    assert met.report.participants == ()
    assert met.state.attack == ()


def test_a_liar_who_imagines_the_aggregate_of_too_few_ends_no_run():
    a_plan = plan(
        waiting=Deadline(1, quorum=5), codec=Identity(), attack=Optimal(), corrupted=(0,),
        aggregator=TrimmedMean(f=2), on_failure="drop",
    )  # fmt: skip
    report = two_of_seven(a_plan).report
    assert report.participants == ()
    assert len(report.dropped) == 7


def test_who_answers_in_vain_is_not_late_again():
    drops = Drops(0, 0, "")
    for round in range(2):
        drops = drops.after(round, "late: not ready", late=True)
    assert drops.rests_until == 3
    assert drops.after(3, "too few others came", late=False).rests_until == 4


@pytest.mark.parametrize("on_failure", ["raise", "drop"])
def test_an_update_that_is_unfit_does_not_spoil_the_buffer(on_failure):
    result = local(
        plan(waiting=Buffered(7), attack=Nan(), corrupted=(0,), rounds=2, on_failure=on_failure),
        blobs(),
    )
    assert [r.participants for r in result.reports] == [tuple(range(1, 7))] * 2


def test_no_more_are_needed_than_are_believed():
    a_plan = plan(waiting=Deadline(60), per_round=6, corrupted=(), attack=None)
    with LocalExecutor() as executor:
        stage = set_stage(a_plan, blobs(), held_out(), executor)
        verdict = TrustReport((1.0,) * 3 + (0.0,) * 4, ("",) * 7)
        stage = replace(stage, verdict=verdict)
        report, _ = run_round_in_time(stage, first_standing(stage), 0)
    assert report.participants == (0, 1, 2)


def test_a_source_that_hangs_is_left_alone_after_a_round_that_went_by():
    a_plan = slow_plan(2.0, Deadline(0.5, quorum=7), rounds=2, on_failure="drop")
    result = local(a_plan, some_slow({0}))
    assert [r.dropped[0] for r in result.reports] == [
        "late: not ready when the time was over",
        "late: still at round 0",
    ]


def ways(dask_worker):
    """How many values lie at a worker that came late."""
    lanes = [lane for (_, at), lane in _lanes.items() if at == dask_worker.address]
    return sum(way.done() for lane in lanes for way in lane.on_the_way.values())


def sleepy(seconds):
    time.sleep(seconds)
    return seconds


def as_it_is(came, seconds):
    return 0.0 * seconds * len(came)


def test_what_came_late_and_is_not_asked_for_again_is_let_go(cluster):
    with DaskExecutor(cluster) as executor:
        root, other = executor.places
        for _ in range(4):
            slow = executor.submit(sleepy, 0.05, at=other)
            seen = executor.submit(list, Soonest([slow], as_it_is), at=root, aside=True)
            assert executor.gather([seen]) == [[None]]
            executor.gather([slow])
        assert sum(cluster.run(ways).values()) <= 1


def test_what_went_wrong_with_a_program_is_said_by_the_next_one():
    async def fails():
        raise PlanError("the worker lacks a module")

    async def send():
        before = asyncio.ensure_future(fails())
        await DaskExecutor._send_after(None, before, "there", Program((), (), ()))

    with pytest.raises(PlanError, match="lacks a module"):
        asyncio.run(send())
