"""What tracking costs the loop: seconds of each call, and all processor time behind it."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from msl.tracking import NullTracker, Tracker, make_tracker
from msl.types import Report

ROUNDS, PER_SECOND, SOURCES = 400, 20, 20

__all__ = ["main"]


def report_of(number: int) -> Report:
    """Return a report with every field that becomes a metric."""
    return Report(
        round=number,
        participants=tuple(range(SOURCES)),
        given=(1 / SOURCES,) * SOURCES,
        source_loss=tuple(float(rank) for rank in range(SOURCES)),
        dropped={},
        bytes_up=7_000,
        bytes_down=52_000,
        bytes_up_dense=52_000,
        bytes_total=59_000 * (number + 1),
        step_norm=0.1,
        seconds={"solve": 0.01, "meet": 0.002, "evaluate": 0.001, "round": 0.014},
        loss=0.5,
        accuracy=0.9,
    )


def paced(log: Callable[[Report], None]) -> list[float]:
    """Log at the pace of a run; return the seconds each call took."""
    took, start = [], time.perf_counter()
    for number in range(ROUNDS):
        time.sleep(max(0.0, start + number / PER_SECOND - time.perf_counter()))
        report = report_of(number)
        before = time.perf_counter()
        log(report)
        took.append(time.perf_counter() - before)
    return took


def measure(tracker: Tracker) -> tuple[list[float], float]:
    """Return seconds per call, and processor seconds per round with every thread and the flush."""
    with tracker:
        before = time.process_time()
        took = paced(tracker.log)
    return took, (time.process_time() - before) / ROUNDS


def main() -> None:
    """Print the cost of a round under each tracker, and under a server that is away."""
    table = Table(title=f"tracker.log(report), {ROUNDS} rounds at {PER_SECOND} rounds/s")
    for column in ("tracker", "call, median", "call, p99", "processor per round", "of the time"):
        table.add_column(column, justify="left" if column == "tracker" else "right")
    with TemporaryDirectory() as folder:
        trackers = {
            "none": NullTracker(),
            "files": make_tracker(f"jsonl:{folder}"),
            "MLflow, sqlite": make_tracker(f"sqlite:///{Path(folder) / 'bench.db'}"),
            # Nothing listens on the discard port.
            "MLflow, server away": make_tracker("http://127.0.0.1:9", spool=folder),
        }
        for name, tracker in trackers.items():
            took, processor = measure(tracker)
            shown = (*np.percentile(took, (50, 99)), processor)
            share = f"{processor * PER_SECOND:.1%}"
            table.add_row(name, *(f"{1e3 * seconds:.3f} ms" for seconds in shown), share)
    Console().print(table)
