"""The books of a run as a page that a hospital's data manager can read, mail and print."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import ceil, isnan
from typing import Any, TypeAlias

import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.image import imsave
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

__all__ = ["clustered", "page"]

Matrix: TypeAlias = NDArray[np.float64]

COLOURS = "Blues"
PALE = 0.25
"""Scale of the colours when all discrepancies are small, so that noise does not look like news."""
DARK = 0.715
"""Part of the scale from which white text is easier to read than black; either has 4.5 : 1."""
SIDE, LARGEST_CELL = 900, 36
LABEL, LABEL_CHARS = 12, 26
NUMBERS_UP_TO, TITLES_UP_TO = 16, 60
OPTIMAL_UP_TO = 500


def clustered(matrix: Matrix) -> list[int]:
    """Return an order in which sources that are alike stand together.

    Average linkage; its leaves are turned so that neighbours are as alike as can be (Bar-Joseph,
    Gifford, Jaakkola: Fast optimal leaf ordering for hierarchical clustering, 2001), for up to
    500 sources, as this takes time in n^2 to n^3.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        Symmetric, non-negative.
    """
    n = len(matrix)
    if n < 3:
        return list(range(n))
    apart = squareform(matrix, checks=False)
    order: list[int] = leaves_list(
        linkage(apart, "average", optimal_ordering=n <= OPTIMAL_UP_TO)
    ).tolist()
    return order


@dataclass(frozen=True)
class Label:
    """A source's name at the edge of the heat map, at `at` pixels."""

    at: float
    name: str
    short: str
    out: bool


@dataclass(frozen=True)
class Cell:
    """What is said of a pair of sources, at pixels x, y."""

    x: float
    y: float
    text: str
    number: str
    dark: bool


@dataclass(frozen=True)
class HeatMap:
    """All the template draws; lengths in pixels."""

    picture: str
    side: float
    cell: float
    margin: float
    labels: list[Label]
    every: int
    cells: list[Cell]
    top: float
    ramp: str


def heat_map(matrix: Matrix, names: Sequence[str], out: Sequence[bool]) -> HeatMap:
    """Return a picture of the matrix, ordered by clustering, and what is written on it."""
    order = clustered(matrix)
    n, ordered = len(order), matrix[np.ix_(order, order)]
    top = max(PALE, float(ordered.max()))
    cell = min(LARGEST_CELL, SIDE / n)
    # One picture, not n^2 shapes: browsers draw it at once for any n.
    raw = io.BytesIO()
    imsave(raw, ordered, vmin=0, vmax=top, cmap=COLOURS, origin="upper", format="png",
           metadata={"Software": "msl"})  # fmt: skip
    every = ceil(LABEL / cell)
    labels = [
        Label((i + 0.5) * cell, names[rank], shortened(names[rank]), out[rank])
        for i, rank in enumerate(order)
        if i % every == 0
    ]
    cells = [
        Cell(
            j * cell,
            i * cell,
            f"{names[order[i]]} and {names[order[j]]}: {value:.3f}",
            f"{value:.2f}" if n <= NUMBERS_UP_TO else "",
            bool(value > DARK * top),
        )
        for (i, j), value in np.ndenumerate(ordered)
        if n <= TITLES_UP_TO
    ]
    return HeatMap(
        picture=base64.b64encode(raw.getvalue()).decode(),
        side=n * cell,
        cell=cell,
        # Seven pixels a character at the template's font size.
        margin=12 + 7 * max(len(label.short) for label in labels),
        labels=labels,
        every=every,
        cells=cells,
        top=top,
        ramp=", ".join(to_hex(colormaps[COLOURS](i / 8)) for i in range(9)),
    )


def shortened(name: str) -> str:
    """Return a name that fits the margin."""
    return name if len(name) <= LABEL_CHARS else name[: LABEL_CHARS - 1] + "…"


def written(value: float, digits: int = 2) -> str:
    """Return a number for people: a dash when it is not known, and no zero that is none."""
    if isnan(value):
        return "\N{EN DASH}"
    if 0 < value < (least := 10.0**-digits) / 2:
        return f"<{least:.{digits}f}"
    return f"{value:,.{digits}f}"


def page(
    columns: Mapping[str, Sequence[Any]],
    discrepancy: Matrix | None,
    rounds: int,
    asked: Sequence[int],
) -> str:
    """Return the page; names and reasons are escaped.

    Parameters
    ----------
    columns : mapping from str to sequence
        As `Ledger.columns` gives them.
    discrepancy : ndarray of shape (n, n), optional
    rounds : int
        Rounds so far.
    asked : sequence of int
        Rounds before which the trust rule was asked.
    """
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    out = [not isnan(since) for since in columns["excluded"]]
    drawn = None
    if discrepancy is not None and len(rows) > 1:
        drawn = heat_map(discrepancy, columns["name"], out)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["written"] = written
    text = (files("msl") / "pages" / "ledger.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        sources=rows,
        out=[row for row, left in zip(rows, out, strict=True) if left],
        rounds=rounds,
        asked=asked,
        map=drawn,
        known={name: not all(map(isnan, columns[name])) for name in ("statistic", "p_value")},
        most=max((row["share"] for row in rows if not isnan(row["share"])), default=1) or 1,
        placed=any(columns["place"]),
    )
