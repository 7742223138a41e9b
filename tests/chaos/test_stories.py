"""One fault at a time on real processes, and what a user is told: `pytest tests/chaos`."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from herd import Herd, sessions, started, strike
from job import drive, run_file, undisturbed
from tasks import blob, blobs, held_out, plan

from msl.cluster import DaskExecutor, LocalExecutor, open_executor
from msl.errors import PlanError
from msl.rounds import Result, train
from msl.sources import LoaderSource

ROUNDS = 600


@pytest.fixture
def herd(tmp_path: Path) -> Iterator[Herd]:
    """Yield two workers with a nanny each."""
    with Herd(tmp_path, 2) as found:
        yield found


def run(herd: Herd, act: Callable[[], None], sources: list[LoaderSource] | None = None) -> Result:
    """Train, with something that happens after round 100; the driver is a client of its own."""

    def on_report(report) -> None:
        if report.round == 100:
            act()

    with open_executor(herd.address) as executor:
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
        run(herd, both_die)


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
