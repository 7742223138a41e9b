"""Pictures of a comparison, as matplotlib figures that touch no global state."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from msl.outcome import Outcome
from msl.ranking import Labels

__all__ = ["AGAINST", "colour_axis", "colours", "convergence", "heat_map", "mean_line", "traffic"]


AGAINST = {
    "round": ("rounds", "round", ""),
    "bytes": ("bytes_by", "bytes sent so far, both ways", "B"),
    "time": ("seconds_by", "time spent in rounds", "s"),
}
"""What a curve can be drawn against: where an `Outcome` has it, its words, its unit."""

_MOST_NAMES = 15
"""Names that a legend has room for."""
_MOST_PANELS = 12
_MOST_BARS = 30
_WIDE = 20
"""Ends of curves this many times apart are drawn on a logarithmic scale."""
_DASHES: tuple[Any, ...] = ("--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))


def colour_axis(labels: Mapping[str, Labels]) -> str | None:
    """Return the axis whose values get a colour each: the aggregator, or the file's first axis."""
    axes = list(next(iter(labels.values()), {}))
    return "aggregator" if "aggregator" in axes else next(iter(axes), None)


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour per name, never grey: grey is for the baselines."""
    if len(names) > 18:
        return {name: to_hex(colormaps["turbo"](i / len(names))) for i, name in enumerate(names)}
    dark_then_light = (k for start in (0, 1) for k in range(start, 20, 2) if k not in (14, 15))
    return {
        name: to_hex(colormaps["tab20"](k)) for name, k in zip(names, dark_then_light, strict=False)
    }


def mean_line(curves: Sequence[Outcome], against: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the mean x and the mean accuracy of curves over the same rounds."""
    x = np.mean([getattr(curve, AGAINST[against][0]) for curve in curves], axis=0)
    return x, np.mean([curve.accuracies for curve in curves], axis=0)


def convergence(
    outcomes: Sequence[Outcome],
    labels: Mapping[str, Labels] | None = None,
    against: str = "round",
) -> Any:
    """Return accuracy on held-out rows against the round, the bytes or the time.

    A thin line is a cell, a thick one the mean of the cells of its colour; several attacks, or
    against bytes and time several codecs, have a panel each. Baselines are grey: curves against
    the round, else their end, as what they send or take is no measure for the cells.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Cells and baselines, in any order.
    labels : mapping from str to mapping, optional
        Axes and labels of every cell by its name; without it every cell has its own colour.
    against : str
        ``round``, ``bytes`` or ``time``.
    """
    labels = labels or {}
    cells = [o for o in outcomes if o.rounds and not o.baseline]
    colour_by, panel_by = colour_axis(labels), _panel_axis(labels, against)
    panels: dict[str, list[Outcome]] = defaultdict(list)
    for cell in cells:
        panels[labels[cell.name][panel_by] if panel_by else ""].append(cell)
    groups = {o.name: labels[o.name][colour_by] if colour_by else o.name for o in cells}
    palette = colours(list(dict.fromkeys(groups.values())))
    baselines = [o for o in outcomes if o.baseline]

    figure, grid = _panels(list(panels) or [""])
    for axes, inside in zip(grid, panels.values(), strict=False):
        _draw_cells(axes, inside, groups, palette, against)
    for axes in grid:
        _draw_baselines(axes, baselines, against)
    _scale(grid, cells, against)
    figure.supxlabel(AGAINST[against][1], fontsize=10)
    figure.supylabel("accuracy on held-out rows", fontsize=10)
    _legend(figure, palette, [(groups[o.name], o.accuracy) for o in cells], baselines)
    return figure


def _panel_axis(labels: Mapping[str, Labels], against: str) -> str | None:
    """Return the axis that splits the picture: the attack, or the first that is left.

    Against bytes and time it is the codec: means over several codecs would mix their scales.
    """
    values: dict[str, set[str]] = defaultdict(set)
    for axis, label in chain.from_iterable(one.items() for one in labels.values()):
        values[axis].add(label)
    spoken_for = (colour_axis(labels), "seed")
    free = [a for a, v in values.items() if a not in spoken_for and 1 < len(v) <= _MOST_PANELS]
    first = "attack" if against == "round" else "codec"
    return next((axis for axis in (first, "attack") if axis in free), next(iter(free), None))


