"""Models: losses and gradients of one flat parameter vector."""

from collections.abc import Mapping
from typing import Any

from msl.models.base import Model
from msl.models.linear import Linear
from msl.models.softmax import Softmax
from msl.parts import LazyTable, make_part

__all__ = ["MODELS", "Linear", "Model", "Softmax", "make"]

MODELS: Mapping[str, type[Model]] = LazyTable(
    {
        "linear": "msl.models.linear:Linear",
        "softmax": "msl.models.softmax:Softmax",
        "torch": "msl.models.torch:TorchModel",
        "mlp": "msl.models.torch_mlp:Mlp",
    }
)
"""Torch models are imported when they are asked for: torch takes seconds."""


def make(name: str, **arguments: Any) -> Model:
    """Return the model of this name.

    Raises
    ------
    PlanError
        When the name, an argument or a value is not known; lists what is.

    Examples
    --------
    >>> make("softmax", n_features=64, n_classes=10).layout.size
    650
    """
    return make_part("model", MODELS, name, arguments)
