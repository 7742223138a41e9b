"""How long training takes beside slow workers: everyone, a deadline, over-selection, a buffer.

32 sources on 8 worker processes train on scikit-learn's digits, dealt unequally (Dirichlet 0.3).
A source takes 10 ms a round, times the slowness of its worker: log-normal with a deviation of 0.5,
and one worker is 20 times slower. Sources sleep for that long, so this machine's cores do not
matter. All runs go on until the held-out accuracy is reached.
"""

from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter, sleep

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from msl.algorithms import FedAvg
from msl.algorithms.base import LocalSolver
from msl.cluster import Executor, open_executor
from msl.models import Softmax
from msl.models.base import Model
from msl.rounds import Plan, train
from msl.sources import Dirichlet, HeldOut, LoaderSource, PartitionSource
from msl.types import Data, Memory, Report, Update, Vector
from msl.waiting import Buffered, Deadline, Everyone, Waiting

__all__ = ["main"]

SOURCES, WORKERS, DRAWN, SECONDS, SLOWER, GOAL, MOST = 32, 8, 16, 0.01, 20, 0.88, 150
WAYS: dict[str, Waiting] = {
    "everyone": Everyone(),
    "deadline of 0.2 s": Deadline(0.2),
    "over-selection of 0.5": Deadline(5.0, over=0.5),
    "buffer of 8": Buffered(8),
}


@dataclass(frozen=True)
class Uneven(FedAvg):
    """Local SGD that takes the seconds that stand in a column of their own, as one more feature."""

    def solver(self, model: Model) -> LocalSolver:
        """Return the solver that sleeps first."""
        return _Sleeping(super().solver(model))


@dataclass(frozen=True)
class _Sleeping(LocalSolver):
    then: LocalSolver

    def solve(
        self, params: Vector, source: Data, memory: Memory, key: int, round: int
    ) -> tuple[Update, Memory]:
        sleep(float(source.X[0, -1]))
        return self.then.solve(params, source, memory, key, round)


@lru_cache(maxsize=1)
def seconds() -> NDArray[np.float64]:
    """Return how long a source of each worker takes."""
    found = SECONDS * np.random.default_rng(0).lognormal(0, 0.5, WORKERS)
    found[-1] *= SLOWER
    return found


def load(rank: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return a source's rows and the seconds it takes; ranks are dealt to workers in turn."""
    rows = PartitionSource("", "digits", Dirichlet(0.3), rank, SOURCES, 0, 0.25).load()
    slowness = np.full((len(rows), 1), seconds()[rank % WORKERS], np.float32)
    return np.hstack([rows.X, slowness]), rows.y


def held_out() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the rows that judge."""
    rows = HeldOut("digits", 0.25, 0).load()
    return np.hstack([rows.X, np.zeros((len(rows), 1), np.float32)]), rows.y


def run(waiting: Waiting, executor: Executor) -> tuple[list[Report], float]:
    """Train until the goal is reached; return the reports and the seconds since the first."""
    plan = Plan(
        model=Softmax(65, 10),
        algorithm=Uneven(epochs=1, batch=32, lr=0.1),
        rounds=MOST,
        per_round=DRAWN,
        on_failure="drop",
        waiting=waiting,
    )
    sources = [LoaderSource(f"source-{rank:02d}", load, (rank,)) for rank in range(SOURCES)]
    ends: list[float] = []

    def reached(report: Report, _: object) -> bool:
        ends.append(perf_counter())
        return (report.accuracy or 0.0) >= GOAL

    result = train(
        plan, sources, executor, held_out=LoaderSource("held_out", held_out), watch=reached
    )
    return list(result.reports), ends[-1] - ends[0]


def main() -> None:
    """Print how long each way of waiting takes to the goal, beside waiting for everyone."""
    table = Table(title=f"{SOURCES} sources on {WORKERS} workers, {DRAWN} drawn, to {GOAL}")
    for column in ("waiting", "steps", "s", "x everyone", "ms a step", "updates", "late", "age"):
        table.add_column(column, justify="left" if column == "waiting" else "right")
    whole = 0.0
    with open_executor(workers=WORKERS) as executor:
        run(Deadline(60), executor)  # compiles and loads
        for name, waiting in WAYS.items():
            reports, taken = run(waiting, executor)
            whole = whole or taken
            ages = [r.stale.get(rank, 0) for r in reports for rank in r.participants]
            reached = "" if (reports[-1].accuracy or 0.0) >= GOAL else " (not reached)"
            table.add_row(
                name + reached,
                str(len(reports)),
                f"{taken:.1f}",
                f"{whole / taken:.2f}",
                f"{1e3 * taken / max(len(reports) - 1, 1):.0f}",
                str(len(ages)),
                str(sum(len(r.late or ()) for r in reports)),
                f"{np.mean(ages):.2f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
