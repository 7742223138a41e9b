"""FLEA: leave out sources that differ in accuracy, fairness or balance from most others.

Iofinova, Konstantinov, Lampert: FLEA: provably robust fair multisource learning from unreliable
training data. TMLR 2022.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError, PlanError
from msl.trust.base import Held, TrustReport, TrustRule
from msl.trust.disparity import (
    Ask,
    Census,
    Kind,
    Rows,
    Vector,
    census,
    fit_against,
    judge,
    part,
    rows_of,
)

if TYPE_CHECKING:
    # Executors bring in distributed, which takes a second, and a host is of a floor above.
    from msl.cluster.base import Executor
    from msl.hosts import Host

__all__ = ["Distances", "Flea", "flea_distances", "flea_filter"]

Matrix: TypeAlias = NDArray[np.float64]
Set: TypeAlias = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""X of shape (m, p), labels y and protected attribute a of shape (m,), both of 0 and 1."""
FARTHEST = 3.0
"""The largest distance there can be: each of its three parts is at most 1."""


class Distances(NamedTuple):
    """Discrepancy, disparity and disbalance of all pairs; (N, N) each, symmetric, in [0, 1]."""

    discrepancy: Matrix
    disparity: Matrix
    disbalance: Matrix

    @property
    def total(self) -> Matrix:
        """What FLEA filters by, in [0, 3]."""
        return self.discrepancy + self.disparity + self.disbalance


def flea_filter(distances: Matrix, k: int | None = None) -> tuple[tuple[int, ...], Matrix]:
    """Return the k sources whose k-th nearest source is nearest, and that distance of all.

    Every source is the nearest to itself: the k-th smallest of a row counts its zero. Among
    equals the lower index is kept.

    Parameters
    ----------
    distances : ndarray of shape (N, N)
        Symmetric, diagonal 0.
    k : int, optional
        Sources taken to be clean, N/2 < k <= N; floor(N/2) + 1 when left out.

    Raises
    ------
    PlanError
        When k is not in that range: half of the sources could outvote the other half.

    Examples
    --------
    >>> flea_filter(np.array([[0, 0.1, 2], [0.1, 0, 2], [2, 2, 0]]))[0]
    (0, 1)
    """
    n = len(distances)
    k = n // 2 + 1 if k is None else k
    if not n / 2 < k <= n:
        raise PlanError(f"flea needs more than half of {n} sources to be clean, got clean={k}")
    statistic = np.partition(distances, k - 1, axis=1)[:, k - 1]
    kept = np.argsort(statistic, kind="stable")[:k]
    return tuple(sorted(kept.tolist())), statistic


def flea_distances(sources: Sequence[Set]) -> Distances:
    """Return how far every two sources are apart.

    Parameters
    ----------
    sources : sequence of (X, y, a)
        Rows of each; y and a are 0 or 1.

    Raises
    ------
    DataError
        When a source lacks a protected group, or holds other values.
    """
    rows = [rows_of(*source) for source in sources]
    told = [census(one) for one in rows]
    for number, one in enumerate(told):
        if not 0 < one.protected < 1:
            raise DataError(
                f"source {number} has only rows of a = {int(one.protected)}; fairness between "
                "groups needs both: leave it out"
            )
    return _distances(told, [partial(part, one) for one in rows], [partial(judge, r) for r in rows])


def _distances(
    told: Sequence[Census],
    asks: Sequence[Ask],
    judges: Sequence[Callable[[Vector], tuple[float, float]]],
) -> Distances:
    """Return all distances; discrepancy in one order, as the class holds complements."""
    n = len(told)
    share = np.array([one.protected for one in told])
    found = Distances(np.zeros((n, n)), np.zeros((n, n)), abs(share[:, None] - share))
    for i, j in permutations(range(n), 2):
        for kind, matrix in enumerate(found[:2]):
            if kind == 0 and i > j:
                continue
            w = fit_against(asks[i], asks[j], (told[i], told[j]), disparity=kind == 1)
            apart = abs(judges[i](w)[kind] - judges[j](w)[kind])
            matrix[i, j] = matrix[j, i] = max(matrix[i, j], apart)
    return found


