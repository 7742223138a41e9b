"""The covariance-bound agnostic filter (Allouah et al., 2025)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.counted import Counted
from msl.aggregators.span import top_direction
from msl.types import Aggregated, Memory, Rows
from msl_kernels.pairs import combine, gram

__all__ = ["Caf"]


@dataclass(frozen=True)
class Caf(Counted):
    """Rows far out along the direction of largest variance lose weight until 2 f have lost all.

    With weights c_i = n w_i: while sum c > n - 2 f, take the top eigenvector v of the weighted
    covariance, t_i = <x_i - mean, v>^2, and c_i <- c_i (1 - t_i / max t). The mean of the least
    top eigenvalue seen is the result. Eigenvectors come from n x n inner products, exactly.

    Parameters
    ----------
    f : int
        Corrupted rows, 2 f < n.

    References
    ----------
    Allouah, Guerraoui, Stephan: Towards trustworthy federated learning with untrusted
    participants. ICML 2025, Algorithm 2.
    """

    name: ClassVar[str] = "caf"
    weighted: ClassVar[bool] = True

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the weighted mean of least variance."""
        n, inner = len(rows), gram(rows, rows[0])
        left = n * weights / weights.sum()
        given, least = left / n, np.inf
        while left.sum() > n - 2 * self.f:
            shares = left / left.sum()
            top, along = top_direction(inner, shares)
            if top < least:
                given, least = shares, top
            # Rows without weight say nothing about what is far.
            farthest = along[left > 0].max()
            if farthest <= 1e-24 * inner.diagonal().max():
                break
            left = left * np.maximum(1 - along / farthest, 0.0)
        return Aggregated(combine(given, rows), given)
