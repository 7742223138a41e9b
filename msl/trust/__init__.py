"""Trust: which sources to believe."""

from collections.abc import Mapping
from typing import Any

from msl.parts import make_part
from msl.trust.all import TrustAll
from msl.trust.base import Held, TrustReport, TrustRule

__all__ = ["TRUST", "Held", "TrustAll", "TrustReport", "TrustRule", "make"]

TRUST: Mapping[str, type[TrustRule]] = {"all": TrustAll}


def make(name: str, **arguments: Any) -> TrustRule:
    """Return the trust rule of this name.

    Raises
    ------
    PlanError
        When the name, an argument or a value is not known; lists what is.

    Examples
    --------
    >>> make("all")
    TrustAll()
    """
    return make_part("trust rule", TRUST, name, arguments)
