"""How n rows become one direction: the mean, and rules that withstand corrupted rows."""

from collections.abc import Mapping
from typing import Any

from msl.aggregators.base import Aggregator, check_rows
from msl.aggregators.geometric_median import GeometricMedian
from msl.aggregators.mean import Mean
from msl.aggregators.median import Median
from msl.aggregators.trimmed_mean import TrimmedMean
from msl.parts import make_part

__all__ = [
    "AGGREGATORS",
    "Aggregator",
    "GeometricMedian",
    "Mean",
    "Median",
    "TrimmedMean",
    "check_rows",
    "make",
]

AGGREGATORS: Mapping[str, type[Aggregator]] = {
    "mean": Mean,
    "median": Median,
    "trimmed_mean": TrimmedMean,
    "geometric_median": GeometricMedian,
}


def make(name: str, **arguments: Any) -> Aggregator:
    """Return the aggregator of this name.

    Raises
    ------
    PlanError
        When the name, an argument or a value is not known; lists what is.

    Examples
    --------
    >>> make("trimmed_mean", f=2)
    TrimmedMean(f=2)
    """
    return make_part("aggregator", AGGREGATORS, name, arguments)
