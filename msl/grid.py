"""The cells of a comparison: every combination of the values of its axes, with readable names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from msl.config import Config, with_value

__all__ = ["Cell", "cells_of", "label"]


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Parameters
    ----------
    name : str
        The labels of its values, in the order of the axes.
    config : Config
        The file with these values.
    labels : mapping from str to str
        Axis to label.
    """

    name: str
    config: Config
    labels: Mapping[str, str]


def cells_of(config: Config) -> list[Cell]:
    """Return the cells of the grid in `compare`, in the file's order.

    An axis is a key of the file, dotted where it lies deeper: ``data.partition``.
    """
    axes = config.compare or {"aggregator": [config.aggregator]}
    named = {axis: _labels(axis, values) for axis, values in axes.items()}
    cells = []
    for places in product(*(range(len(values)) for values in axes.values())):
        raw, labels = config.model_dump(), {}
        for (axis, values), place in zip(axes.items(), places, strict=True):
            raw = with_value(raw, axis, values[place])
            labels[axis] = named[axis][place]
        cells.append(Cell(" ".join(labels.values()), Config.model_validate(raw), labels))
    return cells


def _labels(axis: str, values: Sequence[Any]) -> list[str]:
    """Return a label per value; with all arguments where names alone would be the same."""
    short = [label(axis, value) for value in values]
    return [
        label(axis, value, full=True) if short.count(name) > 1 else name
        for name, value in zip(short, values, strict=True)
    ]


def label(axis: str, value: Any, full: bool = False) -> str:
    """Return what a value is called: a part by its name, a wrapper with what it wraps."""
    if not isinstance(value, Mapping):
        return value if isinstance(value, str) else f"{axis.rpartition('.')[2]}={value}"
    inner = next((value[key] for key in ("then", "codec") if key in value), None)
    name = str(value["name"]) + (f"+{label(axis, inner, full)}" if inner else "")
    plain = [str(v) for k, v in value.items() if k != "name" and not isinstance(v, Mapping)]
    return f"{name}({', '.join(plain)})" if full and plain else name
