"""Slow, obvious versions of the aggregators: float64 and plain loops."""

from itertools import combinations
from math import inf, sqrt

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


def square(a: Array, b: Array) -> float:
    return float(sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def weighted_median(rows: Array, weights: Array) -> Array:
    """The value at half of the weight; the mean of two where half lies just between them."""
    result = []
    for column in rows.T:
        pairs = sorted(zip(column.tolist(), weights.tolist(), strict=True))
        below, total = 0.0, float(weights.sum())
        for i, (value, weight) in enumerate(pairs):
            below += weight
            if 2 * below == total:
                # A weight of nothing does not make its value the next one.
                later = next(v for v, w in pairs[i + 1 :] if w > 0)
                result.append((value + later) / 2)
                break
            if 2 * below > total:
                result.append(value)
                break
    return np.array(result)


def weighted_trimmed_mean(rows: Array, weights: Array, trim: float) -> Array:
    """The mean of the weight that is left after cutting a share from both ends."""
    result = []
    for column in rows.T:
        pairs = sorted(zip(column.tolist(), (weights / weights.sum()).tolist(), strict=True))
        below, kept = 0.0, []
        for value, weight in pairs:
            left = max(0.0, min(below + weight, 1 - trim) - max(below, trim))
            kept.append((value, left))
            below += weight
        result.append(sum(v * w for v, w in kept) / sum(w for _, w in kept))
    return np.array(result)


def meamed(rows: Array, f: int) -> Array:
    """The mean of the n - f values nearest to the median, the smaller one first among equals."""
    result = []
    for column in rows.T:
        middle = median(column[:, None])[0]
        nearest = sorted(column.tolist(), key=lambda x: (abs(x - middle), x))
        result.append(np.mean(nearest[: len(column) - f]))
    return np.array(result)


def krum_order(rows: Array, closest: int) -> list[int]:
    n = len(rows)
    totals = []
    for i in range(n):
        others = sorted(square(rows[i], rows[j]) for j in range(n) if j != i)
        totals.append(sum(others[: max(1, closest)]))
    return sorted(range(n), key=lambda i: (totals[i], i))


def multi_krum(rows: Array, weights: Array, f: int, m: int) -> Array:
    chosen = krum_order(rows, len(rows) - f - 2)[:m]
    return mean(rows[chosen], weights[chosen])


def mda(rows: Array, weights: Array, f: int) -> Array:
    best = min(
        combinations(range(len(rows)), len(rows) - f),
        key=lambda s: (
            max(square(rows[i], rows[j]) for i in s for j in s),
            sum(square(rows[i], rows[j]) for i in s for j in s),
        ),
    )
    return mean(rows[list(best)], weights[list(best)])


def smea_value(rows: Array) -> float:
    """The top eigenvalue of the covariance, in d dimensions."""
    centred = rows - rows.mean(axis=0)
    return float(np.linalg.eigvalsh(centred.T @ centred)[-1])


def caf(rows: Array, weights: Array, f: int) -> Array:
    """By the covariance in d dimensions."""
    c = len(rows) * weights / weights.sum()
    best, least = mean(rows, c), np.inf
    while c.sum() > len(rows) - 2 * f:
        centre = mean(rows, c)
        gaps = rows - centre
        values, vectors = np.linalg.eigh((gaps * c[:, None]).T @ gaps / c.sum())
        if values[-1] < least:
            best, least = centre, values[-1]
        along = (gaps @ vectors[:, -1]) ** 2
        if along[c > 0].max() <= 1e-18:
            break
        c = c * np.maximum(0, 1 - along / along[c > 0].max())
    return best


def centered_clipping(
    rows: Array, weights: Array, start: Array, tau: float, iterations: int
) -> Array:
    v, w = start.copy(), weights / weights.sum()
    for _ in range(iterations):
        step = np.zeros_like(v)
        for x, share in zip(rows, w, strict=True):
            gap = np.linalg.norm(x - v)
            step += share * (1.0 if gap == 0 else min(1.0, tau / gap)) * (x - v)
        v = v + step
    return v


def bulyan(rows: Array, f: int) -> Array:
    left, picked = list(range(len(rows))), []
    for _ in range(len(rows) - 2 * f):
        best = krum_order(rows[left], min(max(1, len(left) - f - 2), len(left) - 1))[0]
        picked.append(left.pop(best))
    return meamed(rows[sorted(picked)], 2 * f)


def nearest_rows(rows: Array, i: int, count: int) -> list[int]:
    return sorted(range(len(rows)), key=lambda j: (square(rows[i], rows[j]), j))[:count]


def nnm(rows: Array, weights: Array, f: int) -> Array:
    near = [nearest_rows(rows, i, len(rows) - f) for i in range(len(rows))]
    return np.array([mean(rows[chosen], weights[chosen]) for chosen in near])


def arc(rows: Array, f: int) -> Array:
    lengths = [float(np.linalg.norm(row)) for row in rows]
    longest = sorted(lengths)[len(rows) - 1 - 2 * f * (len(rows) - f) // len(rows)]
    return np.array(
        [row * min(1.0, longest / max(k, 1e-300)) for row, k in zip(rows, lengths, strict=True)]
    )


def median_source(points: list[list[float]], good: list[bool]) -> tuple[int, float]:
    """The good point with the least distance to its (n // 2 + 1)-th closest, and that distance."""
    n, scores = len(points), {}
    for i in range(n):
        away = sorted(distance(points[i], points[j]) for j in range(n) if good[j])
        if good[i]:
            scores[i] = away[n // 2] if len(away) > n // 2 else inf
    best = min(scores, key=lambda i: (scores[i], i))
    return best, scores[best]


def safeguard(
    rounds: list[Array], lengths: list[int], thresholds: list[float]
) -> list[tuple[Array, list[bool]]]:
    """Result and good sources of each round; sums are made anew from the whole history."""
    n, found = len(rounds[0]), []
    good = [True] * n
    for t in range(len(rounds)):
        result = np.mean([rounds[t][i] for i in range(n) if good[i]], axis=0)
        found.append((result, list(good)))
        for length, threshold in zip(lengths, thresholds, strict=True):
            start = t // length * length
            sums = np.sum(rounds[start : t + 1], axis=0).tolist()
            median, score = median_source(sums, good)
            limit = 2 * max(threshold, score / n)
            good = [good[i] and distance(sums[i], sums[median]) / n <= limit for i in range(n)]
    return found
