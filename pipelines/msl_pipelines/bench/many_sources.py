"""10,000 sources on two workers that keep a tenth of the rows: memory, rounds, the first round.

Sources of 60 x 784 numbers (1.9 GB in all), 50 drawn per round, each worker keeping 100 MB of
rows: loaders that make rows, npz files, and as a yardstick loaders with room for all rows.
"""

from collections.abc import Sequence
from pathlib import Path
from resource import getpagesize
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table

from msl.algorithms import FedAvg
from msl.cluster import DaskExecutor, open_executor
from msl.models import Softmax
from msl.rounds import Plan, train
from msl.sources import FileSource, LoaderSource, Source
from msl.tracking import make_tracker
from msl.types import Report
from msl_pipelines.bench.peers.task import CLASSES, FEATURES, load_rows

SOURCES, PER_ROUND, ROUNDS, EVERY = 10_000, 50, 5000, 500
MB = 10**6
ROOM = 100 * MB

__all__ = ["main", "write_files"]


def write_files(folder: Path) -> list[Source]:
    """Write every source to an npz file."""
    sources: list[Source] = []
    for rank in range(SOURCES):
        X, y = load_rows(rank)
        np.savez(path := folder / f"{rank}.npz", X=X, y=y)
        sources.append(FileSource(f"s{rank:05d}", str(path)))
    return sources


def usage() -> tuple[float, float]:
    """Return the MB this process holds (Linux), and its CPU seconds so far."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * getpagesize() / MB, process_time()


Look: TypeAlias = tuple[int, list[tuple[float, float]]]
"""Rounds so far, and the usage of the client and of each worker."""


class Watch:
    """What is seen of a run while it goes on: when rounds are over, and memory now and then."""

    def __init__(self, executor: DaskExecutor) -> None:
        self.executor = executor
        self.start, self.first, self.last = perf_counter(), 0.0, 0.0
        self.looks: list[Look] = []

    def __call__(self, report: Report) -> None:
        """Note a round; every so many ask all processes for their memory."""
        now = perf_counter()
        if report.round == 0:
            self.first = now - self.start
        self.last = now
        if (report.round + 1) % EVERY == 0:
            workers = self.executor.client.run(usage)
            told = [workers[place] for place in self.executor.places]
            self.looks.append((report.round + 1, [usage(), *told]))

    def megabytes(self, look: int) -> str:
        """Return the memory of the client and the workers then."""
        return ", ".join(f"{mb:.0f}" for mb, _ in self.looks[look][1])

    def milliseconds(self) -> str:
        """Return the CPU time of a round at the client and the workers, from first to last look."""
        (first, before), (last, after) = self.looks[0], self.looks[-1]
        spent = [end - start for (_, start), (_, end) in zip(before, after, strict=True)]
        return ", ".join(f"{1e3 * seconds / (last - first):.1f}" for seconds in spent)


def run(sources: Sequence[Source], room: int, rounds: int, folder: Path) -> Watch:
    """Train on two workers, and return what was seen."""
    plan = Plan(
        model=Softmax(FEATURES, CLASSES),
        algorithm=FedAvg(epochs=1, batch=10, lr=0.03),
        rounds=rounds,
        per_round=PER_ROUND,
        evaluate_every=20,
    )
    with (
        open_executor(workers=2, cache=room) as executor,
        make_tracker(f"sqlite:///{folder / 'bench.db'}", experiment="bench") as tracker,
    ):
        if not isinstance(executor, DaskExecutor):
            raise TypeError("this is measured on worker processes")
        watch = Watch(executor)
        train(
            plan, sources, executor, held_out=LoaderSource("held_out", load_rows, (SOURCES,)),
            tracker=tracker, on_report=watch,
        )  # fmt: skip
    return watch


def main(rounds: int = ROUNDS) -> None:
    """Print a row per kind of source: seconds to the first round, rounds/s, memory over rounds."""
    made: list[Source] = [
        LoaderSource(f"s{rank:05d}", load_rows, (rank,)) for rank in range(SOURCES)
    ]
    table = Table(title=f"{SOURCES:,} sources, {PER_ROUND} of them in each of {rounds:,} rounds")
    columns = ("sources", "room MB", "first round s", "rounds/s", "CPU ms/round", "MB", "MB at end")
    for column in columns:
        table.add_column(column, justify="left" if column == "sources" else "right")
    console = Console()
    with TemporaryDirectory() as place:
        folder = Path(place)
        kinds = (
            ("loaders", made, ROOM),
            ("npz files", write_files(folder), ROOM),
            ("loaders, all kept", made, 10 * ROOM),
        )
        for name, sources, room in kinds:
            seen = run(sources, room, rounds, folder)
            for look, (done, _) in enumerate(seen.looks):
                console.print(f"{name}, round {done}: {seen.megabytes(look)} MB")
            table.add_row(
                name,
                f"{room // MB}",
                f"{seen.first:.1f}",
                f"{(rounds - 1) / (seen.last - seen.start - seen.first):.3g}",
                seen.milliseconds(),
                seen.megabytes(0),
                seen.megabytes(-1),
            )
    console.print("CPU and MB: client, first worker, second worker")
    console.print(table)


if __name__ == "__main__":
    main()
