"""Kill -9 at random rounds: a worker 20 times, the driver 10 times; what it costs, in seconds."""

import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

from herd import Herd, started, strike
from job import EVERY, plan_of, run_file, sources_of, traces, undisturbed
from tasks import held_out

from msl.checkpoints import Checkpoints
from msl.cluster import DaskExecutor
from msl.rounds import train
from msl.types import Report

WORKERS_KILLED, DRIVERS_KILLED, ROUNDS = 20, 10, 1500


def run(herd: Herd, folder: Path, act: Callable[[Report], None]) -> tuple[float, dict]:
    """Return the longest silence in a run on two workers, in seconds, and its traces."""
    heard = []

    def on_report(report: Report) -> None:
        heard.append(time.monotonic())
        act(report)

    with DaskExecutor(herd.client) as executor:
        result = train(
            plan_of(0, ROUNDS),
            sources_of(folder),
            executor,
            held_out=held_out(),
            on_report=on_report,
            checkpoints=Checkpoints(str(folder / "kept"), every=EVERY),
        )
    return max(after - before for before, after in pairwise(heard)), traces(result)


def kill_workers(herd: Herd, folder: Path, draw: random.Random) -> None:
    """Kill one of two workers at a random round; its nanny starts another for the next time."""
    same, lost = 0, []
    calm, _ = run(herd, folder / "calm", lambda _: None)
    for k in range(WORKERS_KILLED):
        herd.wait(2)
        at, name = draw.randrange(ROUNDS), draw.choice(sorted(herd.workers()))
        # The process is looked up before: the run is not to wait for that.
        victim = herd.process(name)

        def kill(report: Report, at=at, victim=victim) -> None:
            if report.round == at:
                # At any moment of the next rounds, not between two.
                threading.Timer(draw.uniform(0, 0.05), victim.kill).start()

        silence, found = run(herd, folder / f"worker-{k}", kill)
        same += found == undisturbed(0, ROUNDS)
        lost.append(silence)
        time.sleep(1)
    print(f"worker killed: {same} of {WORKERS_KILLED} runs with the undisturbed traces; the next "
          f"new report after {spread(lost)}, in a calm run {calm:.1f} s", flush=True)  # fmt: skip


def kill_drivers(herd: Herd, folder: Path, draw: random.Random) -> None:
    """Kill the driver at a random round, start it again, compare."""
    same, lost = 0, []
    for k in range(DRIVERS_KILLED):
        own, at = folder / f"driver-{k}", draw.randrange(1, ROUNDS)
        own.mkdir()
        herd.wait(2)
        words = (str(Path(__file__).parent / "job.py"), herd.address, str(own), "0", str(ROUNDS))
        driver = started(own / "driver.log", *words)
        while rounds_in(own) < at and driver.poll() is None:
            time.sleep(0.002)
        strike(driver)
        seen = rounds_in(own)
        again = started(own / "driver.log", *words)
        start = time.monotonic()
        while rounds_in(own) <= seen and again.poll() is None:
            time.sleep(0.002)
        # From the start of the process to the first round that nobody had heard of.
        lost.append(time.monotonic() - start)
        again.wait(200)
        lines = [json.loads(line)["round"] for line in run_file(own).read_text().splitlines()]
        found = json.loads((own / "traces.json").read_text())
        same += found == undisturbed(0, ROUNDS) and lines == list(range(ROUNDS))
    print(f"driver killed: {same} of {DRIVERS_KILLED} runs with the undisturbed traces and every "
          f"round tracked once; to the next new round {spread(lost)}", flush=True)  # fmt: skip


def rounds_in(folder: Path) -> int:
    """Return how many rounds the tracker has."""
    lines = run_file(folder)
    return lines.read_bytes().count(b"\n") if lines.exists() else 0


def spread(seconds: list[float]) -> str:
    """Return the median and the ends."""
    return f"{median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"


def main() -> int:
    """Measure both."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    print(f"seed {seed}, {ROUNDS} rounds, a checkpoint every {EVERY}", flush=True)
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="msl-kills-") as place, Herd(Path(place), 2) as herd:
        kill_workers(herd, Path(place), draw)
        kill_drivers(herd, Path(place), draw)
    return 0


if __name__ == "__main__":
    sys.exit(main())
