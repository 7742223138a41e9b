"""From `train` to the first report, on a cluster that is up: with kernels compiled, and without."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
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


def main() -> None:
    """Print the seconds to the first report, and where they go."""
    table = Table(title=f"Seconds to the first report: {SOURCES} sources, {DRAWN} drawn, 2 workers")
    for column in ("kernels", "train to report", "CPU per worker", "imports", "rows held", "round"):
        table.add_column(column, justify="left" if column == "kernels" else "right")
    told = []
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        # The first time a folder of compiled kernels is empty, the second time it is not.
        for kernels in ("to be compiled", "compiled before"):
            whole, cpu = _whole(one)
            imports, held, round, kernel_seconds = _parts(other)
            seconds = (whole, cpu, imports, held, round)
            table.add_row(kernels, *(f"{s:.2f}" for s in seconds))
            told += [f"  {name}: {s:.2f} s" for name, s in kernel_seconds.items()]
    console = Console()
    console.print(table)
    console.print(f"A source: {_of_a_source()}. Compiled, at the worker where it took longest:")
    console.print("\n".join(told))


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
    """Return seconds from `train` to its first report, and of CPU on the busier worker."""
    with _cluster(kernels) as executor:
        before, start = _everywhere(executor, process_time), perf_counter()
        heard: list[float] = []
        train(
            plan_of(DRAWN, 1), sources(), executor, held_out=held_out(),
            on_report=lambda _: heard.append(perf_counter() - start),
        )  # fmt: skip
        after = _everywhere(executor, process_time)
    return heard[0], max(b - a for a, b in zip(before, after, strict=True))


def _parts(kernels: str) -> tuple[float, float, float, dict[str, float]]:
    """Return the seconds of imports, of sources, of the first round, and of each kernel."""
    with _cluster(kernels) as executor:
        times = [perf_counter()]
        _everywhere(executor, watch)
        times.append(perf_counter())
        stage = set_stage(plan_of(DRAWN, 1), sources(), held_out(), executor)
        times.append(perf_counter())
        run_round(stage, first_standing(stage), 0)
        times.append(perf_counter())
        found: dict[str, float] = {}
        for told in _everywhere(executor, compiled):
            found |= {name: max(s, found.get(name, 0.0)) for name, s in told.items()}
    imports, held, round = (b - a for a, b in pairwise(times))
    return imports, held, round, found


def _everywhere(executor: Executor, fn: Callable[[], Any]) -> list[Any]:
    """Return what a function says at each worker."""
    return executor.gather([executor.submit(fn, at=place) for place in executor.places])


def _of_a_source() -> str:
    """Return the milliseconds in which a source is loaded and told of, in this process."""
    some = sources()[:100]
    start = perf_counter()
    loaded = [source.load() for source in some]
    middle = perf_counter()
    for source, data in zip(some, loaded, strict=True):
        info_of(source.name, data)
    end = perf_counter()
    each = 1e3 / len(some)
    return f"rows {each * (middle - start):.2f} ms, digest {each * (end - middle):.2f} ms"


if __name__ == "__main__":
    main()
