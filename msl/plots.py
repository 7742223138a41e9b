"""Pictures of finished runs, as matplotlib figures that touch no global state."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from msl.types import Report

__all__ = ["bound_and_reality", "convergence", "heat_map"]


_MOST_NAMES = 20
"""Lines that a legend has room for."""


class Curve(Protocol):
    """What a plot needs of a cell."""

    @property
    def name(self) -> str:
        """Label."""

    @property
    def baseline(self) -> bool:
        """Whether it is a yardstick, drawn dashed."""

    @property
    def accuracy(self) -> float:
        """Final value."""

    @property
    def rounds(self) -> tuple[int, ...]:
        """Rounds of the curve; empty for a single number."""

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Values of the curve."""


def convergence(curves: Sequence[Curve]) -> Any:
    """Return accuracy on held-out rows against the round, a line per cell; named while few."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for curve in curves:
        if not curve.rounds:
            axes.axhline(curve.accuracy, label=curve.name, linestyle="--", color="0.7")
        elif curve.baseline:
            axes.plot(
                curve.rounds, curve.accuracies, label=curve.name, linestyle="--", color="0.45"
            )
        else:
            axes.plot(curve.rounds, curve.accuracies, label=curve.name, linewidth=2)
    axes.set(xlabel="round", ylabel="accuracy on held-out rows", ylim=(0, 1))
    axes.grid(alpha=0.3)
    if len(curves) <= _MOST_NAMES:
        axes.legend(loc="lower right")
    return figure


def bound_and_reality(reports: Sequence[Report]) -> Any:
    """Return the bound of the excess risk and the error on held-out rows against the round.

    The error is an excess over 0, and the best model's risk is not below 0: the measured line is
    never below the excess it is held against.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    bounds = [(r.round, r.bound["bound/excess"]) for r in reports if r.bound]
    errors = [(r.round, 1 - r.accuracy) for r in reports if r.accuracy is not None]
    for label, points, style in (
        ("bound of the excess risk", bounds, "--"),
        ("error on held-out rows", errors, "-"),
    ):
        axes.plot(*zip(*points, strict=True), style, label=label, linewidth=2)
    axes.set(xlabel="round", ylabel="0/1 risk", ylim=(0, 1.05))
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    return figure


def heat_map(
    title: str, rows: Sequence[str], columns: Sequence[str], values: NDArray[np.float64]
) -> Any:
    """Return a table of accuracies as colours with their numbers."""
    figure = Figure(
        figsize=(2.5 + 0.9 * len(columns), 1.8 + 0.36 * len(rows)), layout="constrained"
    )
    axes = figure.add_subplot()
    image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8,
                  color="white" if value < 0.6 else "black")  # fmt: skip
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(title)
    figure.colorbar(image, ax=axes, label="accuracy on held-out rows")
    return figure
