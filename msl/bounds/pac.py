"""What is left of the risk when some sources lie.

Konstantinov, Frantar, Alistarh and Lampert (ICML 2020): N sources draw m rows each from one
distribution, an adversary replaces N - k of them by anything, the learner keeps the sources
that agree with enough others and minimises the empirical risk of what it kept. Two sources agree
when their discrepancy sup_h |R_i(h) - R_j(h)| is at most s(m_i, delta / 2N) + s(m_j, delta / 2N).

Proof of the bound. With probability 1 - delta / 2 every good source is within its s of the true
risks, so good ones agree and all are kept. A bad one that is kept agrees with a good one, so it
is within 3 max s. With probability 1 - delta / 2 the good ones together are within s(km) (for a
flexible adversary: every k of them, hence delta / C(N, k)). The kept deviate by the mean of both,
weighted by rows; the minimiser of a risk that is off by at most t has an excess of at most 2 t.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msl.bounds.capacity import Capacity
from msl.errors import PlanError

__all__ = [
    "Adversary",
    "count_rule",
    "effective_rows",
    "excess_risk",
    "largest_fraction",
    "largest_fraction_within",
    "most_corrupted",
    "weighted_deviation",
    "weighted_excess_risk",
]

Adversary = Literal["fixed", "flexible"]
"""Fixed: the corrupted sources are chosen before the data is drawn. Flexible: after."""


def most_corrupted(n: int) -> int:
    """Return how many of n sources may lie: fewer than half."""
    return (n - 1) // 2


def largest_fraction(n: int) -> float:
    """Return the largest corrupted fraction of n sources that any learner withstands.

    Examples
    --------
    >>> largest_fraction(4), largest_fraction(2)
    (0.25, 0.0)
    """
    return most_corrupted(n) / n


def count_rule(n: int, k: int) -> range:
    """Return how many sources, itself included, one must agree with to be kept.

    Every c with n - k < c <= k gives the bound: above k a good source may fall, up to n - k bad
    ones could vouch for each other alone.

    Raises
    ------
    PlanError
        Unless n / 2 < k <= n.

    Examples
    --------
    >>> list(count_rule(11, 7))
    [5, 6, 7]
    """
    if not n / 2 < k <= n:
        raise PlanError(
            f"k={k} good of n={n} sources: needs n / 2 < k <= n, for with half of them lying "
            "no learner can tell which half"
        )
    return range(n - k + 1, k + 1)


def excess_risk(
    n: int,
    k: int,
    m: float | Sequence[float],
    delta: float,
    rate: Capacity,
    adversary: Adversary = "fixed",
) -> float:
    """Bound R(h) - min R of filter-then-pool, with probability at least 1 - delta.

    2 s(km, delta / 2) + 6 alpha s(m, delta / 2N), with delta / 2 C(N, k) in the first term for a
    flexible adversary. For unequal sizes the worst case: the k smallest sources are the good
    ones, alpha is the part of all rows that the others hold, and the second s is the smallest
    source's.

    Parameters
    ----------
    n, k : int
        Sources, and how many of them are good; n / 2 < k <= n.
    m : float or sequence of n floats
        Rows per source, above 0.
    delta : float
        Chance in (0, 1) that the bound fails.
    rate : Capacity
        Of the hypotheses.
    adversary : "fixed" or "flexible"
        Whether it chooses its sources before or after the data is drawn.

    Returns
    -------
    float
        In units of a loss in [0, 1]; from 1 up it says nothing.

    Raises
    ------
    PlanError
        When a number is out of range.
    """
    count_rule(n, k)
    _check(delta)
    sizes = np.sort(np.full(n, m, float) if np.ndim(m) == 0 else np.array(m, float))
    if len(sizes) != n or not sizes[0] > 0:
        raise PlanError(f"{n} sources need as many sizes above 0, got {m}")
    pooled = float(sizes[:k].sum())
    single = rate.rate(float(sizes[0]), delta / (2 * n))
    together = _together(pooled, single, n, k, delta, rate, adversary)
    return float(2 * together + 6 * (1 - pooled / sizes.sum()) * single)


def largest_fraction_within(
    excess: float,
    n: int,
    m: float | Sequence[float],
    delta: float,
    rate: Capacity,
    adversary: Adversary = "fixed",
) -> float | None:
    """Return the largest corrupted fraction under which `excess_risk` stays at most `excess`.

    None when not even n good sources promise that much.
    """
    for bad in range(most_corrupted(n), -1, -1):
        if excess_risk(n, n - bad, m, delta, rate, adversary) <= excess:
            return bad / n
    return None


def effective_rows(
    weights: Sequence[float] | NDArray[Any], sizes: Sequence[float] | NDArray[Any]
) -> float:
    """Return 1 / sum a_i^2 / m_i for a = weights / sum: rows that tell as much, evenly weighted.

    At most sum m_i, which weights in proportion to the sizes reach; weights at least 0, their
    sum and the sizes above 0.
    """
    shares = np.asarray(weights, float)
    shares = shares / shares.sum()
    return float(1 / (shares * shares / np.asarray(sizes, float)).sum())


def weighted_excess_risk(
    weights: Sequence[float] | NDArray[Any],
    sizes: Sequence[float] | NDArray[Any],
    corrupted: int,
    delta: float,
    rate: Capacity,
    adversary: Adversary = "fixed",
    filtered: bool = True,
) -> float:
    """Bound R(h) - min R of the minimiser of a weighted risk, `corrupted` of whose sources lie.

    2 s(M) sqrt(M / m_eff) + 2 A min(3 s(min m), 1), where M are all rows, m_eff the
    `effective_rows` and A the largest part of the weight that so many sources carry; confidences
    as in `excess_risk`, of whose proof this is a variant. Good sources of V = sum a_i^2 / m_i,
    with a_i their part of all weight, deviate by sqrt(g(M) V) with the g of
    `msl.bounds.capacity`, as both symmetrisation and McDiarmid see the rows' weights by their
    squares alone; and V <= 1 / m_eff whoever is good. Equal sizes and weights give the theorem
    with s(Nm) for s(km), because the good ones' smaller part of the weight is counted.

    The weights must not depend on the good sources' rows: shares of a rule that looks at updates
    make it an estimate.

    Parameters
    ----------
    weights, sizes : sequence of n floats
        At least 0 with a sum above 0; rows above 0.
    corrupted : int
        Below n / 2.
    filtered : bool
        Whether the sources agree with each other as the theory rule asks of n sources; if not, a
        corrupted one may be off by a whole loss of 1.
    """
    shares = np.asarray(weights, float)
    shares = shares / shares.sum()
    rows = np.asarray(sizes, float)
    n, total = len(rows), float(rows.sum())
    worst = float(np.sort(shares)[n - corrupted :].sum())
    single = rate.rate(float(rows.min()), delta / (2 * n))
    together = _together(total, single, n, n - corrupted, delta, rate, adversary)
    spread = math.sqrt(total * float((shares * shares / rows).sum()))
    off = min(3 * single, 1.0) if filtered else 1.0
    return 2 * together * spread + 2 * worst * off


def weighted_deviation(
    weights: Sequence[float],
    sizes: Sequence[float],
    delta: float,
    rademacher: Sequence[float],
    discrepancy: Sequence[float],
    bound: float = 1.0,
) -> float:
    """Bound the excess risk on a target of the minimiser of a weighted risk over any sources.

    4 sum a_i Rad_i + 2 sum a_i d_i + 6 sqrt(ln(4 / delta) M^2 / 2) sqrt(sum a_i^2 / m_i), with
    probability at least 1 - delta (Konstantinov and Lampert, ICML 2019, Theorem 1).

    Parameters
    ----------
    weights, sizes : sequence of n floats
        a_i, scaled to a sum of 1 here and fixed before the rows are seen; m_i above 0.
    delta : float
        In (0, 1).
    rademacher, discrepancy : sequence of n floats
        Rademacher complexity of the losses on each source, and the discrepancy between its
        distribution and the target's; both at least 0.
    bound : float
        M, the largest loss.
    """
    _check(delta)
    shares = np.asarray(weights, float) / np.sum(weights)
    means = 4 * shares @ np.asarray(rademacher) + 2 * shares @ np.asarray(discrepancy)
    chance = 6 * bound * math.sqrt(math.log(4 / delta) / 2 / effective_rows(shares, sizes))
    return float(means + chance)


def _together(
    rows: float, single: float, n: int, k: int, delta: float, rate: Capacity, adversary: Adversary
) -> float:
    """Return the rate of the good sources' rows together; `single` holds for every one alone."""
    if adversary == "fixed":
        return rate.rate(rows, delta / 2)
    choices = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    chance = delta / 2 * math.exp(-choices)
    # Past 1000 sources no float holds the chance; a mean deviates no more than its worst part.
    return rate.rate(rows, chance) if chance > 1e-300 else single


def _check(delta: float) -> None:
    if not 0 < delta < 1:
        raise PlanError(f"delta is a chance in (0, 1), got {delta}")
