"""From `train` to the first report, on a cluster that is up: with kernels compiled, and without."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import environ
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from rich.console import Console
from rich.table import Table

from msl.cluster import open_executor
from msl.cluster.base import Executor
from msl.rounds import run_round, set_stage, train
from msl.sources.base import info_of
from msl.stage import first_standing
from msl_pipelines.bench.compiled import compiled, watch
from msl_pipelines.bench.peers.task import SOURCES
from msl_pipelines.bench.workload import held_out, plan_of, sources

DRAWN = 50

__all__ = ["main"]

_IMPORTS = """
import distributed, time
start = time.process_time()
import msl_pipelines.bench.compiled
print(time.process_time() - start)
"""


def main() -> None:
    """Print the seconds to the first report, and where they go."""
    table = Table(title=f"The first of {DRAWN} of {SOURCES} sources, 2 workers that are up")
    table.add_column("kernels")
    for column in ("seconds", "CPU s", "sources held", "round", "of it compiling"):
        table.add_column(column, justify="right")
    told = []
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        # The first time a folder of compiled kernels is empty, the second time it is not.
        for kernels in ("to be compiled", "compiled before"):
            whole, cpu = _whole(one)
            held, round, each = _parts(other)
            numbers = (whole, cpu, held, round, sum(each.values()))
            table.add_row(kernels, *(f"{number:.2f}" for number in numbers))
            told += [f"{name} {seconds:.2f}" for name, seconds in each.items()]
    console = Console()
    console.print(table)
    console.print(
        "All but the first column: seconds of CPU of the busier worker. "
        f"Compiled: {', '.join(told)}. {_of_a_source()}. "
        f"A worker that was started bare imports msl first: {_imports():.2f} s."
    )


@contextmanager
def _cluster(kernels: str) -> Iterator[Executor]:
    """Yield two workers that keep compiled kernels in a folder."""
    before = environ.get("NUMBA_CACHE_DIR")
    environ["NUMBA_CACHE_DIR"] = kernels
    try:
        with open_executor(workers=2) as executor:
            yield executor
    finally:
        del environ["NUMBA_CACHE_DIR"]
        if before is not None:
            environ["NUMBA_CACHE_DIR"] = before


def _whole(kernels: str) -> tuple[float, float]:
    """Return the seconds from `train` to its first report, and those of CPU."""
    with _cluster(kernels) as executor:
        heard: list[float] = []
        before, start = _everywhere(executor, process_time), perf_counter()
        train(
            plan_of(DRAWN, 1), sources(), executor, held_out=held_out(),
            on_report=lambda _: heard.append(perf_counter() - start),
        )  # fmt: skip
        return heard[0], _most(before, _everywhere(executor, process_time))


def _parts(kernels: str) -> tuple[float, float, dict[str, float]]:
    """Return the seconds of CPU to hold sources, to run the first round, and of each kernel."""
    with _cluster(kernels) as executor:
        _everywhere(executor, watch)
        begun = _everywhere(executor, process_time)
        stage = set_stage(plan_of(DRAWN, 1), sources(), held_out(), executor)
        held = _everywhere(executor, process_time)
        run_round(stage, first_standing(stage), 0)
        over = _everywhere(executor, process_time)
        each = max(_everywhere(executor, compiled), key=lambda one: sum(one.values()))
    return _most(begun, held), _most(held, over), each


def _everywhere(executor: Executor, fn: Callable[[], Any]) -> list[Any]:
    """Return what a function says at each worker."""
    return executor.gather([executor.submit(fn, at=place) for place in executor.places])


def _most(before: list[float], after: list[float]) -> float:
    return max(b - a for a, b in zip(before, after, strict=True))


def _of_a_source() -> str:
    """Say in how many milliseconds a source is loaded, and its rows are digested."""
    some = sources()[:100]
    start = process_time()
    loaded = [source.load() for source in some]
    middle = process_time()
    for source, data in zip(some, loaded, strict=True):
        info_of(source.name, data)
    each = 1e3 / len(some)
    rows, digest = each * (middle - start), each * (process_time() - middle)
    return f"A source: {rows:.2f} ms for its rows, {digest:.2f} ms for their digest"


def _imports() -> float:
    """Return the seconds of CPU in which a process that has Dask imports what a round needs."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
