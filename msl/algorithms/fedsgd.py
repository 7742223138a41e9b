"""Distributed SGD: one gradient per source and round (McMahan et al., AISTATS 2017)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from msl.algorithms.base import Algorithm, LocalSolver, ServerRule, Step
from msl.algorithms.fedavg import check_counts, loss_of, present, rows_of
from msl.errors import DataError, PlanError
from msl.models.base import Model
from msl.random import generator
from msl.types import Data, Memory, Update, Vector

__all__ = ["FedSgd"]


@dataclass(frozen=True)
class OneGradient(LocalSolver):
    """Minus the gradient on all rows, or on a mini-batch drawn without replacement."""

    model: Model
    batch: int | None

    @np.errstate(over="ignore", invalid="ignore")  # divergence is found and said at the end
    def solve(
        self, params: Vector, source: Data, memory: Memory, key: int, round: int
    ) -> tuple[Update, Memory]:
        """Return minus the gradient at the incoming parameters.

        Raises
        ------
        DataError
            When the gradient is not finite.
        """
        source = present(source)
        X, y, weight = source.X, source.y, source.weight
        if self.batch is not None and self.batch < len(source):
            rows = generator(key).choice(len(source), self.batch, replace=False)
            X, y = X[rows], y[rows]
            weight = None if weight is None else weight[rows]
        direction = self.model.gradient(params, X, y, weight)
        np.negative(direction, out=direction)
        if not np.isfinite(direction).all():
            raise DataError("the gradient is not finite: lower the algorithm's lr")
        return Update(direction, rows_of(source), loss_of(self.model, params, source)), memory


@dataclass(frozen=True)
class FedSgd(Algorithm):
    """One gradient per source and round; the server takes the step.

    Parameters
    ----------
    lr : float
        Learning rate of the server, > 0.
    batch : int, optional
        Rows per gradient, >= 1; all rows by default.
    """

    lr: float = 0.1
    batch: int | None = None
    name: ClassVar[str] = "fedsgd"

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise PlanError(f"lr must be > 0, got {self.lr}")
        check_counts(batch=self.batch)

    def solver(self, model: Model) -> LocalSolver:
        """Return one gradient."""
        return OneGradient(model, self.batch)

    def server(self) -> ServerRule:
        """Return a step of length lr."""
        return Step(self.lr)
