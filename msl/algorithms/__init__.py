"""Algorithms: what a source does with the model, and what the server does with the answers."""

from collections.abc import Mapping
from typing import Any

from msl.algorithms.base import Algorithm, LocalSolver, ServerRule, Step
from msl.algorithms.fedavg import FedAvg
from msl.algorithms.fedsgd import FedSgd
from msl.algorithms.lbfgs import Lbfgs
from msl.parts import make_part

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "FedAvg",
    "FedSgd",
    "Lbfgs",
    "LocalSolver",
    "ServerRule",
    "Step",
    "make",
]

ALGORITHMS: Mapping[str, type[Algorithm]] = {"fedavg": FedAvg, "fedsgd": FedSgd, "lbfgs": Lbfgs}


def make(name: str, **arguments: Any) -> Algorithm:
    """Return the algorithm of this name.

    Raises
    ------
    PlanError
        When the name, an argument or a value is not known; lists what is.

    Examples
    --------
    >>> make("fedsgd", lr=0.5)
    FedSgd(lr=0.5, batch=None)
    """
    return make_part("algorithm", ALGORITHMS, name, arguments)
