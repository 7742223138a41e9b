"""Federated averaging: several local steps, then one exchange (McMahan et al., AISTATS 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi
from numbers import Integral
from typing import ClassVar, Literal

import numpy as np

from msl.algorithms.base import Algorithm, LocalSolver, ServerRule, Step
from msl.errors import DataError, PlanError
from msl.models.base import Model, Run
from msl.random import generator, generators
from msl.types import Data, Memory, Update, Vector

__all__ = ["FedAvg"]

# Rows on which a source states its loss: enough for a report, cheap beside an epoch.
LOSS_ROWS = 1024
# Rows of the epochs that go into one call: their order is drawn before.
CALL_ROWS = 1 << 16
# Rows of all steps up to which a source joins others in a call: beyond, its own costs little.
JOINT_ROWS = 1 << 12


def loss_of(model: Model, params: Vector, source: Data) -> float:
    """Return the loss of the incoming model on (at most the first 1024) rows of a source."""
    weight = None if source.weight is None else source.weight[:LOSS_ROWS]
    return model.loss(params, source.X[:LOSS_ROWS], source.y[:LOSS_ROWS], weight)


def check_counts(**counts: int | None) -> None:
    """Raise PlanError when a count is neither left out nor a whole number of at least 1."""
    for key, value in counts.items():
        if value is not None and not (isinstance(value, Integral) and value >= 1):
            raise PlanError(f"{key} must be a whole number of at least 1, got {value}")


def present(source: Data) -> Data:
    """Return the rows that weigh something: a row of weight 0 is a row that is not there.

    Raises
    ------
    DataError
        When no row is left.
    """
    if source.weight is None or source.weight.all():
        return source
    rows = np.flatnonzero(source.weight)
    if not len(rows):
        raise DataError("the weights of the rows are all zero; leave that source out")
    return Data(source.X[rows], source.y[rows], source.weight[rows])


def rows_of(source: Data) -> float:
    """Return what a source weighs: its rows, or the sum of their weights."""
    return float(len(source)) if source.weight is None else float(source.weight.sum())


@dataclass(frozen=True)
class LocalSgd(LocalSolver):
    """Plain mini-batch SGD from the incoming model; the order of rows comes from the key."""

    model: Model
    settings: "FedAvg"

    @np.errstate(over="ignore", invalid="ignore")  # divergence is found and said at the end
    def solve(
        self, params: Vector, source: Data, memory: Memory, key: int, round: int
    ) -> tuple[Update, Memory]:
        """Return local minus incoming parameters.

        Raises
        ------
        DataError
            When the local parameters are no longer finite.
        """
        model, source = self.model, present(source)
        draw, left = generator(key), self._steps(len(source))
        local, loss, shown = params, 0.0, LOSS_ROWS
        while left > 0:
            order, batch, steps = self._run(draw, len(source), left)
            local, told = model.local_sgd(
                local, source, order, batch=batch, steps=steps, rate=self.settings.rate(round),
                shown=shown,
            )  # fmt: skip
            left, loss, shown = left - steps, loss + told, 0
        if not np.isfinite(local).all():
            raise DataError("local training diverged: lower the algorithm's lr")
        return Update(local - params, rows_of(source), loss), memory

    @np.errstate(over="ignore", invalid="ignore")
    def solve_each(
        self,
        params: Vector,
        sources: Sequence[Data],
        memories: Sequence[Memory],
        keys: Sequence[int],
        round: int,
    ) -> list[tuple[Update, Memory] | None]:
        """Return what `solve` does; the model is asked once for all small sources."""
        runs = {
            at: self._run(draw, len(source), self._steps(len(source)))
            for at, (source, draw) in enumerate(zip(sources, generators(keys), strict=True))
            if self._is_small(source)
        }
        moved = self.model.local_sgd_each(
            params, [sources[at] for at in runs], list(runs.values()),
            rate=self.settings.rate(round), shown=LOSS_ROWS,
        )  # fmt: skip
        found: list[tuple[Update, Memory] | None] = [None] * len(sources)
        for at, made in zip(runs, moved, strict=True):
            if made is not None:
                found[at] = Update(made[0], rows_of(sources[at]), made[1]), memories[at]
        return found

    def _is_small(self, source: Data) -> bool:
        """Whether the steps are few and short, on rows that all weigh something."""
        m = len(source)
        few = self._steps(m) * min(self.settings.batch or m, m) <= JOINT_ROWS
        return few and (source.weight is None or bool(source.weight.all()))

    def _steps(self, m: int) -> int:
        """Return the steps of a round on m rows."""
        settings = self.settings
        return settings.steps or settings.epochs * -(-m // min(settings.batch or m, m))

    def _run(self, draw: np.random.Generator, m: int, left: int) -> Run:
        """Return the next steps on m rows, at most `left`, and no more than one call takes."""
        batch = min(self.settings.batch or m, m)
        epoch = -(-m // batch)
        passes = min(-(-left // epoch), -(-CALL_ROWS // m))
        orders = [draw.permutation(m) for _ in range(passes)]
        order = orders[0] if passes == 1 else np.concatenate(orders)
        return Run(order, batch, min(left, passes * epoch))


@dataclass(frozen=True)
class FedAvg(Algorithm):
    """Local SGD for some epochs or steps, then an aggregated step of the server.

    Parameters
    ----------
    epochs : int
        Passes over a source's rows per round, >= 1.
    steps : int, optional
        Mini-batches per round instead of epochs, >= 1.
    batch : int, optional
        Rows per mini-batch, >= 1; all rows when left out by ``null``.
    lr : float
        Local learning rate of round 0, > 0.
    schedule : {"constant", "cosine", "inverse_sqrt"}
        lr, or lr (1 + cos(pi r / rounds)) / 2, or lr / sqrt(r + 1) in round r.
    rounds : int, optional
        Length of the cosine, >= 1; the rate stays 0 after its end.
    server_lr : float
        Factor on the aggregated update, > 0.
    """

    epochs: int = 1
    steps: int | None = None
    batch: int | None = 32
    lr: float = 0.1
    schedule: Literal["constant", "cosine", "inverse_sqrt"] = "constant"
    rounds: int | None = None
    server_lr: float = 1.0
    name: ClassVar[str] = "fedavg"

    def __post_init__(self) -> None:
        check_counts(epochs=self.epochs, steps=self.steps, batch=self.batch, rounds=self.rounds)
        if not (self.lr > 0 and self.server_lr > 0):
            raise PlanError(f"lr and server_lr must be > 0, got {self.lr} and {self.server_lr}")
        if self.schedule not in ("constant", "cosine", "inverse_sqrt"):
            raise PlanError(
                f"schedule must be constant, cosine or inverse_sqrt, got {self.schedule!r}"
            )
        if self.schedule == "cosine" and not self.rounds:
            raise PlanError("the cosine schedule needs rounds, its length")

    def rate(self, round: int) -> float:
        """Return the local learning rate of a round."""
        if self.schedule == "cosine":
            return self.lr * (1 + cos(pi * min(1.0, round / (self.rounds or 1)))) / 2
        return self.lr if self.schedule == "constant" else self.lr / (round + 1) ** 0.5

    def solver(self, model: Model) -> LocalSolver:
        """Return local SGD."""
        return LocalSgd(model, self)

    def server(self) -> ServerRule:
        """Return the step along the aggregated update."""
        return Step(self.server_lr)
