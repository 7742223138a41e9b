"""Rounds per second with 1,000 sources, beside a plain in-process NumPy loop in the same run.

The workload is FLUTE's LR_MNIST shape: 1,000 sources of 60 samples, 10, 50 or all drawn per round,
softmax regression 784 -> 10, local batch 10, one local epoch, learning rate 0.03. The loop does
the same local training and averages; it has no workers, no payloads, no reports, no tracking.
"""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from msl.algorithms import FedAvg
from msl.cluster import LocalExecutor, open_executor
from msl.cluster.base import Executor
from msl.models import Softmax
from msl.rounds import Plan, train
from msl.sources import LoaderSource
from msl.tracking import Tracker, make_tracker
from msl.types import Report

SOURCES, ROWS, FEATURES, CLASSES = 1000, 60, 784, 10
BATCH, RATE = 10, 0.03
ROUNDS = {10: 600, 50: 300, SOURCES: 30}
"""Rounds by sources drawn; the first tenth warms up."""

__all__ = ["load_rows", "main"]


@lru_cache(maxsize=1)
def _centres() -> NDArray[np.float32]:
    centres: NDArray[np.float32] = (
        np.random.default_rng(0).standard_normal((CLASSES, FEATURES)).astype(np.float32)
    )
    return centres


def load_rows(rank: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the rows of one source: noisy copies of class centres."""
    draw = np.random.default_rng(rank)
    y = draw.integers(0, CLASSES, ROWS)
    X = _centres()[y] + 3 * draw.standard_normal((ROWS, FEATURES)).astype(np.float32)
    return X.astype(np.float32), y


def seconds_of(ends: list[float]) -> float:
    """Return the mean seconds of a round, all included, from when each one was over."""
    # Rounds that were queued together are over together: begin where such a group ends.
    last = np.flatnonzero(np.diff(ends) > 1e-3)
    first = int(last[last >= len(ends) // 10][0])
    return (ends[-1] - ends[first]) / (len(ends) - 1 - first)


def plain_loop(per_round: int) -> list[float]:
    """Return when each round was over, of the loop that anybody would write."""
    data = [load_rows(rank) for rank in range(SOURCES)]
    W: NDArray[Any] = np.zeros((FEATURES, CLASSES), np.float32)
    b: NDArray[Any] = np.zeros(CLASSES, np.float32)
    draw, ends = np.random.default_rng(0), []
    for _ in range(ROUNDS[per_round]):
        sum_W, sum_b = np.zeros_like(W), np.zeros_like(b)
        for rank in draw.choice(SOURCES, per_round, replace=False):
            X, y = data[rank]
            w, c = W.copy(), b.copy()
            order = draw.permutation(ROWS)
            for i in range(0, ROWS, BATCH):
                rows = order[i : i + BATCH]
                z = X[rows] @ w + c
                z -= z.max(axis=1, keepdims=True)
                p = np.exp(z)
                p /= p.sum(axis=1, keepdims=True)
                p[np.arange(len(rows)), y[rows]] -= 1
                p /= len(rows)
                w -= RATE * (X[rows].T @ p)
                c -= RATE * p.sum(axis=0)
            sum_W += w
            sum_b += c
        W, b = sum_W / per_round, sum_b / per_round
        ends.append(perf_counter())
    return ends


def our_rounds(
    executor: Executor, tracker: Tracker, per_round: int
) -> tuple[list[Report], list[float]]:
    """Return the reports of the same work through msl, and when each had been tracked."""
    ends: list[float] = []
    plan = Plan(
        model=Softmax(FEATURES, CLASSES),
        algorithm=FedAvg(epochs=1, batch=BATCH, lr=RATE),
        rounds=ROUNDS[per_round],
        per_round=per_round,
        evaluate_every=20,
    )
    sources = [LoaderSource(f"s{rank:04d}", load_rows, (rank,)) for rank in range(SOURCES)]
    held_out = LoaderSource("held_out", load_rows, (SOURCES,))
    result = train(
        plan, sources, executor, held_out=held_out, tracker=tracker,
        on_report=lambda _: ends.append(perf_counter()),
    )  # fmt: skip
    return list(result.reports[len(ends) // 10 :]), ends


def main() -> None:
    """Print rounds per second of the loop, in process, and on two worker processes."""
    table = Table(title=f"{SOURCES} sources of {ROWS} rows, softmax {FEATURES} -> {CLASSES}")
    for column in ("drawn", "system", "rounds/s", "x loop", "solve ms", "meet ms", "rest ms"):
        table.add_column(column, justify="left" if column == "system" else "right")
    with TemporaryDirectory() as folder:
        uri = f"sqlite:///{Path(folder) / 'bench.db'}"
        for per_round in ROUNDS:
            with LocalExecutor() as local:
                loop = seconds_of(plain_loop(per_round))
                table.add_row(str(per_round), "plain NumPy loop", f"{1 / loop:.3g}", "1.00")
                with make_tracker(uri, experiment="bench") as tracker:
                    _add(table, per_round, "msl in process", loop, local, tracker)
            with (
                open_executor(workers=2) as executor,
                make_tracker(uri, experiment="bench") as tracker,
            ):
                _add(table, per_round, "msl, 2 workers", loop, executor, tracker)
    Console().print(table)


def _add(
    table: Table, per_round: int, name: str, loop: float, executor: Executor, tracker: Any
) -> None:
    reports, ends = our_rounds(executor, tracker, per_round)
    whole = seconds_of(ends)
    solve, meet = (
        float(np.median([report.seconds[phase] for report in reports]))
        for phase in ("solve", "meet")
    )
    table.add_row(
        str(per_round),
        name,
        f"{1 / whole:.3g}",
        f"{loop / whole:.2f}",
        *(f"{1e3 * s:.1f}" for s in (solve, meet, whole - solve - meet)),
    )


if __name__ == "__main__":
    main()
