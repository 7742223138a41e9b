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
        Accuracy in the worst setting, and over all settings; each the mean of its seeds. `worst`
        is NaN for an aggregator that lacks a setting: failing there must not help it.
    deviation : float
        Sample standard deviation over the seeds in the worst setting; 0 for one seed.
    where : str
        The worst setting, or the one that is lacking.
    """

    name: str
    worst: float
    mean: float
    deviation: float
    where: str


def ranking(found: Iterable[tuple[Labels, float]]) -> list[Rank]:
    """Return the choices, the best worst case first; empty without an attack axis.

    A setting is what whoever lies, or chance, chooses: attack, number of liars, data. All else
    but the seed, aggregator, codec, trust, is ours to choose.
    """
    settings: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for labels, accuracy in found:
        if "attack" not in labels or "aggregator" not in labels:
            return []
        settings[_choice(labels)][_setting(labels)].append(accuracy)
    # How many seeds each setting has: one that diverged must not be left out of a mean.
    seeds: dict[str, int] = {}
    for by_setting in settings.values():
        for setting, values in by_setting.items():
            seeds[setting] = max(seeds.get(setting, 0), len(values))
    ranks = [_rank(name, by_setting, seeds) for name, by_setting in settings.items()]
    return sorted(ranks, key=lambda rank: (np.isnan(rank.worst), -rank.worst))


def _rank(name: str, by_setting: Mapping[str, list[float]], seeds: Mapping[str, int]) -> Rank:
    means = {setting: float(np.mean(values)) for setting, values in by_setting.items()}
    mean = float(np.mean(list(means.values())))
    for setting, expected in seeds.items():
        if len(by_setting.get(setting, ())) < expected:
            return Rank(name, np.nan, mean, np.nan, f"no result: {setting}")
    where = min(means, key=means.__getitem__)
    values = by_setting[where]
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Rank(name, means[where], mean, deviation, where)


def heat(found: Sequence[tuple[Labels, float]], ranks: Sequence[Rank]) -> Heat:
    """Return aggregator x attack tables of mean accuracy, one for each rest of the setting.

    Rows stand in the order of the ranks, and the last column is the worst case.
    """
    seen: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for labels, accuracy in found:
        seen[_setting(labels, "attack")][_choice(labels), labels["attack"]].append(accuracy)
    names = [rank.name for rank in ranks]
    attacks = list(dict.fromkeys(labels["attack"] for labels, _ in found))
    tables = {}
    for setting, cells in seen.items():
        values = np.array(
            [[np.mean(seeds) if (seeds := cells[n, a]) else np.nan for a in attacks] for n in names]
        )
        values = np.hstack([values, values.min(axis=1, keepdims=True)])
        tables[setting] = (names, [*attacks, "worst"], values)
    return tables


THREATS = ("attack", "corrupted", "data")
"""First keys of the axes that are not ours to choose."""


def _setting(labels: Labels, *without: str) -> str:
    """Return the labels of the axes that are not ours to choose as one."""
    return " ".join(
        label
        for axis, label in labels.items()
        if axis.partition(".")[0] in THREATS and axis not in without
    )


def _choice(labels: Labels) -> str:
    """Return the labels of the axes that are ours to choose as one."""
    return " ".join(
        label
        for axis, label in labels.items()
        if axis.partition(".")[0] not in THREATS and axis != "seed"
    )
