"""Discrepancies between sources that lie at several places; see each protocol for what travels.

All are attained by some hypothesis, so none exceeds the supremum over the class: a difference may
be missed, and is never invented. Each step is one call per place, whatever the number of sources.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msl.trust.base import Held
from msl.trust.discrepancy import Discrepancy, judge_pairs, linear, widest
from msl.trust.learners import Learner, Predict, differ, exchanged_halves, judge, least_squares, own
from msl.trust.places import (
    Mine,
    Numbered,
    agreed,
    gather,
    halving,
    halving_keys,
    merged,
    places_of,
)
from msl.trust.ridge import Statistics, statistics
from msl.trust.targets import Targets
from msl.types import Data

if TYPE_CHECKING:
    # Executors bring in distributed, which takes a second, and a host is of a floor above.
    from msl.cluster.base import Executor
    from msl.hosts import Host

__all__ = ["by_losses", "by_moments", "by_pairs"]

Array = NDArray[np.float64]


def by_moments(
    sources: Sequence[Held],
    executor: "Executor",
    *,
    splits: int = 0,
    seed: int = 0,
    by_class: bool = False,
) -> Discrepancy:
    """Return what `linear` does, from moments; no row and no hypothesis travels.

    Every place gets the moments of all sources, p^2 numbers each, and fits by itself the pairs
    that its own sources are in. What comes back are mean losses.

    Parameters
    ----------
    sources : sequence of Held
        At least one row each; at least two for splits.
    executor : Executor
    splits : int
        How many times to halve each source, for `Discrepancy.null`; 0 leaves that out.
    seed : int
        Of the halves, 0 <= seed < 2**64.
    by_class : bool
        Compare two sources on the rows of each class by itself, and weigh the differences as
        `apart` says, so that they do not differ by having more of one (label shift). What is
        judged is fitted as ever.

    Raises
    ------
    DataError
        For sources without rows, and features or labels of different kinds.
    PlanError
        When splits is negative, or real targets are to be compared by class.
    """
    targets, places = agreed(sources, executor, splits, by_class), places_of(sources)
    moments = [
        executor.submit(_moments, host, mine, targets, at=at) for at, (host, mine) in places.items()
    ]
    judged = [
        executor.submit(_judge_pairs, host, mine, targets, moments, at=at)
        for at, (host, mine) in places.items()
    ]
    halve = halving(places, executor, splits, seed, partial(_linear, targets))
    found, null = gather(executor, judged, halve)
    return replace(widest(found), null=null)


def by_losses(
    sources: Sequence[Held],
    executor: "Executor",
    *,
    learner: Learner | None = None,
    splits: int = 0,
    seed: int = 0,
    by_class: bool = False,
) -> Discrepancy:
    """Return how differently sources judge each other's own hypotheses; only those travel.

    Every source fits one hypothesis to its own rows, and all sources judge all of them and the
    constants. d_ij = max over these h of |R_i(h) - R_j(h)| is at most the supremum over the class
    of the learner. It takes n fits, where `by_pairs` takes n (n - 1) / 2.

    For least squares it is neither above nor below `by_moments`: the largest difference on n
    hypotheses, none of which was sought for the pair. So chance puts less between honest sources
    (0.4 to 0.75 times as much with two classes, 10 features, 100 and 1000 rows), and about the
    same between them and sources with flipped, shuffled, constant or otherwise made labels. What
    only a hypothesis that nobody has would tell is missed: above all, other features with labels
    by the same rule. A learner that memorises its rows finds all sources different.

    Parameters
    ----------
    sources, executor, splits, seed, by_class
        As in `by_moments`.
    learner : callable, optional
        See `msl.trust.learners.Learner`; linear least squares when left out. Sources whose labels
        are all equal need no fit.

    Raises
    ------
    DataError, PlanError
        As `by_moments`.
    """
    learner = learner or least_squares
    targets, places = agreed(sources, executor, splits, by_class), places_of(sources)
    predicts = [
        executor.submit(_own, host, mine, targets, learner, at=at)
        for at, (host, mine) in places.items()
    ]
    judged = [
        executor.submit(_judge, host, mine, targets, predicts, at=at)
        for at, (host, mine) in places.items()
    ]
    halve = [
        executor.submit(_exchange, host, mine, targets, learner, predicts, splits, seed, at=at)
        for at, (host, mine) in places.items()
        if splits
    ]
    found, null = gather(executor, judged, halve)
    tables = {i: np.broadcast_to(table, (len(sources), *table.shape)) for i, table in found.items()}
    return replace(widest(tables), null=null)


def by_pairs(
    sources: Sequence[Held],
    executor: "Executor",
    *,
    learner: Learner,
    splits: int = 0,
    seed: int = 0,
    by_class: bool = False,
) -> Discrepancy:
    """Return how differently sources judge hypotheses sought for each pair; rows travel.

    A pair is computed where the larger of the two lives (the first one of two equals): the rows
    of the smaller one travel there, unless they lie there already. The learner is fitted to be
    right on one source and wrong on the other, each of weight 1/2 (the label flip); but for two
    classes also the other way round. What it finds, and the constants, are judged. Of two
    classes this is the supremum over the class of a learner that minimises the 0/1 loss, and at
    most that of all others.

    Parameters
    ----------
    sources, executor, splits, seed, by_class
        As in `by_moments`.
    learner : callable
        See `msl.trust.learners.Learner`; `fitted` makes one of an estimator. It is called
        n (n - 1) / 2 times for two classes, otherwise twice that; each row to be wrong on is
        given once for every other class.

    Raises
    ------
    DataError, PlanError
        As `by_moments`.
    """
    targets, places = agreed(sources, executor, splits, by_class), places_of(sources)
    pairs: dict[str, list[tuple[int, int]]] = {}
    for i, j in combinations(range(len(sources)), 2):
        larger = i if sources[i].info.rows >= sources[j].info.rows else j
        pairs.setdefault(sources[larger].place, []).append((i, j))
    judged = []
    for at, ours in pairs.items():
        needed = sorted({number for pair in ours for number in pair})
        rows = [
            executor.submit(_rows, host, {k: mine[k] for k in needed if k in mine}, at=place)
            for place, (host, mine) in places.items()
        ]
        judged.append(executor.submit(_differ, ours, targets, learner, rows, at=at))
    halve = halving(places, executor, splits, seed, partial(_differing, learner, targets))
    found, null = gather(executor, judged, halve)
    matrix, error = np.zeros((2, len(sources), len(sources)))
    for (i, j), one in found.items():
        matrix[i, j], error[i, j] = matrix[j, i], error[j, i] = one
    return Discrepancy(matrix, error, null)


def _moments(host: "Host", mine: Mine, targets: Targets) -> dict[int, Statistics]:
    return {number: statistics(targets, host.data[rank]) for number, rank in mine.items()}


def _judge_pairs(
    host: "Host", mine: Mine, targets: Targets, parts: Sequence[Mapping[int, Statistics]]
) -> dict[int, Array]:
    moments = merged(parts)
    return judge_pairs(targets, Numbered(host, mine), [moments[i] for i in range(len(moments))])


def _own(host: "Host", mine: Mine, targets: Targets, learner: Learner) -> dict[int, list[Predict]]:
    return {number: own(learner, targets, host.data[rank]) for number, rank in mine.items()}


def _judge(
    host: "Host", mine: Mine, targets: Targets, parts: Sequence[Mapping[int, list[Predict]]]
) -> dict[int, Array]:
    """Judge all hypotheses, in the order of their sources, at every source of a place."""
    predicts = [predict for _, some in sorted(merged(parts).items()) for predict in some]
    return {number: judge(targets, host.data[rank], predicts) for number, rank in mine.items()}


def _exchange(
    host: "Host",
    mine: Mine,
    targets: Targets,
    learner: Learner,
    parts: Sequence[Mapping[int, list[Predict]]],
    splits: int,
    seed: int,
) -> dict[int, list[float]]:
    """Let halves of the sources of a place judge: each other's hypotheses, and other sources'."""
    everyone, found = merged(parts), {}
    for number, rank in mine.items():
        others = [one for k in sorted(everyone) if k != number for one in everyone[k]]
        keys = halving_keys(splits, seed, rank)
        found[number] = exchanged_halves(learner, targets, host.data[rank], others, keys)
    return found


def _differing(learner: Learner, targets: Targets, a: Data, b: Data) -> float:
    return differ(learner, targets, a, b)[0]


def _rows(host: "Host", mine: Mine) -> dict[int, Data]:
    return {number: host.data[rank] for number, rank in mine.items()}


def _differ(
    pairs: Sequence[tuple[int, int]],
    targets: Targets,
    learner: Learner,
    parts: Sequence[Mapping[int, Data]],
) -> dict[tuple[int, int], tuple[float, float]]:
    rows = merged(parts)
    return {(i, j): differ(learner, targets, rows[i], rows[j]) for i, j in pairs}


def _linear(targets: Targets, a: Data, b: Data) -> float:
    return float(linear([a, b], targets).matrix[0, 1])
