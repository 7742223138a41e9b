"""What no learner, or no learner that merges everything, can promise when sources lie.

Konstantinov, Frantar, Alistarh and Lampert (ICML 2020). The shapes are sure; the constants follow
the published statements as we know them.
"""

import math
from typing import NamedTuple

from msl.errors import PlanError

__all__ = ["LowerBound", "agnostic", "merged", "realizable"]


class LowerBound(NamedTuple):
    """Some distribution and adversary make the excess risk more than `risk`, and how often."""

    risk: float
    probability: float


def merged(alpha: float) -> LowerBound:
    """Return alpha / (8 (1 - alpha)) > 1 / 20 of the time: more rows do not help who merges.

    For learners that treat all rows as one sample, whatever m and N, even where some hypothesis
    makes no mistake. The adversary is that of Kearns and Li (1993): a rare point of probability
    alpha / (1 - alpha), which corrupted sources show with the other label so often that both
    labels are equally common.

    Parameters
    ----------
    alpha : float
        Corrupted fraction of the sources, in [0, 1/2).

    Raises
    ------
    PlanError
        For half of the sources or more, where nothing can be learned.
    """
    _check(alpha)
    return LowerBound(alpha / (8 * (1 - alpha)), 1 / 20)


def realizable(alpha: float, m: float) -> LowerBound:
    """Return alpha / (8 m) > 1 / 20 of the time: for any learner and any number of sources.

    Even where some hypothesis makes no mistake; m are the rows per source, at least 1.
    """
    _check(alpha, m)
    return LowerBound(alpha / (8 * m), 1 / 20)


def agnostic(alpha: float, n: int, m: float, dimension: int) -> LowerBound:
    """Return sqrt(d / (1280 N m)) + alpha / (16 m) > 1 / 64 of the time: for any learner.

    The first term is what all N sources of m rows leave unknown about a class of VC dimension d,
    the second what the adversary adds.
    """
    _check(alpha, n, m, dimension)
    return LowerBound(math.sqrt(dimension / (1280 * n * m)) + alpha / (16 * m), 1 / 64)


def _check(alpha: float, *counts: float) -> None:
    if not 0 <= alpha < 0.5:
        raise PlanError(
            f"alpha={alpha}: needs 0 <= alpha < 1/2, for with half of the sources lying no "
            "learner can tell which half"
        )
    if counts and min(counts) < 1:
        raise PlanError(f"numbers of rows, sources and dimensions start at 1, got {counts}")
