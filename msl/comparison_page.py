"""A comparison as one page that whoever decides can open, sort, mail and print."""

import base64
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from jinja2 import Environment, StrictUndefined
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator

from msl.ledger_page import DARK, written
from msl.outcome import Outcome
from msl.plots import colour_axis, colours, mean_line
from msl.ranking import Labels, Rank

if TYPE_CHECKING:
    # It leaves its page with the tracker: the import would go round.
    from msl.comparison import Comparison

__all__ = ["page"]

POINTS = 150
"""Points of a curve on the page; longer curves are thinned, their ends stay."""
OPEN_ROWS = 60
"""Rows of the table of cells that are shown without a click."""
BOX = {"width": 960, "height": 440, "left": 48, "right": 14, "top": 12, "bottom": 34}
DASHES = ("7 4", "2 3", "8 3 2 3", "12 3 2 3 2 3")


@dataclass(frozen=True)
class Price:
    """What is lost between two accuracies; `points` is None while one of them is not known."""

    name: str
    points: float | None
    words: str


@dataclass(frozen=True)
class Line:
    """A line of the chart that is drawn without scripts."""

    path: str
    colour: str
    dash: str


def page(comparison: "Comparison", command: str) -> str:
    """Return the page: names and errors are escaped, and it asks for nothing over the network.

    It can be read without scripts; with them its tables sort and its chart answers. Passwords in
    addresses are left out. The same comparison gives the same bytes.

    Parameters
    ----------
    comparison : Comparison
        As `run_grid` returns it; what failed is listed with its errors.
    command : str
        What a reader types to run it again.
    """
    config, outcomes = comparison.config, comparison.outcomes
    labels = {cell.name: cell.labels for cell in comparison.cells}
    ranks, heat = comparison.ranks()
    axis = colour_axis(labels) or "aggregator"
    cells = [o for o in outcomes if not o.baseline]
    group_of = {name: one[axis] for name, one in labels.items()}
    palette = colours(list(dict.fromkeys(group_of.values())))
    baselines = [o for o in outcomes if o.baseline]
    last = max((o.rounds[-1] for o in cells), default=0)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"written": written, "size": size, "hash": csp_hash}
    text = (files("msl") / "pages" / "comparison.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        name=config.name,
        cells=cells,
        axes=list(config.compare) or [axis],
        labels=labels,
        outcomes=outcomes,
        baselines=[(o, dash) for o, dash in zip(baselines, DASHES, strict=False)],
        failed=comparison.failed,
        ranks=ranks,
        heat={setting: table_of(*table) for setting, table in heat.items()},
        best=best_of(cells, labels, ranks),
        prices=prices(outcomes, labels, ranks),
        clean=next((o.accuracy for o in baselines if o.name == "pooled_clean"), None),
        axis=axis,
        palette=palette,
        lines=static_lines(cells, group_of, palette, baselines, last or 1),
        ticks=ticks(last),
        last=last or 1,
        data=chart_data(outcomes, labels, axis, palette),
        box=BOX,
        open=len(outcomes) <= OPEN_ROWS,
        command=without_passwords(command),
        file=without_passwords(yaml.safe_dump(config.model_dump(), sort_keys=False)),
    )


def without_passwords(text: str) -> str:
    """Return the text with what stands before the @ of an address left out."""
    return re.sub(r"://[^/@\s]+@", "://…@", text)


def csp_hash(script: str) -> str:
    """Return what a content security policy calls this one inline script."""
    return base64.b64encode(sha256(str(script).encode()).digest()).decode()


