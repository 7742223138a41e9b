"""The cells of a comparison: every combination of the values of its axes, with readable names."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from msl.config import Config
from msl.errors import PlanError
from msl.settings import with_value

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
    values : mapping from str to object
        Axis to number, or to label where it is none.
    """

    name: str
    config: Config
    labels: Mapping[str, str]
    values: Mapping[str, Any]


def cells_of(config: Config) -> list[Cell]:
    """Return the cells of the grid in `compare`, in the file's order.

    An axis is a key of the file, dotted where it lies deeper: ``data.partition``.
    """
    axes = config.compare or {"aggregator": [config.aggregator]}
    named = {axis: _labels(axis, values) for axis, values in axes.items()}
    cells = []
    for places in product(*(range(len(values)) for values in axes.values())):
        raw, labels, shown = config.model_dump(), {}, {}
        for (axis, values), place in zip(axes.items(), places, strict=True):
            raw = with_value(raw, axis, values[place])
            labels[axis] = named[axis][place]
            is_number = isinstance(values[place], int | float)
            shown[axis] = values[place] if is_number else labels[axis]
        cells.append(Cell(" ".join(labels.values()), Config.model_validate(raw), labels, shown))
    return cells


def _labels(axis: str, values: Sequence[Any]) -> list[str]:
    """Return a label per value; with all arguments where names alone would be the same."""
    names = [label(axis, value) for value in values]
    for names_again in (
        [label(axis, value, full=True) for value in values],
        [_spelled(axis, value) for value in values],
    ):
        names = [
            longer if names.count(name) > 1 else name
            for name, longer in zip(names, names_again, strict=True)
        ]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PlanError(f"compare.{axis}: {', '.join(twice)} stands there twice")
    return names


def _spelled(axis: str, value: Any) -> str:
    """Return all of a value, for those that nothing shorter tells apart."""
    return f"{axis.rpartition('.')[2]}={json.dumps(value, sort_keys=True, default=str)}"


def label(axis: str, value: Any, full: bool = False) -> str:
    """Return what a value is called: a part by its name, a wrapper with what it wraps."""
    if not isinstance(value, Mapping):
        return value if isinstance(value, str) else f"{axis.rpartition('.')[2]}={value}"
    if "name" not in value:
        return _spelled(axis, value)
    inner = next((value[key] for key in ("then", "codec") if key in value), None)
    name = str(value["name"]) + (f"+{label(axis, inner, full)}" if inner else "")
    plain = [str(v) for k, v in value.items() if k != "name" and not isinstance(v, Mapping)]
    return f"{name}({', '.join(plain)})" if full and plain else name
