"""One data set played by n sources: recipes of a few bytes that agree on who owns which row."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.errors import PlanError
from msl.random import derive, generator
from msl.sources.base import Source, check_data
from msl.sources.dataset import dataset
from msl.sources.partition import Partitioner
from msl.types import Data

__all__ = ["HeldOut", "PartitionSource", "held_out_split"]

RowNumbers = NDArray[np.int64]


def held_out_split(y: NDArray[Any], fraction: float, key: int) -> tuple[RowNumbers, RowNumbers]:
    """Return row numbers to train on and to test on, both ascending; the same for equal keys.

    Class numbers are split class by class, and each class keeps a row to train on.

    Parameters
    ----------
    y : ndarray of shape (m,)
        Class numbers, or real targets.
    fraction : float
        Share of the test rows, 0 <= fraction < 1.
    key : int
        Decides which rows.

    Raises
    ------
    PlanError
        When the fraction is out of range.
    """
    if not 0 <= fraction < 1:
        raise PlanError(f"the held-out fraction must be in [0, 1), got {fraction}")
    draw = generator(derive(key, "held_out"))
    stratum = y if y.dtype.kind in "iub" else np.zeros(len(y))
    held = np.zeros(len(y), bool)
    for label in np.unique(stratum):
        rows = draw.permutation(np.flatnonzero(stratum == label))
        held[rows[: min(round(fraction * len(rows)), len(rows) - 1)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


# The sources of a process share one split; each would otherwise deal all rows to get its own.
@lru_cache(maxsize=16)
def _parts(
    name: str, partitioner: Partitioner, n: int, key: int, held_out: float
) -> tuple[RowNumbers, ...]:
    X, y = dataset(name)
    train, _ = held_out_split(y, held_out, key)
    return tuple(train[rows] for rows in partitioner.split(X[train], y[train], n, key))


@dataclass(frozen=True)
class PartitionSource(Source):
    """The share of one source in a named data set, made on the worker from a few bytes.

    Parameters
    ----------
    name : str
        What reports call it.
    dataset : str
        A name of `msl.sources.DATASETS`.
    partitioner : Partitioner
        How the rows are dealt.
    rank, n : int
        This source's number, and how many there are; 0 <= rank < n.
    key : int
        The same for all n sources and for `HeldOut`, or they would overlap.
    held_out : float
        Share of the rows, in [0, 1), that no source gets.

    Raises
    ------
    PlanError
        When the rank is out of range.
    """

    name: str
    dataset: str
    partitioner: Partitioner
    rank: int
    n: int
    key: int
    held_out: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.n:
            raise PlanError(
                f"source {self.name!r}: rank must be in 0..{self.n - 1}, got {self.rank}"
            )

    def load(self) -> Data:
        """Return this source's rows, as it sees them.

        Raises
        ------
        PlanError
            When the data set is unknown or cannot be dealt in this way.
        """
        X, y = dataset(self.dataset)
        parts = _parts(self.dataset, self.partitioner, self.n, self.key, self.held_out)
        rows = parts[self.rank]
        seen = self.partitioner.transform(X[rows], self.rank, self.n, self.key)
        return check_data(self.name, seen, y[rows])


@dataclass(frozen=True)
class HeldOut(Source):
    """The rows of a named data set that no `PartitionSource` of the same key and fraction gets.

    Parameters
    ----------
    dataset : str
        A name of `msl.sources.DATASETS`.
    fraction : float
        Share of the rows, 0 < fraction < 1.
    key : int
        The key of the sources.
    name : str
        What reports call it.
    """

    dataset: str
    fraction: float
    key: int
    name: str = "held_out"

    def load(self) -> Data:
        """Return the test rows, as the data set has them: no partitioner transforms them."""
        X, y = dataset(self.dataset)
        _, test = held_out_split(y, self.fraction, self.key)
        return check_data(self.name, X[test], y[test])
