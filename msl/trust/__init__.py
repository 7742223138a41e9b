"""Trust: which sources to believe."""

from collections.abc import Mapping
from typing import Any

from msl.parts import make_part
from msl.trust.all import TrustAll
from msl.trust.base import Held, TrustReport, TrustRule
from msl.trust.flea import Flea
from msl.trust.pac_filter import PacFilter
from msl.trust.reference_weighting import ReferenceWeighting

__all__ = [
    "TRUST",
    "Flea",
    "Held",
    "PacFilter",
    "ReferenceWeighting",
    "TrustAll",
    "TrustReport",
    "TrustRule",
    "make",
]

TRUST: Mapping[str, type[TrustRule]] = {
    rule.name: rule for rule in (TrustAll, PacFilter, ReferenceWeighting, Flea)
}


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
