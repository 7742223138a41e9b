"""Attacks, for simulation only: what lying sources learn from, or send."""

from collections.abc import Mapping
from typing import Any

from msl.attacks.a_little_is_enough import ALittleIsEnough
from msl.attacks.backdoor import Backdoor
from msl.attacks.base import Attack, DataAttack, Scene
from msl.attacks.delayed import Delayed
from msl.attacks.gaussian import Gaussian
from msl.attacks.inner_product import InnerProduct
from msl.attacks.label_flip import LabelFlip
from msl.attacks.mimic import Mimic
from msl.attacks.nan import Nan
from msl.attacks.optimal import Optimal
from msl.attacks.safeguard_scaled import SafeguardScaled
from msl.attacks.sign_flip import SignFlip
from msl.attacks.zero import Zero
from msl.parts import make_part

__all__ = [
    "ATTACKS",
    "ALittleIsEnough",
    "Attack",
    "Backdoor",
    "DataAttack",
    "Delayed",
    "Gaussian",
    "InnerProduct",
    "LabelFlip",
    "Mimic",
    "Nan",
    "Optimal",
    "SafeguardScaled",
    "Scene",
    "SignFlip",
    "Zero",
    "make",
]

ATTACKS: Mapping[str, type[Attack] | type[DataAttack]] = {
    "label_flip": LabelFlip,
    "backdoor": Backdoor,
    "sign_flip": SignFlip,
    "a_little_is_enough": ALittleIsEnough,
    "inner_product": InnerProduct,
    "optimal": Optimal,
    "mimic": Mimic,
    "gaussian": Gaussian,
    "zero": Zero,
    "delayed": Delayed,
    "safeguard_scaled": SafeguardScaled,
    "nan": Nan,
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
    SignFlip(scale=2.0, own=False)
    """
    made: Attack | DataAttack = make_part("attack", ATTACKS, name, arguments)
    return made
