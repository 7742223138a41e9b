"""Linear hypotheses on which two sources differ most, from moments of each; no rows needed.

The label flip (Konstantinov and Lampert, ICML 2019, section 4): a hypothesis that is right on one
source and wrong on the other makes few errors on the first with its labels and the second with
flipped ones. Least squares, each source with weight 1/2, finds one in closed form, because
moments of the two sources together are sums and differences of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msl.trust.targets import Targets
from msl.types import Data

__all__ = [
    "Hypotheses",
    "Statistics",
    "constants",
    "fit",
    "flipped",
    "judged",
    "mixed",
    "risks",
    "shares",
    "statistics",
    "together",
]

Array = NDArray[np.float64]

RIDGE = 1e-6
"""Added to the correlation matrix of a pair's features."""
CHUNK = 1 << 22
"""Numbers held at once by a batch."""


@dataclass(frozen=True)
class Statistics:
    """Moments of one source: (p + 1) (p + K) numbers for p features and K target columns.

    They are centred, so that features far from zero lose no digits.

    Parameters
    ----------
    mean : ndarray of shape (p,)
    covariance : ndarray of shape (p, p)
    target : ndarray of shape (K,)
        Means of the target columns.
    cross : ndarray of shape (p, K)
        Covariances of features with targets.
    """

    mean: Array
    covariance: Array
    target: Array
    cross: Array


@dataclass(frozen=True)
class Hypotheses:
    """Scores x @ slope + offset of P linear hypotheses.

    Parameters
    ----------
    slope : ndarray of shape (P, p, K)
    offset : ndarray of shape (P, K)
    """

    slope: Array
    offset: Array

    def __len__(self) -> int:
        return len(self.offset)

    def __getitem__(self, which: NDArray[np.intp] | slice) -> "Hypotheses":
        return Hypotheses(self.slope[which], self.offset[which])

    def scores(self, X: Array) -> Array:
        """Return scores (m, P, K)."""
        count, features, columns = self.slope.shape
        flat = X @ self.slope.transpose(1, 0, 2).reshape(features, count * columns)
        found: Array = flat.reshape(len(X), count, columns) + self.offset
        return found


def shares(data: Data) -> Array:
    """Return what each row counts; sums to 1. Weights that are all zero count as equal."""
    if data.weight is None or not data.weight.any():
        return np.full(len(data), 1 / len(data))
    weight = data.weight.astype(np.float64)
    share: Array = weight / weight.sum()
    return share


def statistics(targets: Targets, data: Data) -> Statistics:
    """Return the moments of a source, rows counted by their weights."""
    share, t = shares(data), targets.code(data.y)
    X = data.X.astype(np.float64)
    mean, target = share @ X, share @ t
    X -= mean
    weighted = X * share[:, None]
    return Statistics(mean, weighted.T @ X, target, weighted.T @ (t - target))


def constants(features: int, columns: int) -> Hypotheses:
    """Return the hypotheses that say the same of every row: -1 and 1, or each class."""
    offset = np.eye(columns) if columns > 1 else np.array([[-1.0], [1.0]])
    return Hypotheses(np.zeros((len(offset), features, columns)), offset)


def mixed(parts: Sequence[Statistics], weights: Sequence[float] | Array) -> Statistics:
    """Return the moments of a mixture of sources, whose weights sum to 1."""
    each = np.asarray(weights, dtype=np.float64)
    means = np.stack([part.mean for part in parts])
    levels = np.stack([part.target for part in parts])
    mean, target = each @ means, each @ levels
    away = (means - mean).T * each
    covariance = np.tensordot(each, np.stack([part.covariance for part in parts]), 1)
    cross = np.tensordot(each, np.stack([part.cross for part in parts]), 1)
    return Statistics(
        mean, covariance + away @ (means - mean), target, cross + away @ (levels - target)
    )


def fit(source: Statistics) -> Hypotheses:
    """Return the ridge fit to a source's targets, as one hypothesis."""
    return _ridge(*(part[None] for part in vars(source).values()))