@dataclass(frozen=True)
class Flea(TrustRule):
    """Keeps the sources that are like most others in accuracy, fairness and balance.

    Rows stay: classifiers travel to the sources, values and gradients back, one message to two
    places for every step of the search, of which a pair takes some hundred.
    A source that lacks a protected group cannot be compared and counts as farthest from all.

    Parameters
    ----------
    protected : int
        Column of X with the protected attribute, 0 or 1.
    clean : int, optional
        Sources taken to be clean, more than half; floor(N/2) + 1 when left out.

    References
    ----------
    Iofinova, Konstantinov, Lampert: FLEA: provably robust fair multisource learning from
    unreliable training data. TMLR 2022.
    """

    protected: int
    clean: int | None = None
    name: ClassVar[str] = "flea"

    def __post_init__(self) -> None:
        if not isinstance(self.protected, int) or self.protected < 0:
            raise PlanError(f"flea needs the number of a column of X, got {self.protected!r}")

    def weigh(self, sources: Sequence[Held], executor: "Executor") -> TrustReport:
        """Return 1 for the kept sources and 0 for all others.

        Raises
        ------
        PlanError
            When `clean` is not more than half of the sources, or there is no such column.
        DataError
            When fewer than `clean` sources have both groups, or values are not 0 and 1.
        """
        k = len(sources) // 2 + 1 if self.clean is None else self.clean
        flea_filter(np.zeros((len(sources), len(sources))), k)
        if (features := min(held.info.features for held in sources)) <= self.protected:
            raise PlanError(f"flea: no column {self.protected} among {features} features")
        if len(sources) == 1:
            return TrustReport((1.0,), ("the only source",))
        prepared = [
            executor.submit(_prepare, held.host, held.rank, self.protected, at=held.place)
            for held in sources
        ]
        told = executor.gather(
            [
                executor.submit(census, rows, at=held.place)
                for rows, held in zip(prepared, sources, strict=True)
            ]
        )
        able = [i for i, one in enumerate(told) if 0 < one.protected < 1]
        if len(able) < k:
            raise DataError(
                f"flea needs {k} sources with rows of both protected groups, got {len(able)}"
            )

        def ask(i: int, kind: Kind, w: Vector) -> tuple[float, Vector]:
            handle = executor.submit(part, prepared[i], kind, w, at=sources[i].place)
            answer: tuple[float, Vector] = executor.gather([handle])[0]
            return answer

        def verdict(i: int, w: Vector) -> tuple[float, float]:
            handle = executor.submit(judge, prepared[i], w, at=sources[i].place)
            answer: tuple[float, float] = executor.gather([handle])[0]
            return answer

        total = np.full((len(sources), len(sources)), FARTHEST)
        np.fill_diagonal(total, 0)
        total[np.ix_(able, able)] = _distances(
            [told[i] for i in able],
            [partial(ask, i) for i in able],
            [partial(verdict, i) for i in able],
        ).total
        kept, statistic = flea_filter(total, k)
        reasons = [
            f"distance {q:.3f} to its {k}-th nearest source, "
            + ("among the" if i in kept else "not among the")
            + f" {k} smallest"
            if i in able
            else "has rows of one protected group only, so it cannot be compared"
            for i, q in enumerate(statistic)
        ]
        weights = tuple(float(i in kept) for i in range(len(sources)))
        return TrustReport(
            weights, tuple(reasons), total / FARTHEST, tuple((statistic / FARTHEST).tolist())
        )


def _prepare(host: "Host", rank: int, protected: int) -> Rows:
    """Return the rows of a source at its place."""
    data = host.data[rank]
    return rows_of(data.X, data.y, data.X[:, protected], data.weight)
