"""What theory promises: bounds that runs and tests are held against."""

from collections.abc import Mapping
from typing import Any

from msl.bounds.capacity import VC, Capacity, Finite, Linear, Measured, Norm
from msl.bounds.guarantee import Guarantee, Guaranteed
from msl.bounds.pac import (
    count_rule,
    effective_rows,
    excess_risk,
    largest_fraction,
    largest_fraction_within,
    weighted_deviation,
    weighted_excess_risk,
)
from msl.bounds.robustness import kappa, least_kappa
from msl.parts import make_part

__all__ = [
    "CAPACITIES",
    "VC",
    "Capacity",
    "Finite",
    "Guarantee",
    "Guaranteed",
    "Linear",
    "Measured",
    "Norm",
    "count_rule",
    "effective_rows",
    "excess_risk",
    "kappa",
    "largest_fraction",
    "largest_fraction_within",
    "least_kappa",
    "make",
    "weighted_deviation",
    "weighted_excess_risk",
]

CAPACITIES: Mapping[str, type[Capacity]] = {
    part.name: part for part in (Finite, VC, Linear, Norm, Measured)
}


def make(name: str, **arguments: Any) -> Capacity:
    """Return the capacity of this name.

    Raises
    ------
    PlanError
        When the name, an argument or a value is not known; lists what is.

    Examples
    --------
    >>> make("vc", dimension=10)
    VC(dimension=10)
    """
    return make_part("capacity", CAPACITIES, name, arguments)
