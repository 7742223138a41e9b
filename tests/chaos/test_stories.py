"""One fault at a time on real processes, and what a user is told: `pytest tests/chaos`."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from distributed import LocalCluster
from herd import Herd, sessions, started, strike
from job import drive, run_file, undisturbed
from tasks import blob, blobs, held_out, plan

from msl.cluster import DaskExecutor, LocalExecutor, open_executor
from msl.errors import PlanError
from msl.rounds import Result, train
from msl.sources import LoaderSource, Pinned, Source
from msl.types import Report
from msl.waiting import Deadline

ROUNDS = 600


@pytest.fixture
def herd(tmp_path: Path) -> Iterator[Herd]:
    """Yield two workers with a nanny each."""
    with Herd(tmp_path, 2) as found:
        yield found


def run(
    herd: Herd,
    act: Callable[[], None],
    sources: Sequence[Source] | None = None,
    patience: float = 60,
) -> Result:
    """Train, with something that happens after round 100; the driver is a client of its own."""

    def on_report(report) -> None:
        if report.round == 100:
            act()

    with open_executor(herd.address, patience=patience) as executor:
        return train(
            plan(rounds=ROUNDS), sources or blobs(), executor, held_out=held_out(),
            on_report=on_report,
        )  # fmt: skip


def calm() -> bytes:
    with LocalExecutor() as alone:
        return train(plan(rounds=ROUNDS), blobs(), alone, held_out=held_out()).params.tobytes()


def test_a_lost_scheduler_is_said(herd: Herd) -> None:
    with pytest.raises(PlanError, match=r"the scheduler at tcp://127\.0\.0\.1:\d+ is gone"):
        run(herd, lambda: os.killpg(herd.scheduler.pid, signal.SIGKILL))


def test_the_last_worker_is_missed(herd: Herd) -> None:
    def both_die() -> None:
        for name in list(herd.nannies):
            herd.leave(name)

    with pytest.raises(PlanError, match="has no workers; start some"):
        run(herd, both_die, patience=2)


def test_a_second_worker_dies_while_the_run_recovers(herd: Herd) -> None:
    herd.join()
    herd.wait(3)
    first, second, _ = (herd.process(name) for name in herd.nannies)

    def one_after_the_other() -> None:
        first.kill()
        threading.Timer(0.3, second.kill).start()

    assert run(herd, one_after_the_other).params.tobytes() == calm()


def test_a_worker_that_stands_still_is_waited_for(herd: Herd) -> None:
    worker = herd.process("worker-0")

    def pause() -> None:
        worker.suspend()
        threading.Timer(4, worker.resume).start()

    start = time.monotonic()
    assert run(herd, pause).params.tobytes() == calm()
    assert time.monotonic() - start > 4


def test_the_last_worker_comes_back_with_its_nanny(herd: Herd) -> None:
    herd.leave("worker-1")
    while len(herd.workers()) > 1:
        time.sleep(0.05)
    assert run(herd, lambda: herd.process("worker-0").kill()).params.tobytes() == calm()


def test_with_a_deadline_nobody_waits_for_a_worker_that_stands_still(herd: Herd) -> None:
    a_plan = plan(rounds=100_000, waiting=Deadline(1.0, quorum=3), corrupted=(), attack=None)
    told, start = [], time.monotonic()

    def all_there_again(report: Report, _: object) -> bool:
        if report.round == 5:
            herd.process(asleep).suspend()
            threading.Timer(6, herd.process(asleep).resume).start()
        told.append(report)
        again = report.round > 6 and len(report.participants) == 7
        return again or time.monotonic() - start > 60

    with open_executor(herd.address) as executor:
        # Not the one where payloads meet.
        (asleep,) = (n for n, place in herd.workers().items() if place != executor.places[0])
        result = train(a_plan, blobs(), executor, watch=all_there_again)
    (late,) = (report for report in result.reports if report.late)
    assert late.round in (5, 6)
    assert {result.sources[rank].place for rank in late.late} == {herd.workers()[asleep]}
    # Many rounds without it, none of which waited; then it takes part again.
    assert len(told) > 50
    assert max(report.seconds["round"] for report in told[7:-1]) < 1.0
    assert len(told[-1].participants) == 7


def test_a_worker_that_joins_late_is_used_after_the_next_loss(herd: Herd) -> None:
    def one_comes_one_goes() -> None:
        late = herd.join()
        herd.wait(3)
        there = herd.workers()
        addresses.append(there[late])
        herd.leave("worker-0")

    addresses: list[str] = []
    result = run(herd, one_comes_one_goes)
    assert result.params.tobytes() == calm()
    assert addresses[0] in {info.place for info in result.sources}


def read(rank: int, folder: str):
    """Rows, and one more line in the file of the process that read them."""
    with (Path(folder) / f"read-by-{os.getpid()}").open("a") as out:
        out.write(f"{rank}\n")
    return blob(rank)


def readers(folder: Path) -> list[tuple[str, ...]]:
    return [tuple(file.read_text().split()) for file in sorted(folder.glob("read-by-*"))]


def test_a_worker_that_joins_late_gets_some_sources_and_their_memories(
    herd: Herd, tmp_path: Path
) -> None:
    sources = [LoaderSource(f"site-{r}", read, (r, str(tmp_path))) for r in range(7)]

    def one_comes() -> None:
        herd.join()
        herd.wait(3)
        time.sleep(2)  # as long as a run does not look

    result = run(herd, one_comes, sources)
    assert result.params.tobytes() == calm()
    assert {info.place for info in result.sources} == set(herd.workers().values())
    # One of seven moved, and was loaded where it went; the others stayed as they were.
    assert sorted(map(len, readers(tmp_path))) == [1, 3, 4]


def test_a_worker_is_retired_by_the_user(herd: Herd) -> None:
    def retire() -> None:
        herd.client.retire_workers([herd.workers()["worker-0"]])

    result = run(herd, retire)
    assert result.params.tobytes() == calm()
    assert {info.place for info in result.sources} <= set(herd.workers().values())


def test_a_pinned_source_waits_for_its_machine_to_come_back(herd: Herd, tmp_path: Path) -> None:
    sources: list[Source] = [LoaderSource(f"site-{r}", read, (r, str(tmp_path))) for r in range(7)]
    sources[3] = Pinned(sources[3], "worker-1")
    victim = herd.process("worker-1").pid
    result = run(herd, lambda: os.kill(victim, signal.SIGKILL), sources)
    assert result.params.tobytes() == calm()
    assert result.sources[3].place == herd.workers()["worker-1"]
    assert sum("3" in ranks for ranks in readers(tmp_path)) == 2
    stayed = tmp_path / f"read-by-{herd.process('worker-0').pid}"
    assert "3" not in stayed.read_text().split()


def test_an_adaptive_cluster_of_somebody_else_gives_its_workers_and_keeps_them() -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        cluster.adapt(minimum=1, maximum=3, interval="200ms")
        known: list[set[str]] = []
        with open_executor(cluster.scheduler_address, at_least=3) as executor:
            result = train(
                plan(rounds=ROUNDS), blobs(), executor, held_out=held_out(),
                on_report=lambda _: known.append(set(cluster.scheduler.workers)),
            )  # fmt: skip
        assert len(known[0]) == 3
        assert all(one == known[0] for one in known)
        assert {info.place for info in result.sources} == known[0]
        until(lambda: len(cluster.scheduler.workers) == 1)
    assert result.params.tobytes() == calm()


def test_a_cluster_is_scaled_down_and_up_by_the_user() -> None:
    with LocalCluster(
        n_workers=3, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        workers = cluster.scheduler.workers

        def on_report(report) -> None:
            if report.round == 100:
                cluster.scale(1)
            elif report.round == 300:
                until(lambda: len(workers) == 1)
                cluster.scale(2)
                until(lambda: len(workers) == 2)
                time.sleep(2)  # as long as a run does not look

        with open_executor(cluster.scheduler_address) as executor:
            result = train(
                plan(rounds=ROUNDS), blobs(), executor, held_out=held_out(), on_report=on_report
            )
        assert result.params.tobytes() == calm()
        assert {info.place for info in result.sources} == set(workers)


def until(true: Callable[[], bool]) -> None:
    stop = time.monotonic() + 60
    while not true():
        assert time.monotonic() < stop
        time.sleep(0.05)


def growing(rank: int, folder: str):
    """One more row at every load."""
    loads = len(list(Path(folder).glob(f"load-{rank}-*")))
    (Path(folder) / f"load-{rank}-{loads}").touch()
    return blob(rank, 40 + loads)


def test_rows_that_changed_are_named_when_a_loss_loads_them_again(
    herd: Herd, tmp_path: Path
) -> None:
    sources = [LoaderSource(f"site-{r}", growing, (r, str(tmp_path))) for r in range(7)]
    with pytest.raises(PlanError, match="source 'site-0' has other rows than when the run was"):
        run(herd, lambda: herd.process("worker-0").kill(), sources)


def hanging(rank: int):
    if rank == 1:
        time.sleep(30)
    return blob(rank)


def test_a_source_that_hangs_is_waited_for_until_the_user_ends_it(herd: Herd) -> None:
    sources = [LoaderSource(f"site-{r}", hanging, (r,)) for r in range(7)]
    threading.Timer(5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(herd, lambda: None, sources)
    assert 4 < time.monotonic() - start < 15


def test_what_a_killed_driver_left_on_workers_goes_with_the_next_run(
    herd: Herd, tmp_path: Path
) -> None:
    own, rounds = tmp_path / "own", 1000
    own.mkdir()
    job = str(Path(__file__).parent / "job.py")
    driver = started(own / "driver.log", job, herd.address, str(own), "0", str(rounds))
    while not (run_file(own).exists() and run_file(own).stat().st_size):
        time.sleep(0.01)
    strike(driver)
    assert sum(herd.ask(sessions).values()) == 2
    with DaskExecutor(herd.client):
        assert sum(herd.ask(sessions).values()) == 2
    assert sum(herd.ask(sessions).values()) == 0
    drive(herd.address, own, 0, rounds)
    assert json.loads((own / "traces.json").read_text()) == undisturbed(0, rounds)
    assert len(run_file(own).read_text().splitlines()) == rounds
