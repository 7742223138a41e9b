"""Pictures of finished runs, as matplotlib figures that touch no global state."""

from collections.abc import Sequence
from typing import Any, Protocol

from matplotlib.figure import Figure

__all__ = ["convergence"]


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
    """Return accuracy on held-out rows against the round, a line per cell."""
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
    axes.legend(loc="lower right")
    return figure
