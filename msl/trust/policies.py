"""From differences between sources to the sources that are kept; no source is asked here.

Konstantinov, Frantar, Alistarh, Lampert: On the sample complexity of adversarial multi-source PAC
learning. ICML 2020, Algorithm 1.
"""

from math import erfc, sqrt
from statistics import NormalDist
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Agreement",
    "Equal",
    "agreement",
    "allowed_by_rates",
    "allowed_by_splits",
    "equal_sources",
    "most_differ",
    "p_values",
]

Array: TypeAlias = NDArray[np.float64]
NORMAL_QUARTILE = NormalDist().inv_cdf(0.75)
SATURATED = 0.95
"""Halves of a source that differ by more are told apart by heart; larger samples may be as well."""


class Equal(NamedTuple):
    """How much equal sources differ, over sqrt(1 / m_i + 1 / m_j): normal with this mean and sd."""

    mean: float
    sd: float


class Agreement(NamedTuple):
    """What the count rule says of N sources.

    kept (N,) tells who agrees with enough; statistic (N,) is at most 1 for them; agree (N, N)
    tells who agrees with whom, counting each source as agreeing with itself.
    """

    kept: NDArray[np.bool_]
    statistic: Array
    agree: NDArray[np.bool_]


def allowed_by_rates(rates: ArrayLike) -> Array:
    """Return s_i + s_j, which two good sources do not exceed, (N, N).

    Parameters
    ----------
    rates : array of shape (N,)
        Largest deviation s_i of an empirical risk from the risk, each with probability at least
        1 - delta / (2 N): all bounds together hold with probability 1 - delta.
    """
    s = np.asarray(rates, dtype=np.float64)
    both: Array = s[:, None] + s
    return both


def equal_sources(null: ArrayLike, rows: ArrayLike) -> Equal:
    """Return how much equal sources differ, from halves of each source.

    The difference found between two samples of one distribution goes with
    sqrt(1 / m_i + 1 / m_j), for its mean (a hypothesis is fitted to chance) as for its deviation.
    A corrupted source can make its own halves look as it likes, so the mean and the deviation are
    medians over sources, each from the halves of one. Approximate: the law of a class's capacity
    holds when rows are many times the features, and a normal tail is put where no draws are.

    Parameters
    ----------
    null : array of shape (B, N)
        Discrepancies between two random halves of each source, B >= 2.
    rows : array of shape (N,)

    Returns
    -------
    Equal
        Mean inf when most sources have so few rows that their halves are told apart by heart.
    """
    drawn, m = np.asarray(null, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    if np.median(drawn.mean(axis=0)) > SATURATED:
        return Equal(np.inf, 1.0)
    # Halves of m rows: 1 / m_i + 1 / m_j = 4 / m.
    unit = drawn * np.sqrt(m / 4)
    return Equal(float(np.median(unit.mean(axis=0))), float(np.median(unit.std(axis=0, ddof=1))))


def allowed_by_splits(equal: Equal, rows: ArrayLike, delta: float, tries: float = 1) -> Array:
    """Return what no pair of equal sources exceeds with probability about 1 - delta, (N, N).

    The 1 - delta / (N^2 tries) quantile for each pair. At most 1, which nothing exceeds.

    Parameters
    ----------
    equal : Equal
    rows : array of shape (N,)
    delta : float
        In (0, 1).
    tries : float
        How many times as many hypotheses judge a pair as judged halves, >= 1: the union bound.
    """
    m = np.asarray(rows, dtype=np.float64)
    chance, spread = delta / len(m) ** 2 / tries, 1 / m[:, None] + 1 / m
    unit = equal.mean - NormalDist().inv_cdf(chance) * equal.sd
    # Where halves hardly ever err, single rows decide: Bernstein's term without the variance.
    least = -np.log(chance) / 3 * spread
    allowed: Array = np.minimum(1.0, np.maximum(unit * np.sqrt(spread), least))
    return allowed


def most_differ(distances: Array, allowed: Array, needed: int) -> float:
    """Return how many times what chance allows sources may differ, for most do; at least 1.

    q50 + 3 (q50 - q25) / 0.6745, with quartiles q of the statistics that `agreement` finds: three
    deviations above the median, which one honest source of 700 exceeds, were they normal. The
    deviation is that of the lower half, where sources that lie do not stretch it. While these
    are less than half, the median is at most the largest statistic s of an honest source, so what
    is returned is at most max(1, 5.45 s), whatever they do.

    References
    ----------
    Hampel: The breakdown points of the mean combined with some rejection rules. Technometrics 27,
    1985; he has the median absolute deviation, for which Rousseeuw and Croux (Alternatives to the
    median absolute deviation. JASA 88, 1993) show what is lost where samples are skewed.
    """
    low, median = np.quantile(agreement(distances, allowed, needed).statistic, (0.25, 0.5))
    return max(1.0, float(median + 3 * (median - low) / NORMAL_QUARTILE))


def agreement(distances: Array, allowed: Array, needed: int) -> Agreement:
    """Keep a source that agrees with at least `needed` sources, itself included.

    Two sources agree when they differ by no more than is allowed. The statistic is a source's
    distance to its `needed`-th nearest source, each distance measured in what is allowed there.

    Parameters
    ----------
    distances : ndarray of shape (N, N)
        Symmetric, diagonal 0.
    allowed : ndarray of shape (N, N)
        Symmetric, at least 0.
    needed : int
        1 <= needed <= N.

    Examples
    --------
    >>> distances = np.array([[0, 0.1, 0.8], [0.1, 0, 0.9], [0.8, 0.9, 0]])
    >>> agreement(distances, np.full((3, 3), 0.2), needed=2).kept.tolist()
    [True, True, False]
    """
    # Nothing at all may be allowed, as between sources that are all one row.
    ratio = distances / np.maximum(allowed, np.finfo(np.float64).tiny)
    statistic = np.partition(ratio, needed - 1, axis=1)[:, needed - 1]
    return Agreement(statistic <= 1, statistic, ratio <= 1)


def p_values(
    distances: Array, rows: ArrayLike, equal: Equal, needed: int, clean: int, tries: float = 1
) -> Array:
    """Return bounds of the chance that a good source is as far from its `needed`-th nearest.

    Whatever the others do, a good source is as far only when at least clean - needed + 1 of the
    clean - 1 other good ones are as far. The expected number of those is clean - 1 times the tail
    of one, and Markov's inequality bounds the chance, however distances depend on each other.

    Parameters
    ----------
    distances : ndarray of shape (N, N)
    rows : array of shape (N,)
    equal : Equal
    needed, clean : int
        1 <= needed <= clean <= N.
    tries : float
        As in `allowed_by_splits`.

    Returns
    -------
    ndarray of shape (N,)
        In [0, 1].
    """
    m = np.asarray(rows, dtype=np.float64)
    spread = 1 / m[:, None] + 1 / m
    unit = distances / np.sqrt(spread)
    far = np.partition(unit, needed - 1, axis=1)[:, needed - 1]
    z = (far - equal.mean) / max(equal.sd, 1e-9)
    tail = np.array([erfc(each / sqrt(2)) / 2 for each in z])
    # As in `allowed_by_splits`, where halves hardly ever err.
    least = np.partition(distances / spread, needed - 1, axis=1)[:, needed - 1]
    tail = np.maximum(tail, np.exp(-3 * least))
    bound = np.minimum(1.0, tries * (clean - 1) / (clean - needed + 1) * tail)
    # No distance is below 0.
    return np.where(far > 0, bound, 1.0)
