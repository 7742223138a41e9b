"""Smallest maximum eigenvalue averaging (Allouah et al., ICML 2023)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.counted import Counted, spread_over
from msl.aggregators.subsets import best_subset
from msl.types import Aggregated, Memory, Rows
from msl_kernels.pairs import combine, gram

__all__ = ["Smea"]


@dataclass(frozen=True)
class Smea(Counted):
    """Mean of the n - f rows whose covariance has the least top eigenvalue; weighted among them.

    Eigenvalues come from n x n inner products, exactly. All subsets are tried up to 20,000 of
    them; beyond, each row with its n - f - 1 nearest. Of equal eigenvalues, the least trace counts.

    Parameters
    ----------
    f : int
        Corrupted rows, 2 f < n.

    References
    ----------
    Allouah, Guerraoui, Gupta, Pinot, Stephan: On the privacy-robustness-utility trilemma in
    distributed learning. ICML 2023, section 5.
    """

    name: ClassVar[str] = "smea"
    weighted: ClassVar[bool] = True

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the weighted mean of the chosen rows."""
        inner = gram(rows, rows[0])
        lengths = inner.diagonal()
        squares = lengths[:, None] + lengths - 2 * inner

        def cost(subsets: NDArray[np.intp]) -> tuple[NDArray[np.float64], ...]:
            among = inner[subsets[:, :, None], subsets[:, None, :]]
            means = among.mean(axis=2, keepdims=True)
            centred = among - means - means.transpose(0, 2, 1) + means.mean(axis=1, keepdims=True)
            # Rounded, so that equal subsets are equal whatever the order of their rows.
            top = np.linalg.eigvalsh(centred)[:, -1]
            scale = max(float(lengths.max()), np.finfo(float).tiny)
            return np.round(top / scale, 12), np.trace(centred, axis1=1, axis2=2)

        chosen = best_subset(squares, self.f, cost)
        given = spread_over(chosen, weights)
        return Aggregated(combine(given, rows), given)
