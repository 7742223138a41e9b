"""The task that all systems are given, and local training as anybody would write it in NumPy.

The workload is FLUTE's LR_MNIST shape: 1,000 sources of 60 rows, softmax regression 784 -> 10,
local batch 10, one local epoch, learning rate 0.03.
"""

import json
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

SOURCES, ROWS, FEATURES, CLASSES = 1000, 60, 784, 10
BATCH, RATE = 10, 0.03

__all__ = [
    "BATCH",
    "CLASSES",
    "FEATURES",
    "RATE",
    "ROWS",
    "SOURCES",
    "load_rows",
    "loss_of",
    "rows",
    "tell",
    "train_locally",
]

Rows: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]


@lru_cache(maxsize=1)
def _centres() -> NDArray[np.float32]:
    centres: NDArray[np.float32] = (
        np.random.default_rng(0).standard_normal((CLASSES, FEATURES)).astype(np.float32)
    )
    return centres


def load_rows(rank: int) -> Rows:
    """Return the rows of one source: noisy copies of class centres."""
    draw = np.random.default_rng(rank)
    y = draw.integers(0, CLASSES, ROWS)
    X = _centres()[y] + 3 * draw.standard_normal((ROWS, FEATURES)).astype(np.float32)
    return X.astype(np.float32), y


@lru_cache(maxsize=1)
def rows() -> list[Rows]:
    """Return the rows of all sources, loaded once a process."""
    return [load_rows(rank) for rank in range(SOURCES)]


def train_locally(
    W: NDArray[np.float32], b: NDArray[np.float32], data: Rows, draw: np.random.Generator
) -> None:
    """Train weights (784, 10) and biases (10,) in place: one epoch over the rows of a source."""
    X, y = data
    order = draw.permutation(ROWS)
    for i in range(0, ROWS, BATCH):
        batch = order[i : i + BATCH]
        z = X[batch] @ W + b
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z)
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(batch)), y[batch]] -= 1
        p /= len(batch)
        W -= RATE * (X[batch].T @ p)
        b -= RATE * p.sum(axis=0)


def tell(version: str, begun: float, ends: list[float], loss: float) -> None:
    """Print what `beside` reads: when a run began, when each of its rounds was over, its loss."""
    told: dict[str, Any] = {"version": version, "begun": begun, "ends": ends, "loss": loss}
    print(json.dumps(told), flush=True)


def loss_of(W: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the mean cross entropy on held-out rows: whether something was learned at all."""
    X, y = load_rows(SOURCES)
    z = X @ W + b
    z -= z.max(axis=1, keepdims=True)
    found = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
    return float(found.mean())
