"""The safeguard: sources whose sums over many rounds drift away are evicted (ICLR 2021)."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.aggregators.counted import spread_over
from msl.aggregators.guard import Guard, Mask, from_median, larger
from msl.errors import DataError, PlanError
from msl.types import Aggregated, Memory, Rows
from msl_kernels.pairs import combine

__all__ = ["Guard", "Safeguard", "Thresholds", "calibrated"]

_WINDOWS = ("short", "long")
_EVICT, _REJECT = 2, 4
"""Multiples of the threshold and of the spread, as in the paper."""


class Thresholds(NamedTuple):
    """What a run among honest sources says: ``Safeguard(short, long, *thresholds)``."""

    thresholds: tuple[float, ...]
    spread: float


@dataclass(frozen=True)
class Safeguard(Aggregator):
    """Weighted mean of the sources that never drifted away from the others.

    A bias b per round grows to b T in a sum over T rounds, honest noise only to sqrt(T), so a
    lie that hides in one round shows in a window of many. Windows start anew at every multiple
    of their length. In each, the vector median is the sum with the smallest score: the distance
    to the (floor(n/2) + 1)-th closest sum of a good source, itself included. Within the threshold
    it has strictly more than n/2 sources behind it; good sources beyond 2 x the threshold from
    it are evicted. The sources that were good before the round make its result, as in the paper:
    one bad row may count once.

    The paper leaves open what happens when no sum has a majority within the threshold. Here the
    score then takes the place of the threshold in that round: among more than n/2 honest sources
    it cannot exceed the radius of theirs, so thresholds that are too small open no door, as
    evicting nobody would. With n/2 good sources or fewer the score is infinite and nobody is
    evicted.

    Distances of sums are divided by n, the number of all sources: divided by the number of good
    ones, every eviction would tighten the thresholds for the rest. Distances are unweighted;
    weights only weigh the mean. `given` is the share each row got, 0 for evicted sources and for
    rows not heard.

    Rows with NaN or Inf, and rows farther than 4 x `spread` from the vector median of the rows
    (or 4 x its score, if that is more), are not heard in their round.

    The rule needs the same n sources, in the same order, every round; the paper does not cover
    partial participation. Nor does it cover sources of different distributions, and that is
    what sources are that draw again and again from a few rows of their own: their sums drift
    apart linearly, and thresholds wide enough for them hide lies. The paper's noise, which helps
    to leave saddle points, is a matter of the server and not added here.

    Parameters
    ----------
    short : int
        Rounds of the short window, T0 >= 1.
    long : int, optional
        Rounds of the long window, T1 >= T0; None for the single safeguard, which misses what
        only a long window shows.
    thresholds : sequence of float, optional
        One per window, short first, in the units of the rows; from `calibrated`, for instance.
    spread : float, optional
        V: how far honest rows of one round lie apart. None takes it from the calibration, or
        checks nothing when the thresholds are given.
    calibrate : int, optional
        Instead of thresholds: take them from this many first rounds, at least the longest
        window, as the largest score of a vector median in them. Nobody is evicted meanwhile. A
        corrupted minority cannot push a threshold beyond the diameter of the honest sums.
    readmit : int, optional
        Every so many rounds the evicted come back, with empty sums; a multiple of both windows,
        so that everybody's are empty then. None: they never do, as in the paper.

    References
    ----------
    Allen-Zhu, Ebrahimian, Li, Alistarh: Byzantine-resilient non-convex stochastic gradient
    descent. ICLR 2021, Algorithm 1 (there SafeguardSGD; sums over |good|, here over n).

    Examples
    --------
    >>> import numpy as np
    >>> rule, rows = Safeguard(short=4, thresholds=(0.4,)), np.float32([[1], [1], [1], [-1]])
    >>> first = rule.aggregate(rows, np.ones(4), rule.init(4, 1))
    >>> second = rule.aggregate(rows, np.ones(4), first.memory)
    >>> third = rule.aggregate(rows, np.ones(4), second.memory)
    >>> first.vector, second.vector, third.vector
    (array([0.5], dtype=float32), array([0.5], dtype=float32), array([1.], dtype=float32))
    >>> print(*third.memory.log)
    round 1: source 3 evicted, 1 from the median of the short window, beyond 2 x 0.4
    """

    short: int
    long: int | None = None
    thresholds: tuple[float, ...] | None = None
    spread: float | None = None
    calibrate: int | None = None
    readmit: int | None = None
    name: ClassVar[str] = "safeguard"
    per_source: ClassVar[bool] = True
    weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.thresholds is not None:
            # A list, as configuration files have it, would make equal rules unequal.
            object.__setattr__(self, "thresholds", tuple(self.thresholds))
        if not all(isinstance(length, int) and length >= 1 for length in self._lengths):
            raise PlanError(f"safeguard needs windows of >= 1 rounds, got {self._lengths}")
        if self._lengths[-1] < self.short:
            raise PlanError(f"safeguard needs long >= short, got {self.long} < {self.short}")
        self._check_thresholds()
        if self.spread is not None and not self.spread > 0:
            raise PlanError(f"safeguard needs a spread > 0, got {self.spread}")
        if self.readmit is not None and (
            self.readmit < 1 or any(self.readmit % length for length in self._lengths)
        ):
            raise PlanError(
                f"safeguard readmits when its windows start: readmit={self.readmit} must be a "
                f"multiple of {' and '.join(map(str, self._lengths))}"
            )

    def _check_thresholds(self) -> None:
        if (self.thresholds is None) == (self.calibrate is None):
            raise PlanError("safeguard needs either thresholds or calibrate, a number of rounds")
        if self.calibrate is not None and self.calibrate < self._lengths[-1]:
            raise PlanError(
                f"safeguard must calibrate over its longest window: {self._lengths[-1]} rounds "
                f"or more, got {self.calibrate}"
            )
        if self.thresholds is not None and (
            len(self.thresholds) != len(self._lengths) or not all(t > 0 for t in self.thresholds)
        ):
            raise PlanError(
                f"safeguard needs a threshold > 0 for each of {len(self._lengths)} windows, "
                f"got {self.thresholds}"
            )

    @property
    def _lengths(self) -> tuple[int, ...]:
        return (self.short,) if self.long is None else (self.short, self.long)

    def init(self, n: int, d: int) -> Guard:
        """Return a guard to whom everybody is good."""
        zeros, unknown = np.zeros((n, d), np.float32), 0.0 if self.calibrate else inf
        return Guard(
            round=0,
            good=np.ones(n, np.bool_),
            sums=(zeros,) * len(self._lengths),
            thresholds=self.thresholds or (0.0,) * len(self._lengths),
            spread=unknown if self.spread is None else self.spread,
            evicted=np.full(n, -1),
            rejected=np.zeros(n, np.int64),
        )

    def tolerates(self, n: int) -> int:
        """Return the largest minority of n."""
        return (n - 1) // 2

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the mean of the good rows; the memory's `good` is that of the next round.

        Raises
        ------
        PlanError
            When the rows have another shape than the sums in the memory.
        DataError
            When no good source sent a finite row.
        """
        guard: Guard = memory
        if rows.shape != guard.sums[0].shape:
            raise PlanError(
                "safeguard needs a row of every source in every round: its sums are of "
                f"{guard.sums[0].shape[0]} sources (d = {guard.sums[0].shape[1]}), "
                f"round {guard.round} has {rows.shape[0]} (d = {rows.shape[1]})"
            )
        guard = self._with_readmitted(guard)
        heard, spread = self._heard(rows, guard)
        if not heard.any():
            raise DataError(f"no good source sent a finite row in round {guard.round}")
        given = spread_over(np.flatnonzero(heard), weights)
        # Zero times NaN is NaN: rows that are not heard must not be read.
        everyone = bool(heard.all())
        vector = combine(given, rows) if everyone else combine(given[heard], rows[heard])
        counted = rows if everyone else np.where(heard[:, None], rows, vector)
        guard = replace(
            guard,
            sums=self._summed(counted, guard),
            spread=spread,
            rejected=guard.rejected + (guard.good & ~heard),
        )
        return Aggregated(vector, given, replace(self._judged(guard), round=guard.round + 1))

    def _calibrating(self, guard: Guard) -> bool:
        return self.calibrate is not None and guard.round < self.calibrate

    def _with_readmitted(self, guard: Guard) -> Guard:
        if self.readmit is None or guard.round % self.readmit or guard.good.all():
            return guard
        back = ", ".join(map(str, np.flatnonzero(~guard.good)))
        log = (*guard.log, f"round {guard.round}: readmitted {back}")
        return replace(guard, good=np.ones_like(guard.good), log=log)

    def _heard(self, rows: Rows, guard: Guard) -> tuple[Mask, float]:
        """Return whose rows count in this round, and the spread."""
        with np.errstate(invalid="ignore"):
            # In float64 no sum of finite float32 numbers overflows.
            heard: Mask = guard.good & np.isfinite(rows.sum(axis=1, dtype=np.float64))
        if guard.spread == inf:
            return heard, inf
        score, away = from_median(rows, heard)
        if self.spread is None and self._calibrating(guard):
            return heard, larger(guard.spread, score)
        return heard & (away <= _REJECT * max(guard.spread, score)), guard.spread

    def _summed(self, rows: Rows, guard: Guard) -> tuple[Rows, ...]:
        """Return the sums with this round's rows; where a window starts, these alone."""
        with np.errstate(over="ignore"):
            return tuple(
                rows.copy() if guard.round % length == 0 else total + rows
                for length, total in zip(self._lengths, guard.sums, strict=True)
            )

    def _judged(self, guard: Guard) -> Guard:
        """Return the guard after the round: thresholds learned, or sources evicted."""
        n, good, log = len(guard.good), guard.good, guard.log
        looks = [from_median(total, good) for total in guard.sums]
        if self._calibrating(guard):
            pairs = zip(guard.thresholds, looks, strict=True)
            return replace(guard, thresholds=tuple(larger(t, s / n) for t, (s, _) in pairs))
        for window, least, (score, away) in zip(_WINDOWS, guard.thresholds, looks, strict=False):
            limit = max(least, score / n)
            far = good & (away / n > _EVICT * limit)
            good = good & ~far
            log += tuple(
                f"round {guard.round}: source {i} evicted, {away[i] / n:.3g} from the median of "
                f"the {window} window, beyond {_EVICT} x {limit:.3g}"
                for i in np.flatnonzero(far).tolist()
            )
        evicted = np.where(guard.good & ~good, guard.round, guard.evicted)
        return replace(guard, good=good, evicted=evicted, log=log)


def calibrated(rounds: Iterable[Rows], short: int, long: int | None = None) -> Thresholds:
    """Return the thresholds of a run among honest sources.

    They hold for the phase of training that the run covers: recalibrate when the learning rate
    or the batch changes.

    Parameters
    ----------
    rounds : iterable of ndarrays of shape (n, d)
        Rows of each round, at least the longest window.
    short, long : int
        Windows, as in `Safeguard`.

    Raises
    ------
    PlanError
        When there are too few rounds, or their shapes differ.
    """
    rule, guard = Safeguard(short, long, calibrate=sys.maxsize), None
    for rows in rounds:
        guard = guard or rule.init(*rows.shape)
        guard = rule.aggregate(rows, np.ones(len(rows)), guard).memory
    seen, needed = (guard.round if guard else 0), long or short
    if guard is None or seen < needed:
        raise PlanError(f"calibration needs the longest window, {needed} rounds, got {seen}")
    return Thresholds(guard.thresholds, guard.spread)
