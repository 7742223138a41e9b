"""Bulyan: Krum chooses, a mean around the median averages (El Mhamdi et al., ICML 2018)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.counted import Counted
from msl.aggregators.kept import near_share
from msl.aggregators.krum import scores
from msl.types import Aggregated, Memory, Rows
from msl_kernels.order import meamed
from msl_kernels.pairs import squared_distances

__all__ = ["Bulyan"]


@dataclass(frozen=True)
class Bulyan(Counted):
    """Krum picks n - 2 f rows one by one; of these, n - 4 f values nearest the median count.

    Each pick is Krum among the rows that are left (with n' - f - 2 neighbours, at least one).
    Ties go to the lower index, and with a single neighbour two rows always tie.
    `given` is the share of coordinates in which a row's value counted.

    Parameters
    ----------
    f : int
        Corrupted rows, n >= 4 f + 3.

    References
    ----------
    El Mhamdi, Guerraoui, Rouault: The hidden vulnerability of distributed learning in Byzantium.
    ICML 2018, section 4.
    """

    name: ClassVar[str] = "bulyan"
    weighted: ClassVar[bool] = False

    def tolerates(self, n: int) -> int:
        """Return the largest f with 4 f + 3 <= n."""
        return max(0, (n - 3) // 4)

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the mean around the median of the picked rows."""
        picked = self._pick(squared_distances(rows))
        chosen = np.ascontiguousarray(rows[picked])
        vector = meamed(chosen, 2 * self.f)
        given = np.zeros(len(rows))
        given[picked] = near_share(chosen, len(chosen) - 2 * self.f)
        return Aggregated(vector, given)

    def _pick(self, squares: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the rows Krum picks, in ascending order."""
        left = np.arange(len(squares))
        picked = []
        for _ in range(len(squares) - 2 * self.f):
            among = squares[np.ix_(left, left)]
            count = min(max(1, len(left) - self.f - 2), len(left) - 1)
            best = int(np.argmin(scores(among, count)))
            picked.append(left[best])
            left = np.delete(left, best)
        return np.sort(np.array(picked, np.intp))
