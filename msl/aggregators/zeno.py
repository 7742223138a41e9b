"""Zeno: rows that lower the loss on trusted data are believed (Xie, Koyejo, Gupta, ICML 2019)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.counted import Counted, spread_over
from msl.errors import PlanError
from msl.types import Aggregated, Memory, Rows, Vector
from msl_kernels.pairs import combine

__all__ = ["Zeno"]


@dataclass(frozen=True)
class Zeno(Counted):
    """Mean of the n - f rows of best score on a few rows of data that the server trusts.

    The score of a direction is the loss before the step less the loss after it, less rho times
    the mean square of its coordinates. Any number of corrupted rows below n is withstood, as far
    as the trusted data tell.

    Parameters
    ----------
    f : int
        Rows left out, f < n.
    rho : float
        Price of long steps, >= 0.
    loss : callable, optional
        Loss on trusted data after a step along a direction (d,); a run sets it by `trusting`.

    References
    ----------
    Xie, Koyejo, Gupta: Zeno: distributed stochastic gradient descent with suspicion-based
    fault-tolerance. ICML 2019, Definition 2.
    """

    rho: float = 0.0005
    loss: Callable[[Vector], float] | None = field(default=None, repr=False, compare=False)
    name: ClassVar[str] = "zeno"
    weighted: ClassVar[bool] = True
    needs_trusted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rho >= 0:
            raise PlanError(f"zeno needs rho >= 0, got {self.rho!r}")

    def tolerates(self, n: int) -> int:
        """Return all but one."""
        return n - 1

    def trusting(self, loss: Callable[[Vector], float]) -> "Zeno":
        """Return the rule with its judge."""
        return replace(self, loss=loss)

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the weighted mean of the best rows.

        Raises
        ------
        PlanError
            Without trusted data.
        """
        if self.loss is None:
            raise PlanError(
                "zeno needs trusted rows: set trusted in the plan, or use trusting(loss)"
            )
        d = max(1, rows.shape[1])
        # What the loss was before the step is the same for all.
        scores = [
            -self.loss(row) - self.rho * np.square(row, dtype=np.float64).sum() / d for row in rows
        ]
        worst_last = np.argsort(-np.array(scores), kind="stable")
        given = spread_over(worst_last[: len(rows) - self.f], weights)
        return Aggregated(combine(given, rows), given)