def _panels(titles: Sequence[str]) -> tuple[Figure, list[Any]]:
    """Return a figure with axes that share their scales, a title each."""
    columns = {4: 2}.get(len(titles), min(len(titles), 4 if len(titles) > 6 else 3))
    rows = -(-len(titles) // columns)
    size = (9.5, 4.5) if len(titles) == 1 else (2.2 + 3.3 * columns, 0.6 + 2.6 * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    for axes in grid[len(titles) :]:
        axes.remove()
    for axes in grid[max(len(titles) - columns, 0) : len(titles)]:
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure, grid[: len(titles)]


def _draw_cells(
    axes: Any,
    cells: Sequence[Outcome],
    groups: Mapping[str, str],
    palette: Mapping[str, str],
    against: str,
) -> None:
    """Draw a line per cell, and above them the means of those with one colour and same rounds."""
    together: dict[tuple[str, tuple[int, ...]], list[Outcome]] = defaultdict(list)
    for cell in cells:
        together[groups[cell.name], cell.rounds].append(cell)
    several = [one for one in together.values() if len(one) > 1]
    thin = [cell for one in several for cell in one]
    lines = [
        np.column_stack([getattr(cell, AGAINST[against][0]), cell.accuracies]) for cell in thin
    ]
    shades = [palette[groups[cell.name]] for cell in thin]
    alpha = float(np.clip(40 / max(len(thin), 1), 0.25, 0.6))
    axes.add_collection(LineCollection(lines, colors=shades, linewidths=0.6, alpha=alpha))
    for (group, rounds), one in together.items():
        few = "o" if len(rounds) < 4 else None
        axes.plot(*mean_line(one, against), color=palette[group], linewidth=2, marker=few)


def _draw_baselines(axes: Any, baselines: Sequence[Outcome], against: str) -> None:
    for dash, one in zip(_DASHES, baselines, strict=False):
        if against == "round" and one.rounds:
            axes.plot(one.rounds, one.accuracies, color="0.45", linestyle=dash, linewidth=1.3)
        else:
            axes.axhline(one.accuracy, color="0.45", linestyle=dash, linewidth=1.3)


def _scale(grid: Sequence[Any], cells: Sequence[Outcome], against: str) -> None:
    """Give all panels one scale; wide spreads of bytes or time are drawn logarithmically."""
    attribute, _, unit = AGAINST[against]
    grid[0].set_ylim(0, 1.02)
    if unit:
        ends = [getattr(cell, attribute)[-1] for cell in cells]
        if ends and min(ends) > 0 and max(ends) / min(ends) > _WIDE:
            grid[0].set_xscale("log")
        for axes in grid:
            axes.xaxis.set_major_formatter(EngFormatter(unit))
            axes.minorticks_off()


def _legend(
    figure: Figure,
    palette: Mapping[str, str],
    found: Sequence[tuple[str, float]],
    baselines: Sequence[Outcome],
) -> None:
    """Name the colours beside the axes, the best mean of the last round first."""
    ends: dict[str, list[float]] = defaultdict(list)
    for group, accuracy in found:
        ends[group].append(accuracy)
    named = sorted(ends, key=lambda group: -float(np.mean(ends[group])))
    room = _MOST_NAMES - len(baselines)
    if len(named) > room:
        # The line that says how many are not named takes a place, too.
        room -= 1
    lines = [Line2D([], [], color=palette[group], linewidth=2, label=group) for group in named]
    more = [Line2D([], [], alpha=0, label=f"and {len(named) - room} more")]
    grey = [
        Line2D([], [], color="0.45", linestyle=dash, label=one.name)
        for dash, one in zip(_DASHES, baselines, strict=False)
    ]
    handles = [*lines[:room], *(more if len(lines) > room else []), *grey]
    if handles:
        figure.legend(handles=handles, loc="outside right upper", fontsize=9, frameon=False)


def traffic(outcomes: Sequence[Outcome], labels: Mapping[str, Labels] | None = None) -> Any:
    """Return the bytes of a round from and to all sources, a bar per codec.

    A mark says what the updates take as plain float32. Without an axis ``codec``, a bar is a value
    of the axis that has the colours; the 30 longest are drawn.
    """
    labels = labels or {}
    axes_of = next(iter(labels.values()), {})
    axis = "codec" if "codec" in axes_of else colour_axis(labels)
    bars: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for one in outcomes:
        if not one.baseline:
            up = one.bytes_up_per_round
            # The last round is always evaluated.
            both = one.bytes_total / (one.rounds[-1] + 1)
            name = labels[one.name][axis] if axis else one.name
            bars[name].append((up, both - up, up * one.ratio))
    means = {name: np.mean(numbers, axis=0) for name, numbers in bars.items()}
    names = sorted(means, key=lambda name: -float(means[name][0] + means[name][1]))[:_MOST_BARS]

    figure = Figure(figsize=(8.5, 1.6 + 0.28 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    if names:
        up, down, dense = np.array([means[name] for name in names]).T
        at = np.arange(len(names))
        axes.barh(at, up, color="#1f6fb4", label="from the sources")
        axes.barh(at, down, left=up, color="#a9cbe6", label="to the sources")
        axes.plot(dense, at, "|", color="k", markersize=12, label="from them, as float32")
        axes.set_yticks(at, names)
        axes.invert_yaxis()
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
    left_out = f"; the {len(names)} longest of {len(means)}" if len(means) > len(names) else ""
    axes.set_xlabel(f"bytes per round, all sources together{left_out}")
    axes.xaxis.set_major_formatter(EngFormatter("B"))
    axes.grid(axis="x", alpha=0.3)
    return figure


def heat_map(
    title: str, rows: Sequence[str], columns: Sequence[str], values: NDArray[np.float64]
) -> Any:
    """Return a table of accuracies as colours with their numbers; what is missing has a dash."""
    figure = Figure(
        figsize=(2.5 + 0.9 * len(columns), 1.8 + 0.36 * len(rows)), layout="constrained"
    )
    axes = figure.add_subplot()
    image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        known = np.isfinite(value)
        axes.text(j, i, f"{value:.2f}" if known else "\N{EN DASH}", ha="center", va="center",
                  fontsize=8, color="white" if known and value < 0.6 else "black")  # fmt: skip
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(title)
    figure.colorbar(image, ax=axes, label="accuracy on held-out rows")
    return figure
