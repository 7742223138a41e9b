"""Centered clipping: rows pull a centre, none of them by more than tau (Karimireddy et al.)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.aggregators.span import distances, middle
from msl.errors import PlanError
from msl.types import Aggregated, Memory, Rows
from msl_kernels.order import median, weighted_median
from msl_kernels.pairs import combine, gram

__all__ = ["CenteredClipping"]


@dataclass(frozen=True)
class CenteredClipping(Aggregator):
    """v <- v + sum_i w_i min(1, tau / |x_i - v|) (x_i - v), some times, from the last result.

    The memory is the last round's result; the first round, and the stateless shorthand, start
    from the coordinate-wise median. `given` is the share of the total pull.

    Parameters
    ----------
    tau : float, optional
        Radius, > 0; when left out, the one around the start within which half of the weight lies.
    iterations : int
        Steps, >= 1.

    References
    ----------
    Karimireddy, He, Jaggi: Learning from history for Byzantine robust optimization. ICML 2021,
    Algorithm 2; robust for f <= n / 10 (Theorem III).
    """

    tau: float | None = None
    iterations: int = 3
    name: ClassVar[str] = "centered_clipping"
    weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.tau is not None and not self.tau > 0:
            raise PlanError(f"centered_clipping needs tau > 0 or none, got {self.tau!r}")
        if not isinstance(self.iterations, int) or self.iterations < 1:
            raise PlanError(f"centered_clipping needs iterations >= 1, got {self.iterations!r}")

    def tolerates(self, n: int) -> int:
        """Return n / 10, the range of the theorem."""
        return n // 10

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the centre after the steps, which is also the memory."""
        start = memory
        if start is None:
            equal = weights.min() == weights.max()
            start = median(rows) if equal else weighted_median(rows, weights)
        inner = gram(rows, start)
        shares, pulls = np.zeros(len(rows)), np.zeros(len(rows))
        weights = weights / weights.sum()
        gaps = distances(inner, shares)
        tau = middle(gaps, weights) if self.tau is None else self.tau
        for _ in range(self.iterations):
            # tau / max(gap, tau) = min(1, tau / gap); a row on the centre pulls nowhere.
            pull = weights * tau / np.maximum(gaps, max(tau, np.finfo(float).tiny))
            shares = (1 - pull.sum()) * shares + pull
            pulls += pull
            gaps = distances(inner, shares)
        vector = combine(shares, rows) + np.float32(1 - shares.sum()) * start
        vector = vector.astype(np.float32)
        given = pulls / pulls.sum() if pulls.sum() > 0 else weights
        return Aggregated(vector, given, vector)
