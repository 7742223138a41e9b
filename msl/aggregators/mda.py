"""Minimum-diameter averaging (Rousseeuw 1985; El Mhamdi et al. 2018)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.counted import Counted, spread_over
from msl.aggregators.subsets import best_subset
from msl.types import Aggregated, Memory, Rows
from msl_kernels.pairs import combine, squared_distances

__all__ = ["Mda"]


@dataclass(frozen=True)
class Mda(Counted):
    """Mean of the n - f rows of least diameter; weighted among those chosen.

    All subsets are tried up to 20,000 of them (n = 20, f = 4 has 4,845); beyond, each row with its
    n - f - 1 nearest, of which the best has at most twice the least diameter. Of equal diameters,
    the least sum of squared distances counts.

    Parameters
    ----------
    f : int
        Corrupted rows, 2 f < n.

    References
    ----------
    El Mhamdi, Guerraoui, Rouault: The hidden vulnerability of distributed learning in Byzantium.
    ICML 2018; as analysed in Allouah et al., AISTATS 2023.
    """

    name: ClassVar[str] = "mda"
    weighted: ClassVar[bool] = True

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the weighted mean of the chosen rows."""
        squares = squared_distances(rows)

        def cost(subsets: NDArray[np.intp]) -> tuple[NDArray[np.float64], ...]:
            among = squares[subsets[:, :, None], subsets[:, None, :]]
            return among.max(axis=(1, 2)), among.sum(axis=(1, 2))

        chosen = best_subset(squares, self.f, cost)
        given = spread_over(chosen, weights)
        return Aggregated(combine(given, rows), given)
