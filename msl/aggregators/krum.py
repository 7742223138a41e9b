"""Krum and Multi-Krum (Blanchard et al., NIPS 2017)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.counted import Counted, spread_over
from msl.errors import PlanError
from msl.types import Aggregated, Memory, Rows
from msl_kernels.pairs import combine, squared_distances

__all__ = ["Krum", "MultiKrum", "scores"]

Closest: TypeAlias = Literal["n-f-2", "n-f-1"]


def scores(squares: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return for each row the sum of squared distances to its `count` nearest other rows."""
    others = squares + np.diag(np.full(len(squares), np.inf))
    total: NDArray[np.float64] = np.sort(others, axis=1)[:, :count].sum(axis=1)
    return total


def _best_first(rows: Rows, f: int, closest: Closest) -> NDArray[np.intp]:
    """Return the rows by score, the lower index first among equals."""
    n = len(rows)
    count = max(1, n - f - (2 if closest == "n-f-2" else 1))
    found = scores(squared_distances(rows), min(count, n - 1))
    order: NDArray[np.intp] = np.argsort(found, kind="stable")
    return order


def _check_closest(name: str, closest: Closest) -> None:
    if closest not in ("n-f-2", "n-f-1"):
        raise PlanError(f"{name} needs closest 'n-f-2' or 'n-f-1', got {closest!r}")


@dataclass(frozen=True)
class Krum(Counted):
    """The row that lies closest to its neighbours; one source's row, unchanged.

    A row's score is the sum of squared distances to its n - f - 2 nearest others. Distances are
    exact differences, so that rows far from the origin are told apart as well. Ties go to the
    lower index.

    Parameters
    ----------
    f : int
        Corrupted rows, n >= 2 f + 3.
    closest : {"n-f-2", "n-f-1"}
        Neighbours in a score: as in the paper, or as several libraries count.

    References
    ----------
    Blanchard, El Mhamdi, Guerraoui, Stainer: Machine learning with adversaries. NIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> Krum(f=1)(np.array([[0.0], [1.0], [1.5], [3.0], [1e6]]))
    array([1.], dtype=float32)
    """

    closest: Closest = "n-f-2"
    name: ClassVar[str] = "krum"
    weighted: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_closest(self.name, self.closest)

    def tolerates(self, n: int) -> int:
        """Return the largest f with 2 f + 3 <= n."""
        return max(0, (n - 3) // 2)

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return a copy of the chosen row."""
        best = _best_first(rows, self.f, self.closest)[0]
        given = np.zeros(len(rows))
        given[best] = 1.0
        return Aggregated(rows[best].copy(), given)


@dataclass(frozen=True)
class MultiKrum(Counted):
    """Mean of the m rows of best `krum` score; weighted among those chosen.

    Parameters
    ----------
    f : int
        Corrupted rows, n >= 2 f + 3.
    m : int, optional
        Rows averaged, 1 <= m <= n - f; n - f when left out.
    closest : {"n-f-2", "n-f-1"}
        As in `krum`.

    References
    ----------
    Blanchard, El Mhamdi, Guerraoui, Stainer: Machine learning with adversaries. NIPS 2017.
    """

    m: int | None = None
    closest: Closest = "n-f-2"
    name: ClassVar[str] = "multi_krum"
    weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_closest(self.name, self.closest)
        if self.m is not None and (not isinstance(self.m, int) or self.m < 1):
            raise PlanError(f"multi_krum needs m >= 1 or none, got {self.m!r}")

    def tolerates(self, n: int) -> int:
        """Return the largest f with 2 f + 3 <= n."""
        return max(0, (n - 3) // 2)

    def check(self, n: int) -> None:
        """Raise PlanError unless 2 f + 3 <= n and m <= n - f."""
        super().check(n)
        if self.m is not None and self.m > n - self.f:
            raise PlanError(f"multi_krum can average {n - self.f} of {n} rows, got m={self.m}")

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the weighted mean of the chosen rows."""
        chosen = _best_first(rows, self.f, self.closest)[: self.m or len(rows) - self.f]
        given = spread_over(chosen, weights)
        return Aggregated(combine(given, rows), given)
