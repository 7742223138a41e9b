"""A cluster of real processes whose members can be hit one by one."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from distributed import Client

HERE = Path(__file__).resolve().parent
PATIENCE = 60


def started(log: Path, *words: str) -> subprocess.Popen:
    """Start Python on these words, in a process group of its own."""
    paths = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": paths, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with log.open("a") as out:
        return subprocess.Popen(
            [sys.executable, *words], stdout=out, stderr=out, env=env, start_new_session=True
        )


def strike(process: subprocess.Popen, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process and all that it started, and bury it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    process.wait(30)


class Herd:
    """A scheduler, and workers with a nanny each, on loopback addresses."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder, self._numbers = folder, count()
        self.nannies: dict[str, subprocess.Popen] = {}
        self.file = folder / "scheduler.json"
        self.scheduler = started(
            folder / "scheduler.log", "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port",
            "0", "--no-dashboard", "--scheduler-file", str(self.file),
        )  # fmt: skip
        for _ in range(workers):
            self.join()

    def __enter__(self) -> Self:
        stop = time.monotonic() + PATIENCE
        while not (self.file.exists() and self.file.stat().st_size):
            if time.monotonic() > stop:
                raise TimeoutError((self.folder / "scheduler.log").read_text())
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]
        self.client = Client(self.address)
        self.wait(len(self.nannies))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        for nanny in self.nannies.values():
            strike(nanny, signal.SIGTERM)
        strike(self.scheduler, signal.SIGTERM)

    def join(self) -> str:
        """Start one more worker; return its name."""
        name = f"worker-{next(self._numbers)}"
        self.nannies[name] = started(
            self.folder / "workers.log", "-m", "dask", "worker", "--scheduler-file",
            str(self.file), "--name", name, "--nthreads", "1", "--host", "127.0.0.1",
            "--no-dashboard", "--local-directory", str(self.folder / "space"),
        )  # fmt: skip
        return name

    def leave(self, name: str) -> None:
        """Kill a worker and its nanny at once."""
        strike(self.nannies.pop(name))

    def replace_ended(self) -> None:
        """Start another for each nanny that gave up: Dask's do when a worker dies as it starts."""
        for name in [name for name, nanny in self.nannies.items() if nanny.poll() is not None]:
            del self.nannies[name]
            self.join()

    def workers(self) -> dict[str, str]:
        """Return name -> address of the workers that the scheduler knows."""
        told = self.client.sync(self.client.scheduler.identity, n_workers=-1)["workers"]
        return {worker["name"]: address for address, worker in told.items()}

    def wait(self, n: int) -> None:
        """Return when so many workers are there."""
        stop = time.monotonic() + PATIENCE
        while len(self.workers()) < n:
            if time.monotonic() > stop:
                raise TimeoutError(f"{len(self.workers())} of {n} workers after {PATIENCE} s")
            time.sleep(0.05)

    def process(self, name: str) -> psutil.Process | None:
        """Return the worker below a nanny, None while there is none."""
        try:
            below = psutil.Process(self.nannies[name].pid).children()
            return next((p for p in below if "spawn_main" in " ".join(p.cmdline())), None)
        except (KeyError, psutil.Error):
            return None

    def ask(self, fn: Any) -> dict[str, Any]:
        """Run a function on all workers."""
        found: dict[str, Any] = self.client.run(fn)
        return found


def sessions() -> int:
    """Return how many sessions a worker holds values of."""
    from msl.cluster import lane

    return len(lane._lanes)
