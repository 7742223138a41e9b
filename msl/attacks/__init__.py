"""Attacks, for simulation only: what lying sources learn from, or send."""

from collections.abc import Mapping
from typing import Any

from msl.attacks.base import Attack, DataAttack
from msl.attacks.gaussian import Gaussian
from msl.attacks.label_flip import LabelFlip
from msl.attacks.sign_flip import SignFlip
from msl.parts import make_part

__all__ = ["ATTACKS", "Attack", "DataAttack", "Gaussian", "LabelFlip", "SignFlip", "make"]

ATTACKS: Mapping[str, type[Attack] | type[DataAttack]] = {
    "label_flip": LabelFlip,
    "sign_flip": SignFlip,
    "gaussian": Gaussian,
}


def make(name: str, **arguments: Any) -> Attack | DataAttack:
    """Return the attack of this name.

    Raises
    ------
    PlanError
        When the name, an argument or a value is not known; lists what is.

    Examples
    --------
    >>> make("sign_flip", scale=2.0)
    SignFlip(scale=2.0)
    """
    made: Attack | DataAttack = make_part("attack", ATTACKS, name, arguments)
    return made
