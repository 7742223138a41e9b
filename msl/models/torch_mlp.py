"""A small net by its sizes, so that a YAML file can name one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

from torch import nn

from msl.errors import PlanError
from msl.models.torch import TorchModel

__all__ = ["Mlp"]


def _net(n_features: int, n_classes: int, hidden: tuple[int, ...]) -> nn.Module:
    sizes = (n_features, *hidden)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_classes))


@dataclass(frozen=True)
class Mlp(TorchModel):
    """Multi-layer perceptron: p -> hidden layers with ReLU -> C logits, cross entropy.

    Parameters
    ----------
    n_features, n_classes : int
        p >= 1 and C >= 2.
    hidden : sequence of int
        Widths of the hidden layers.
    """

    # Factories put the functions on the instance; on the class they would become methods.
    module: Any = field(default_factory=lambda: _net, init=False, repr=False)
    arguments: tuple[Any, ...] = field(default=(), init=False, repr=False)
    loss_function: Any = field(
        default_factory=lambda: nn.functional.cross_entropy, init=False, repr=False
    )
    n_features: int = 1
    n_classes: int = 2
    hidden: Sequence[int] = (64,)
    name: ClassVar[str] = "mlp"

    def __post_init__(self) -> None:
        if self.n_features < 1 or self.n_classes < 2 or any(width < 1 for width in self.hidden):
            raise PlanError(
                "mlp needs n_features >= 1, n_classes >= 2 and positive hidden widths, got "
                f"{self.n_features}, {self.n_classes}, {list(self.hidden)}"
            )
        object.__setattr__(self, "hidden", tuple(self.hidden))
        sizes = (self.n_features, self.n_classes, self.hidden)
        object.__setattr__(self, "arguments", sizes)
