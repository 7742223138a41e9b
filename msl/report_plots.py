"""Pictures of one run from its reports, as matplotlib figures that touch no global state."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from msl.types import Report

__all__ = ["bound_and_reality", "trust_over_rounds"]

_MOST_ROWS, _MOST_COLUMNS = 200, 240
"""Squares of a heat map: about one pixel high and wide, or more."""
_MOST_NAMES = 40
_RED = "#a1120b"


def _whole(most: int = 10) -> MaxNLocator:
    return MaxNLocator(most, integer=True, steps=[1, 2, 5, 10])


def bound_and_reality(reports: Sequence[Report]) -> Any:
    """Return the bound of the excess risk and the error on held-out rows against the round.

    The error is an excess over 0, and the best model's risk is not below 0: the measured line is
    never below the excess it is held against. A bound of 1 says nothing, and the picture says so.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    bounds = np.array([(r.round, r.bound["bound/excess"]) for r in reports if r.bound])
    errors = np.array([(r.round, 1 - r.accuracy) for r in reports if r.accuracy is not None])
    for label, points, style, colour in (
        ("bound of the excess risk", bounds, "--", "C0"),
        ("error on held-out rows", errors, "-", "C1"),
    ):
        if len(points):
            few = "o" if len(points) < 4 else None
            axes.plot(*points.T, style, label=label, color=colour, linewidth=2, marker=few)
    if len(bounds) and (empty := bounds[:, 1] >= 1).any():
        where = "" if empty.all() else " while it is 1"
        axes.annotate(
            f"the bound says nothing{where}: too few rows for this model, or too many liars",
            (bounds[empty][0, 0], 1), (6, 6), textcoords="offset points", fontsize=9, color="C0",
        )  # fmt: skip
    axes.set(xlabel="round", ylabel="0/1 risk", ylim=(0, 1.1))
    axes.xaxis.set_major_locator(_whole())
    axes.grid(alpha=0.3)
    if len(bounds) or len(errors):
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def trust_over_rounds(
    reports: Sequence[Report],
    names: Sequence[str] | None = None,
    corrupted: Collection[int] = (),
) -> Any:
    """Return what every source was given over the rounds, and above it how many were believed.

    Given is the aggregator's share in units of an equal one: 1 is as much as each would get if all
    counted alike, 0 is nothing, grey was not used. Sources are ordered by their mean; beyond 200
    of them, or 240 rounds, a square is the mean of several.

    Parameters
    ----------
    reports : sequence of Report
        Of one run.
    names : sequence of str, optional
        Of all sources by rank; ranks that took part when left out.
    corrupted : collection of int
        Ranks that lie, where that is known; they are marked red.
    """
    most = max((rank for r in reports for rank in (*r.participants, *r.dropped)), default=0)
    called = list(names) if names is not None else [str(rank) for rank in range(most + 1)]
    order = _by_mean(reports, len(called))
    squares = _squares(reports, order)
    figure = Figure(figsize=(9, 2.4 + min(0.2 * len(called), 5.0)), layout="constrained")
    top, axes = figure.subplots(2, 1, sharex=True, height_ratios=(1, 3))
    _draw_counts(top, reports)
    first, last = (reports[0].round, reports[-1].round) if reports else (0, 0)
    image = axes.imshow(
        squares, vmin=0, vmax=2, cmap="RdBu", aspect="auto", interpolation="nearest",
        extent=(first - 0.5, last + 0.5, len(called) - 0.5, -0.5),
    )  # fmt: skip
    axes.set_facecolor("0.75")
    _name_rows(axes, order, called, corrupted)
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(_whole())
    bar = figure.colorbar(image, ax=axes, extend="max", ticks=[0, 1, 2])
    bar.set_label("share, 1 = equal")
    return figure


def _by_mean(reports: Sequence[Report], n: int) -> NDArray[np.intp]:
    """Return the ranks, those that got most in the rounds they took part in first."""
    total, times = np.zeros(n), np.zeros(n)
    for report in reports:
        ranks = np.array(report.participants, dtype=np.intp)
        total[ranks] += np.array(report.given) * len(ranks)
        times[ranks] += 1
    return np.argsort(-total / np.maximum(times, 1), kind="stable")


def _squares(reports: Sequence[Report], order: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the mean share per bin of sources and rounds; NaN where nobody took part."""
    n = len(order)
    rows, columns = min(n, _MOST_ROWS), max(min(len(reports), _MOST_COLUMNS), 1)
    row_of = np.empty(n, dtype=np.intp)
    row_of[order] = np.arange(n) * rows // n
    total, times = np.zeros((rows, columns)), np.zeros((rows, columns))
    for i, report in enumerate(reports):
        column, ranks = i * columns // len(reports), np.array(report.participants, dtype=np.intp)
        given = np.array(report.given) * len(ranks)
        total[:, column] += np.bincount(row_of[ranks], given, rows)
        times[:, column] += np.bincount(row_of[ranks], minlength=rows)
    return np.divide(total, times, out=np.full_like(total, np.nan), where=times > 0)


def _draw_counts(axes: Any, reports: Sequence[Report]) -> None:
    """Draw how many sources were used, and believed where a trust rule was asked."""
    rounds = [r.round for r in reports]
    axes.step(rounds, [len(r.participants) for r in reports], where="mid", label="used", color="C0")
    believed = [(r.round, r.believed) for r in reports if r.believed is not None]
    if believed:
        axes.step(*zip(*believed, strict=True), "--", where="mid", label="believed", color="k")
    axes.set(ylabel="sources", ylim=(0, 1.15 * axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(_whole(4))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", ncols=2, frameon=False)


def _name_rows(
    axes: Any, order: NDArray[np.intp], names: Sequence[str], corrupted: Collection[int]
) -> None:
    """Name the rows while there is room, and mark those that lie."""
    lies = np.flatnonzero(np.isin(order, list(corrupted))).tolist()
    if len(names) <= _MOST_NAMES:
        axes.set_yticks(range(len(names)), [names[rank] for rank in order], fontsize=7)
        for at in lies:
            axes.get_yticklabels()[at].set(color=_RED, fontweight="bold")
    else:
        axes.set_ylabel(f"{len(names):,} sources, most given first")
        axes.set_yticks([])
        edges = [[(-0.012, at - 0.5), (-0.012, at + 0.5)] for at in lies]
        axes.add_collection(
            LineCollection(
                edges, colors=_RED, linewidths=4, clip_on=False,
                transform=axes.get_yaxis_transform(),
            ),
            autolim=False,
        )  # fmt: skip
    if lies:
        axes.set_title("red: sources that lie", loc="left", fontsize=9, color=_RED)
