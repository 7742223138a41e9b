"""Which sources take part in a round, when not all do."""

from collections.abc import Mapping
from typing import Any

from msl.parts import make_part
from msl.samplers.base import Candidates, Sampler
from msl.samplers.cyclic import Cyclic
from msl.samplers.stratified import Stratified
from msl.samplers.uniform import Uniform
from msl.samplers.weighted import Weighted

__all__ = [
    "SAMPLERS",
    "Candidates",
    "Cyclic",
    "Sampler",
    "Stratified",
    "Uniform",
    "Weighted",
    "make",
]

SAMPLERS: Mapping[str, type[Sampler]] = {
    "uniform": Uniform,
    "weighted": Weighted,
    "stratified": Stratified,
    "cyclic": Cyclic,
}


def make(name: str, **arguments: Any) -> Sampler:
    """Return the sampler of this name.

    Raises
    ------
    PlanError
        When the name, an argument or a value is not known; lists what is.

    Examples
    --------
    >>> make("weighted", by="belief")
    Weighted(by='belief')
    """
    return make_part("sampler", SAMPLERS, name, arguments)