def size(count: float) -> str:
    """Return a number of bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:,.0f} {unit}" if unit == "B" or count >= 100 else f"{count:,.1f} {unit}"


def best_of(
    cells: Sequence[Outcome], labels: Mapping[str, Labels], ranks: Sequence[Rank]
) -> tuple[str, float, str] | None:
    """Return whom to choose, its accuracy, and where: the first rank, else the best seed mean."""
    if ranks:
        return ranks[0].name, ranks[0].worst, ranks[0].where
    seeds: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        rest = [label for axis, label in labels[cell.name].items() if axis != "seed"]
        seeds[" ".join(rest) or cell.name].append(cell.accuracy)
    means = {name: float(np.mean(found)) for name, found in seeds.items()}
    best = max(means, key=means.__getitem__, default=None)
    return None if best is None else (best, means[best], "")


def prices(
    outcomes: Sequence[Outcome], labels: Mapping[str, Labels], ranks: Sequence[Rank]
) -> list[Price]:
    """Return what is lost by not knowing who lies, and by leaving the rows where they are."""
    known = {o.name: o.accuracy for o in outcomes if o.baseline}
    best = best_of([o for o in outcomes if not o.baseline], labels, ranks)
    if best:
        known[best[0]] = best[1]

    def price(name: str, more: str, less: str | None, where: str = "") -> Price:
        if less is None:
            return Price(name, None, "no cell finished")
        if missing := [one for one in (more, less) if one not in known]:
            return Price(name, None, f"add to the baselines: {', '.join(missing)}")
        words = f"{more} {known[more]:.3f} less {less} {known[less]:.3f}{where}"
        return Price(name, 100 * (known[more] - known[less]), words)

    where = " in its worst setting" if ranks else ""
    return [
        price("Price of robustness", "oracle", best[0] if best else None, where),
        price("Price of federation", "pooled_clean", "oracle"),
    ]


def table_of(
    rows: Sequence[str], columns: Sequence[str], values: Any
) -> tuple[Sequence[str], list[tuple[str, list[tuple[float, str, bool]]]]]:
    """Return the columns, and by row each value with its colour and whether that is dark."""
    shades = colormaps["Blues"]
    body = []
    for name, row in zip(rows, np.asarray(values).tolist(), strict=True):
        cells = [
            (v, "#ffffff" if isnan(v) else to_hex(shades(min(max(v, 0), 1))), v > DARK) for v in row
        ]
        body.append((name, cells))
    return columns, body


def static_lines(
    cells: Sequence[Outcome],
    group_of: Mapping[str, str],
    palette: Mapping[str, str],
    baselines: Sequence[Outcome],
    last: int,
) -> list[Line]:
    """Return accuracy against the round: a mean per colour and the baselines."""

    def path(x: Any, y: Any) -> str:
        right = BOX["left"] + np.asarray(x) / last * (BOX["width"] - BOX["left"] - BOX["right"])
        down = BOX["top"] + (1 - np.clip(np.nan_to_num(y), 0, 1)) * (
            BOX["height"] - BOX["top"] - BOX["bottom"]
        )
        points = [f"{a:.1f} {b:.1f}" for a, b in zip(right, down, strict=True)]
        return "M" + "L".join(points)

    together: dict[tuple[str, tuple[int, ...]], list[Outcome]] = defaultdict(list)
    for cell in cells:
        together[group_of[cell.name], cell.rounds].append(cell)
    lines = [
        Line(path(*mean_line(one, "round")), palette[group], "")
        for (group, _), one in together.items()
    ]
    for dash, one in zip(DASHES, baselines, strict=False):
        x, y = (one.rounds, one.accuracies) if one.rounds else ((0, last), (one.accuracy,) * 2)
        lines.append(Line(path(x, y), "#6b6b6b", dash))
    return lines


def ticks(last: int) -> list[int]:
    """Return rounds to write under the chart."""
    places = MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]).tick_values(0, last)
    return [int(place) for place in places if place <= last]


def chart_data(
    outcomes: Sequence[Outcome],
    labels: Mapping[str, Labels],
    axis: str,
    palette: Mapping[str, str],
) -> dict[str, Any]:
    """Return what the script draws: every curve, thinned and rounded, and its place in the grid."""
    values: dict[str, list[str]] = {}
    for place in labels.values():
        for key, label in place.items():
            if key != axis and label not in values.setdefault(key, []):
                values[key].append(label)
    axes = {key: found for key, found in values.items() if len(found) > 1}
    rounds: list[tuple[int, ...]] = []
    curves: list[dict[str, Any]] = []
    for one in outcomes:
        # What diverged is not a number, which JSON has no word for.
        kept = thinned([i for i, value in enumerate(one.accuracies) if isfinite(value)])
        at = tuple(one.rounds[i] for i in kept)
        if at not in rounds:
            rounds.append(at)
        mine = labels.get(one.name, {})
        curve = {
            "name": one.name,
            "end": round(one.accuracy, 4) if isfinite(one.accuracy) else None,
            "rounds": rounds.index(at),
            "accuracy": [round(one.accuracies[i], 4) for i in kept],
        }
        if not one.baseline:
            curve |= {
                "group": mine[axis],
                "at": [axes[key].index(mine[key]) for key in axes],
                "bytes": [one.bytes_by[i] for i in kept],
                "time": [float(f"{one.seconds_by[i]:.4g}") for i in kept],
            }
        curves.append(curve)
    return {
        "axes": [{"name": key, "values": found} for key, found in axes.items()],
        "groups": [{"name": name, "colour": colour} for name, colour in palette.items()],
        "rounds": rounds,
        "cells": [c for c in curves if "group" in c],
        "baselines": [c for c in curves if "group" not in c],
        "dashes": DASHES,
        "box": BOX,
    }


def thinned(places: Sequence[int]) -> list[int]:
    """Return at most POINTS of them, evenly spread, both ends among them."""
    n, kept = len(places), min(len(places), POINTS)
    return [places[round(i * (n - 1) / max(kept - 1, 1))] for i in range(kept)]
