"""Which aggregator to trust: by the worst attack, not by the mean of all."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Heat", "Labels", "Rank", "heat", "ranking"]

Labels: TypeAlias = Mapping[str, str]
"""Axis to label of a cell."""
Heat: TypeAlias = dict[str, tuple[list[str], list[str], NDArray[np.float64]]]
"""Setting to the names of rows and columns, and their values."""


@dataclass(frozen=True)
class Rank:
    """How an aggregator stands.

    Parameters
    ----------
    name : str
        Label of the aggregator.
    worst, mean : float
        Accuracy in the worst setting, and over all settings; each the mean of its seeds.
    deviation : float
        Standard deviation over the seeds in the worst setting; 0 for one seed.
    where : str
        The worst setting.
    """

    name: str
    worst: float
    mean: float
    deviation: float
    where: str


def ranking(found: Iterable[tuple[Labels, float]]) -> list[Rank]:
    """Return the aggregators, the best worst case first; empty without an attack axis.

    A setting is everything but aggregator and seed: attack, number of liars, data.
    """
    settings: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for labels, accuracy in found:
        if "attack" not in labels or "aggregator" not in labels:
            return []
        setting = _rest(labels, "aggregator", "seed")
        settings[labels["aggregator"]][setting].append(accuracy)
    ranks = []
    for name, by_setting in settings.items():
        means = {setting: float(np.mean(values)) for setting, values in by_setting.items()}
        where = min(means, key=means.__getitem__)
        deviation = float(np.std(by_setting[where]))
        mean = float(np.mean(list(means.values())))
        ranks.append(Rank(name, means[where], mean, deviation, where))
    return sorted(ranks, key=lambda rank: -rank.worst)


def heat(found: Sequence[tuple[Labels, float]], ranks: Sequence[Rank]) -> Heat:
    """Return aggregator x attack tables of mean accuracy, one for each rest of the setting.

    Rows stand in the order of the ranks, and the last column is the worst case.
    """
    seen: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for labels, accuracy in found:
        rest = _rest(labels, "aggregator", "attack", "seed")
        seen[rest][labels["aggregator"], labels["attack"]].append(accuracy)
    names = [rank.name for rank in ranks]
    attacks = list(dict.fromkeys(labels["attack"] for labels, _ in found))
    tables = {}
    for setting, cells in seen.items():
        values = np.array([[np.mean(cells[n, a]) for a in attacks] for n in names])
        values = np.hstack([values, values.min(axis=1, keepdims=True)])
        tables[setting] = (names, [*attacks, "worst"], values)
    return tables


def _rest(labels: Labels, *without: str) -> str:
    """Return the labels of the other axes as one."""
    return " ".join(label for axis, label in labels.items() if axis not in without)