def together(parts: Sequence[Hypotheses]) -> Hypotheses:
    """Return the hypotheses of all parts, in order."""
    return Hypotheses(
        np.concatenate([part.slope for part in parts]),
        np.concatenate([part.offset for part in parts]),
    )


def flipped(sources: Sequence[Statistics], pairs: NDArray[np.intp]) -> Hypotheses:
    """Return for each pair (i, j) the ridge fit to i's targets and j's flipped ones.

    A class flips to all others in equal parts. Full parts would make the best 0/1 losses, were the
    fit that good; as it is, equal ones find more between liars and less between honest sources.

    Parameters
    ----------
    sources : sequence of Statistics
    pairs : ndarray of shape (P, 2)
    """
    mean = np.stack([s.mean for s in sources])
    covariance = np.stack([s.covariance for s in sources])
    target = np.stack([s.target for s in sources])
    cross = np.stack([s.cross for s in sources])
    features, columns = cross.shape[1:]
    others = max(columns - 1, 1)
    found = Hypotheses(np.empty((len(pairs), features, columns)), np.empty((len(pairs), columns)))
    for part in _parts(len(pairs), features**2):
        i, j = pairs[part].T
        apart = mean[i] - mean[j]
        opposed, against = -target[j] / others, -cross[j] / others
        fitted = _ridge(
            (mean[i] + mean[j]) / 2,
            (covariance[i] + covariance[j]) / 2 + apart[:, :, None] * apart[:, None] / 4,
            (target[i] + opposed) / 2,
            (cross[i] + against) / 2 + apart[:, :, None] * (target[i] - opposed)[:, None] / 4,
        )
        found.slope[part], found.offset[part] = fitted.slope, fitted.offset
    return found


def _ridge(mean: Array, covariance: Array, target: Array, cross: Array) -> Hypotheses:
    """Return P fits to P sets of moments.

    Features are standardised and the offset is free of the ridge, so that units do not matter.
    """
    deviation = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0))
    # What varies less than float32 can show is constant.
    deviation = np.where(deviation > 1e-7 * np.abs(mean), deviation, np.inf)
    system = covariance / deviation[:, :, None] / deviation[:, None]
    system += RIDGE * np.eye(mean.shape[1])
    slope = np.linalg.solve(system, cross / deviation[:, :, None]) / deviation[:, :, None]
    return Hypotheses(slope, target - (mean[:, None] @ slope)[:, 0])


def risks(targets: Targets, data: Data, hypotheses: Hypotheses) -> Array:
    """Return what `judged` does of linear hypotheses."""
    X, t = data.X.astype(np.float64), targets.code(data.y)
    found = [
        judged(targets, data, targets.losses(hypotheses[part].scores(X), t))
        for part in _parts(len(hypotheses), 4 * len(data) * targets.columns)
    ]
    return np.concatenate(found, axis=2)


def judged(targets: Targets, data: Data, losses: Array) -> Array:
    """Return what a source says of hypotheses with losses (m, P), (S, 3, P).

    Per stratum, each class by itself or all rows together: mean losses, their squared standard
    errors, and how many rows of equal weight would have as large ones.
    """
    rows = np.ones((1, len(data)), dtype=np.bool_)
    if targets.by_class:
        rows = data.y == np.array(targets.classes)[:, None]
    weight = rows * shares(data)
    total = weight.sum(axis=1, keepdims=True)
    share = weight / np.where(total > 0, total, 1)
    mean, square = share @ losses, (share**2).sum(axis=1, keepdims=True)
    variance = np.maximum(share @ losses**2 - mean**2, 0)
    size = np.broadcast_to((total > 0) / np.where(total > 0, square, 1), mean.shape)
    return np.stack((mean, variance * square, size), axis=1)


def _parts(count: int, size: int) -> Iterator[slice]:
    """Yield slices of `count` items, so that items of this size stay below `CHUNK` numbers."""
    step = max(1, CHUNK // max(size, 1))
    yield from (slice(start, start + step) for start in range(0, count, step))
