"""Slow, obvious versions of the aggregators: float64 and plain loops."""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean(rows: Array, weights: Array) -> Array:
    return np.average(rows, axis=0, weights=weights)


def median(rows: Array) -> Array:
    ordered = np.sort(rows, axis=0)
    n = len(rows)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def trimmed_mean(rows: Array, f: int) -> Array:
    return np.sort(rows, axis=0)[f : len(rows) - f].mean(axis=0)


def distance(a: list[float], b: list[float]) -> float:
    return sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def total_distance(point: Array, rows: Array, weights: Array) -> float:
    """What the geometric median makes small."""
    z = point.tolist()
    return sum(w * distance(x, z) for w, x in zip(weights, rows.tolist(), strict=True))


def geometric_median(rows: Array, weights: Array, steps: int = 300) -> Array:
    """Weiszfeld's steps from the mean; a row the point falls on counts as 1e-9 away."""
    points, z = rows.tolist(), mean(rows, weights).tolist()
    for _ in range(steps):
        pulls = [w / max(distance(x, z), 1e-9) for w, x in zip(weights, points, strict=True)]
        z = [
            sum(p * x[k] for p, x in zip(pulls, points, strict=True)) / sum(pulls)
            for k in range(len(z))
        ]
    return np.array(z)
