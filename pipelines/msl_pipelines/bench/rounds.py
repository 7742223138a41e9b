"""Rounds per second with 1,000 sources, beside a plain NumPy loop and other systems in one run.

10, 50 or all sources are drawn per round; see `peers.task` for what they do. The loop does the same
local training and averages; it has no workers, no payloads, no reports, no tracking.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from msl.cluster import LocalExecutor, open_executor
from msl.cluster.base import Executor
from msl.rounds import train
from msl.tracking import Tracker, make_tracker
from msl.types import Report
from msl_pipelines.bench import first_round
from msl_pipelines.bench.peers.beside import peers
from msl_pipelines.bench.peers.task import (
    CLASSES,
    FEATURES,
    SOURCES,
    rows,
    train_locally,
)
from msl_pipelines.bench.workload import held_out, plan_of, sources

ROUNDS = {10: 600, 50: 300, SOURCES: 30}
"""Rounds by sources drawn; the first tenth warms up."""

__all__ = ["main"]


def seconds_of(ends: list[float]) -> float:
    """Return the mean seconds of a round, all included, from when each one was over."""
    # Rounds that were queued together are over together: begin where such a group ends.
    last = np.flatnonzero(np.diff(ends) > 1e-3)
    first = int(last[last >= len(ends) // 10][0])
    return (ends[-1] - ends[first]) / (len(ends) - 1 - first)


def plain_loop(per_round: int) -> list[float]:
    """Return when each round was over, of the loop that anybody would write."""
    data = rows()
    W: NDArray[Any] = np.zeros((FEATURES, CLASSES), np.float32)
    b: NDArray[Any] = np.zeros(CLASSES, np.float32)
    draw, ends = np.random.default_rng(0), []
    for _ in range(ROUNDS[per_round]):
        sum_W, sum_b = np.zeros_like(W), np.zeros_like(b)
        for rank in draw.choice(SOURCES, per_round, replace=False):
            w, c = W.copy(), b.copy()
            train_locally(w, c, data[rank], draw)
            sum_W += w
            sum_b += c
        W, b = sum_W / per_round, sum_b / per_round
        ends.append(perf_counter())
    return ends


def our_rounds(
    executor: Executor, tracker: Tracker, per_round: int
) -> tuple[list[Report], float, list[float]]:
    """Return the reports of the same work through msl, its start, and when each was tracked."""
    ends: list[float] = []
    plan, start = plan_of(per_round, ROUNDS[per_round]), perf_counter()
    result = train(
        plan, sources(), executor, held_out=held_out(), tracker=tracker,
        on_report=lambda _: ends.append(perf_counter()),
    )  # fmt: skip
    return list(result.reports[len(ends) // 10 :]), start, ends


def main() -> None:
    """Print rounds per second of all systems, then the seconds to the first round."""
    console, missing = Console(), set[str]()
    with TemporaryDirectory() as folder:
        for per_round in ROUNDS:
            table, left_out = _side_by_side(per_round, f"sqlite:///{Path(folder) / 'bench.db'}")
            console.print(table)
            for why in sorted(left_out - missing):
                console.print(why, markup=False)
            missing |= left_out
    first_round.main()


def _side_by_side(per_round: int, uri: str) -> tuple[Table, set[str]]:
    """Return a table of all systems, and why some are not in it."""
    table = Table(
        title=f"{per_round} of {SOURCES} sources a round, softmax {FEATURES} -> {CLASSES}"
    )
    for column in ("system", "rounds/s", "x loop", "first s", "solve ms", "meet ms", "rest ms"):
        table.add_column(column, justify="left" if column == "system" else "right")
    loop, left_out = seconds_of(plain_loop(per_round)), set()
    table.add_row("plain NumPy loop", f"{1 / loop:.3g}", "1.00")
    with LocalExecutor() as local, make_tracker(uri, experiment="bench") as tracker:
        _add(table, per_round, "msl in process", loop, local, tracker)
    with open_executor(workers=2) as executor, make_tracker(uri, experiment="bench") as tracker:
        _add(table, per_round, "msl, 2 workers", loop, executor, tracker)
    for told in peers(per_round):
        if isinstance(told, str):
            left_out.add(told)
            continue
        speed, ratio = f"{1 / told.per_round:.3g}", f"{loop / told.per_round:.2f}"
        table.add_row(told.peer, speed, ratio, f"{told.first:.1f}")
    return table, left_out


def _add(
    table: Table, per_round: int, name: str, loop: float, executor: Executor, tracker: Any
) -> None:
    reports, start, ends = our_rounds(executor, tracker, per_round)
    whole = seconds_of(ends)
    solve, meet = (
        float(np.median([report.seconds[phase] for report in reports]))
        for phase in ("solve", "meet")
    )
    table.add_row(
        name,
        f"{1 / whole:.3g}",
        f"{loop / whole:.2f}",
        f"{ends[0] - start:.1f}",
        *(f"{1e3 * s:.1f}" for s in (solve, meet, whole - solve - meet)),
    )


if __name__ == "__main__":
    main()
