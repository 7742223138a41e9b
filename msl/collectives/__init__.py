"""Who sends what to whom in a round."""

from collections.abc import Mapping
from typing import Any

from msl.collectives.base import Collective
from msl.collectives.star import Star
from msl.parts import make_part

__all__ = ["COLLECTIVES", "Collective", "Star", "make"]

COLLECTIVES: Mapping[str, type[Collective]] = {"star": Star}


def make(name: str, **arguments: Any) -> Collective:
    """Return the collective of this name.

    Raises
    ------
    PlanError
        When the name or an argument is not known; lists what is.

    Examples
    --------
    >>> make("star")
    Star()
    """
    return make_part("collective", COLLECTIVES, name, arguments)
