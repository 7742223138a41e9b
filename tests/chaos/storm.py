"""Runs under random faults, and whether they keep what was promised: `make chaos MINUTES=30`.

The seed that is printed repeats the sequence of faults; when they hit is up to the machine.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from herd import HERE, Herd, sessions, started, strike
from job import PLANS, run_file, undisturbed
from memory_log import MemoryLog

WORKERS, ROUNDS, SILENCE = 3, 2500, 90
FAULTS = {"kill worker": 4, "stop worker": 3, "kill driver": 2, "restart by nanny": 2,
          "leave, join late": 2, "slow loaders": 2}  # fmt: skip


class Storm:
    """One run after the other on a herd, faults at random between; keeps the books."""

    def __init__(self, herd: Herd, seed: int, until: float) -> None:
        self.herd, self.draw, self.until = herd, random.Random(seed), until
        self.faults: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.runs = self.rounds = self.resumed = 0
        self.driver: subprocess.Popen | None = None
        self.paused: dict[str, float] = {}
        self.absent: list[float] = []

    # -- runs

    def run(self, number: int, folder: Path) -> None:
        """Drive one plan to its end through the storm, then hold it against the calm one."""
        self.folder = folder
        lines, moved, strike_at = 0, time.monotonic(), time.monotonic() + 3
        self.drive(number)
        while not (folder / "traces.json").exists():
            time.sleep(0.05)
            now = time.monotonic()
            self.settle(now)
            if now > strike_at and now < self.until:
                self.fault(number)
                strike_at = time.monotonic() + self.draw.expovariate(0.6)
            if self.driver.poll() is not None and not (folder / "traces.json").exists():
                self.wrong.append(f"run {self.runs}: the driver ended: {tail(folder)}")
                self.drive(number)
            if (seen := tracked(folder)) != lines:
                lines, moved = seen, now
            if now - moved > SILENCE:
                self.driver.send_signal(signal.SIGUSR1)
                time.sleep(1)
                strike(self.driver)
                self.wrong.append(f"run {self.runs}: no round for {SILENCE} s: {tail(folder)}")
                self.drive(number)
                moved = time.monotonic()
        self.driver.wait(60)
        self.check(number)
        self.runs += 1
        self.rounds += ROUNDS

    def drive(self, number: int) -> None:
        """Start the driver."""
        words = (str(HERE / "job.py"), self.herd.address, str(self.folder), str(number))
        self.driver = started(self.folder / "driver.log", *words, str(ROUNDS))

    def check(self, number: int) -> None:
        """Compare parameters, reports, books and tracker with the run that nobody touched."""
        found = json.loads((self.folder / "traces.json").read_text())
        for what, calm in undisturbed(number, ROUNDS).items():
            if found[what] != calm:
                self.wrong.append(f"run {self.runs} (plan {number}): other {what}")
        lines = run_file(self.folder).read_text().splitlines()
        if [json.loads(line)["round"] for line in lines] != list(range(ROUNDS)):
            self.wrong.append(f"run {self.runs}: the tracker has {len(lines)} of {ROUNDS} rounds")

    # -- faults

    def settle(self, now: float) -> None:
        """Let stopped workers go on, and late ones join."""
        for name in [name for name, end in self.paused.items() if now > end]:
            del self.paused[name]
            if worker := self.herd.process(name):
                worker.resume()
        for end in [end for end in self.absent if now > end]:
            self.absent.remove(end)
            self.herd.join()
        self.herd.replace_ended()

    def fault(self, number: int) -> None:
        """Do one thing that happens in the night."""
        kind = self.draw.choices(list(FAULTS), list(FAULTS.values()))[0]
        seconds = self.draw.uniform(0.3, 4)
        if kind == "slow loaders":
            (self.folder / "delay").write_text(f"{seconds / 10:.2f}")
        elif kind == "kill driver":
            strike(self.driver)
            if (self.folder / "traces.json").exists():
                return
            self.resumed += (self.folder / "kept" / "run.json").exists()
            time.sleep(seconds / 4)
            self.drive(number)
        else:
            there = sorted(self.herd.workers().keys() - self.paused.keys())
            if len(there) < 2:
                return  # nobody is left to carry on: another story than the one told here
            name = self.draw.choice(there)
            worker = self.herd.process(name)
            if worker is None:
                return
            if kind == "kill worker":
                worker.kill()
            elif kind == "stop worker":
                worker.suspend()
                self.paused[name] = time.monotonic() + seconds
            elif kind == "restart by nanny":
                self.herd.client.restart_workers([self.herd.workers()[name]], timeout=60)
            else:
                self.herd.leave(name)
                self.absent.append(time.monotonic() + seconds)
        self.faults[kind] += 1

    def pids(self) -> dict[str, list[int]]:
        """Return whose memory is looked at."""
        workers = [self.herd.process(name) for name in list(self.herd.nannies)]
        return {
            "scheduler": [self.herd.scheduler.pid],
            "worker": [worker.pid for worker in workers if worker],
            "driver": [self.driver.pid] if self.driver else [],
        }


def tracked(folder: Path) -> int:
    """Return the bytes that the tracker has."""
    lines = run_file(folder)
    return lines.stat().st_size if lines.exists() else 0


def tail(folder: Path) -> str:
    """Return the last words of the drivers of a run."""
    return (folder / "driver.log").read_text()[-3000:]


def main() -> int:
    """Storm for so many minutes; return 1 when a promise was broken."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--minutes", type=float, default=30)
    words.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = words.parse_args()
    print(f"seed {asked.seed}, {asked.minutes:g} minutes", flush=True)
    folder, start = Path(tempfile.mkdtemp(prefix="msl-chaos-")), time.monotonic()
    with Herd(folder, WORKERS) as herd:
        storm = Storm(herd, asked.seed, start + 60 * asked.minutes)
        memory = MemoryLog(storm.pids)
        memory.start()
        while time.monotonic() < storm.until:
            own = folder / f"run-{storm.runs}"
            own.mkdir()
            storm.run(storm.runs % len(PLANS), own)
            print(f"run {storm.runs}: {dict(storm.faults)}, wrong: {len(storm.wrong)}", flush=True)
        memory.stop()
        storm.settle(float("inf"))
        herd.wait(WORKERS)
        left = sum(herd.ask(sessions).values())
        if left:
            storm.wrong.append(f"{left} sessions of runs that are over are still on workers")
        known = {p.pid: p for p in psutil.Process().children(recursive=True)}
    for child in psutil.wait_procs(list(known.values()), timeout=10)[1]:
        storm.wrong.append(f"process {child.pid} is left: {child.status()}")
    for role, (first, second) in memory.halves().items():
        print(f"memory of the largest {role}: {first:.0f} MB in the first half, {second:.0f} after")
        if second > 1.1 * first + 5:
            storm.wrong.append(f"the {role} grew from {first:.0f} to {second:.0f} MB")
    print(f"{storm.runs} runs, {storm.rounds} rounds, {storm.resumed} resumed, ", end="")
    print(f"{sum(storm.faults.values())} faults in {time.monotonic() - start:.0f} s")
    for kind, n in storm.faults.items():
        print(f"  {n:4} {kind}")
    for line in storm.wrong:
        print(f"WRONG: {line}")
    if storm.wrong:
        print(f"logs: {folder}; again: python {Path(__file__).name} --seed {asked.seed}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
        print("every run ended in the parameters, reports and books of the undisturbed one")
    return bool(storm.wrong)


if __name__ == "__main__":
    sys.exit(main())
