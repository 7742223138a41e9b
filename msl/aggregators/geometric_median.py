"""The geometric median by smoothed Weiszfeld steps (Pillutla et al., IEEE TSP 2022)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.aggregators.span import middle
from msl.errors import PlanError
from msl.types import Aggregated, Memory, Rows
from msl_kernels.order import median
from msl_kernels.pairs import combine, gram

__all__ = ["GeometricMedian"]

_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class GeometricMedian(Aggregator):
    """The point with the least weighted sum of distances to the rows.

    Withstands corrupted rows that are a minority by number and by weight. The steps see only the
    n x n inner products of the rows, so they cost nothing in d; the rows are read three times
    (coordinate-wise median, inner products, final sum). The rows are centred on that median,
    else the squares of one huge row would swallow the distances between the honest ones.
    `given` are the final weights.

    Parameters
    ----------
    iterations : int
        Most Weiszfeld steps, at least 1.
    tolerance : float
        Stop when a step moved the point by less than this fraction of the typical distance: the
        one within which half of the weight lies.
    smoothing : float
        Distances below this fraction of the typical one count as this fraction (nu in the paper,
        here relative, so that a change of units changes nothing).

    References
    ----------
    Pillutla, Kakade, Harchaoui: Robust aggregation for federated learning. IEEE Transactions on
    Signal Processing 70, 2022, Algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> GeometricMedian()(np.array([[0.0, 0.0], [0.0, 0.0], [1e6, 1e6]])).round(3)
    array([0., 0.], dtype=float32)
    """

    iterations: int = 100
    tolerance: float = 1e-6
    smoothing: float = 1e-6
    name: ClassVar[str] = "geometric_median"
    weighted: ClassVar[bool] = True
    by_size: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.iterations, int) or self.iterations < 1:
            raise PlanError(f"geometric_median needs iterations >= 1, got {self.iterations!r}")
        for key, value in (("tolerance", self.tolerance), ("smoothing", self.smoothing)):
            if not 0 < value < 1:
                raise PlanError(f"geometric_median needs 0 < {key} < 1, got {value!r}")

    def tolerates(self, n: int) -> int:
        """Return the largest minority of n rows of equal weight."""
        return (n - 1) // 2

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the combination of the rows that the steps end in."""
        given = self._shares(gram(rows, median(rows)), weights / weights.sum())
        return Aggregated(combine(given, rows), given)

    def _shares(
        self, inner: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return a with sum_i a_i x_i the median; inner (n, n) holds x_i . x_j.

        |x_i - sum_j a_j x_j|^2 = inner_ii - 2 (inner a)_i + a' inner a.
        """
        squares = inner.diagonal()
        distances = np.sqrt(squares)  # from the centre, where the steps start
        typical = middle(distances, weights)
        floor = max(typical, _TINY)
        before = image_before = np.zeros(len(weights))
        for _ in range(self.iterations):
            pull = weights / np.maximum(distances, floor)
            shares: NDArray[np.float64] = pull / pull.sum()
            image = inner @ shares
            moved = float((shares - before) @ (image - image_before))  # squared length
            if floor <= self.smoothing * typical and moved <= (self.tolerance * typical) ** 2:
                break
            distances = np.sqrt(np.maximum(squares - 2 * image + shares @ image, 0.0))
            typical = middle(distances, weights)
            # A floor that sinks step by step, else a start on top of a row would never leave it.
            floor = max(floor / 8, self.smoothing * typical, _TINY)
            before, image_before = shares, image
        return shares
