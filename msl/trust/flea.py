"""FLEA: leave out sources that differ in accuracy, fairness or balance from most others.

Iofinova, Konstantinov, Lampert: FLEA: provably robust fair multisource learning from unreliable
training data. TMLR 2022.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError, PlanError
from msl.trust.base import Held, TrustReport, TrustRule
from msl.trust.disparity import (
    Ask,
    Census,
    Pairs,
    Question,
    Rows,
    answer,
    census,
    rows_of,
)
from msl.trust.places import Mine, places_of
from msl.trust.quantile import quantile_filter
from msl.trust.targets import check_rows

if TYPE_CHECKING:
    # Executors bring in distributed, which takes a second, and a host is of a floor above.
    from msl.cluster.base import Executor
    from msl.hosts import Host

__all__ = ["Distances", "Flea", "flea_distances"]

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
    return _distances(told, partial(answer, dict(enumerate(rows))))


def _distances(told: Sequence[Census], ask: Ask) -> Distances:
    """Return all distances; a disparity is the larger one of both orders of a pair."""
    n = len(told)
    share = np.array([one.protected for one in told])
    found = Distances(np.zeros((n, n)), np.zeros((n, n)), abs(share[:, None] - share))
    if n > 1:
        once, both = np.triu_indices(n, 1), np.nonzero(~np.eye(n, dtype=bool))
        found.discrepancy[once] = Pairs(np.stack(once), told, ask).discrepancies()
        found.disparity[both] = Pairs(np.stack(both), told, ask).disparities()
    found.discrepancy[:] += found.discrepancy.T
    return found._replace(disparity=np.maximum(found.disparity, found.disparity.T))


class Panel:
    """Sources at their places, asked by one message a place."""

    def __init__(self, sources: Sequence[Held], executor: "Executor", protected: int) -> None:
        self.executor = executor
        places = places_of(sources)
        self.at = {place: mine for place, (_, mine) in places.items()}
        self.rows = {
            place: executor.submit(_prepare, host, mine, protected, at=place)
            for place, (host, mine) in places.items()
        }

    def census(self) -> list[Census]:
        """Return what pairs must know of every source."""
        told = self.executor.gather(
            [self.executor.submit(_census, rows, at=place) for place, rows in self.rows.items()]
        )
        return [one for _, one in sorted(pair for place in told for pair in place.items())]

    def ask(self, questions: Sequence[Question]) -> list[tuple[Matrix, Any]]:
        """Return an answer a question; only sources with questions hear of it."""
        mine = {
            place: [number for number, one in enumerate(questions) if one[0] in ranks]
            for place, ranks in self.at.items()
        }
        mine = {place: numbers for place, numbers in mine.items() if numbers}
        said = self.executor.gather(
            [
                self.executor.submit(
                    answer, self.rows[place], [questions[number] for number in numbers], at=place
                )
                for place, numbers in mine.items()
            ]
        )
        order = np.argsort([number for numbers in mine.values() for number in numbers])
        flat = [one for place in said for one in place]
        return [flat[number] for number in order]


@dataclass(frozen=True)
class Flea(TrustRule):
    """Keeps the sources that are like most others in accuracy, fairness and balance.

    Rows stay: classifiers travel to the sources, values and gradients back. The searches of all
    pairs go in step, so there is one message to every place a step, of which there are some
    hundred however many sources there are; it carries p + 1 numbers per pair.
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
        check_rows([held.info for held in sources])
        k = len(sources) // 2 + 1 if self.clean is None else self.clean
        quantile_filter(np.zeros((len(sources), len(sources))), k)
        if (features := min(held.info.features for held in sources)) <= self.protected:
            raise PlanError(f"flea: no column {self.protected} among {features} features")
        if len(sources) == 1:
            return TrustReport((1.0,), ("the only source",))
        panel = Panel(sources, executor, self.protected)
        told = panel.census()
        able = [i for i, one in enumerate(told) if 0 < one.protected < 1]
        if len(able) < k:
            raise DataError(
                f"flea needs {k} sources with rows of both protected groups, got {len(able)}"
            )
        total = np.full((len(sources), len(sources)), FARTHEST)
        np.fill_diagonal(total, 0)
        total[np.ix_(able, able)] = _distances(
            [told[i] for i in able],
            lambda questions: panel.ask([(able[i], kind, w) for i, kind, w in questions]),
        ).total
        kept, statistic = quantile_filter(total, k)
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


def _prepare(host: "Host", ranks: Mine, protected: int) -> dict[int, Rows]:
    """Return the rows of the sources of a place by number, there."""
    held = {number: host.data[rank] for number, rank in ranks.items()}
    return {
        number: rows_of(data.X, data.y, data.X[:, protected], data.weight)
        for number, data in held.items()
    }


def _census(rows: Mapping[int, Rows]) -> dict[int, Census]:
    return {number: census(one) for number, one in rows.items()}
