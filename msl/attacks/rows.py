"""Moments of honest rows in float64, and rows made of them: rounded once, always finite."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.types import Rows

__all__ = ["as_float32", "copies", "mean_and_std", "mean_of"]

_LARGEST = float(np.finfo(np.float32).max)


def mean_of(rows: Rows) -> NDArray[np.float64]:
    """Return the mean of each coordinate."""
    mean: NDArray[np.float64] = rows.mean(axis=0, dtype=np.float64)
    return mean


def mean_and_std(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each coordinate, the latter over n - 1.

    One row alone has deviation 0. Goes row by row: no temporary larger than a row.
    """
    mean = mean_of(rows)
    squares = np.zeros_like(mean)
    for row in rows:
        squares += np.square(row - mean)
    return mean, np.sqrt(squares / max(len(rows) - 1, 1))


def as_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the values as float32; those beyond its range become its largest number."""
    return values.clip(-_LARGEST, _LARGEST).astype(np.float32)


def copies(row: NDArray[Any], n: int) -> Rows:
    """Return n equal float32 rows."""
    return np.tile(as_float32(row), (n, 1))
