"""Module-level functions that tests send to workers, and small tasks to train on."""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from msl.aggregators import GeometricMedian
from msl.algorithms import FedAvg
from msl.algorithms.base import LocalSolver
from msl.attacks import SignFlip
from msl.codecs import ErrorFeedback, MaxMin
from msl.models import Softmax
from msl.rounds import Plan
from msl.sources import LoaderSource

FEATURES, CLASSES = 6, 3


def blob(rank, rows=40):
    """Rows around three centres; equal ranks give equal rows."""
    draw = np.random.default_rng(rank)
    y = draw.integers(0, CLASSES, rows)
    X = np.eye(CLASSES, FEATURES)[y] * 3 + draw.standard_normal((rows, FEATURES))
    return X.astype(np.float32), y


def broken(rank):
    raise RuntimeError(f"disk {rank} is on fire")


def fails_once_loaded(rank):
    """Rows that no finite training survives at a large step."""
    X, y = blob(rank)
    return X * np.float32(1e18), y


def killed_once(rank, flag, victim):
    """Rows of a source whose worker dies when they are loaded, the first time."""
    if rank == victim and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return blob(rank)


def pid():
    return os.getpid()


def slow_add(a, b):
    time.sleep(0.05)
    return a + b


def blobs(n=7, rows=40):
    return [LoaderSource(f"site-{rank}", blob, (rank, rows)) for rank in range(n)]


def held_out():
    return LoaderSource("held_out", blob, (99, 200))


def plan(**changes):
    """A plan with a stochastic codec under error feedback, and an attack."""
    base = Plan(
        model=Softmax(FEATURES, CLASSES),
        algorithm=FedAvg(epochs=1, batch=8, lr=0.1),
        aggregator=GeometricMedian(),
        codec=ErrorFeedback(MaxMin(bits=4, bucket=8, rounding="stochastic")),
        attack=SignFlip(3.0),
        corrupted=(1, 4),
        n_classes=CLASSES,
        rounds=6,
        seed=5,
    )
    return replace(base, **changes)


SLOW_ROWS = 41
"""Sources with so many rows are the slow ones of `SlowSgd`."""


def some_slow(slow, n=7):
    """The blobs, with a row more where training is slow."""
    return [LoaderSource(f"site-{r}", blob, (r, 40 + (r in slow))) for r in range(n)]


@dataclass(frozen=True)
class SlowSgd(FedAvg):
    """Local SGD that stands still for some seconds at the slow sources, in rounds before one."""

    seconds: float = 0.0
    before: int = 1 << 30

    def solver(self, model):
        return SlowSolver(super().solver(model), self)


@dataclass(frozen=True)
class SlowSolver(LocalSolver):
    then: LocalSolver
    settings: SlowSgd

    def solve(self, params, source, memory, key, round):
        if len(source) == SLOW_ROWS and round < self.settings.before:
            time.sleep(self.settings.seconds)
        return self.then.solve(params, source, memory, key, round)
