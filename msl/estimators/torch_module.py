"""What stands between an estimator's `module` parameter and a model of one flat vector."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from torch import nn

from msl.errors import PlanError
from msl.models.torch import TorchModel
from msl.models.torch_mlp import _net
from msl.types import Vector

__all__ = ["Factory", "PerRow", "TorchRegression", "factory_of", "half_squared_error", "mlp"]


def mlp(n_features: int, n_outputs: int, hidden: tuple[int, ...] = (64,)) -> nn.Module:
    """Return linear layers with ReLU between them, the module when none is given."""
    return _net(n_features, n_outputs, tuple(hidden))


def half_squared_error(z: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
    """Return (z - y)^2 / 2 of each row."""
    return 0.5 * nn.functional.mse_loss(z, y, reduction=reduction)


@dataclass(frozen=True)
class Factory:
    """A module and its arguments, equal when they are; it travels and is called on the workers."""

    module: Callable[..., nn.Module]
    arguments: tuple[tuple[str, Any], ...]

    def __call__(self) -> nn.Module:
        """Return a fresh module."""
        return self.module(**dict(self.arguments))


def factory_of(module: Any, arguments: dict[str, Any], n_features: int, n_outputs: int) -> Factory:
    """Return the factory of a module that is told its sizes, if it has arguments of those names.

    Raises
    ------
    PlanError
        When it is no class or function.
    """
    if module is None:
        module = mlp
    if isinstance(module, nn.Module) or not callable(module):
        raise PlanError(
            f"module must be a class of nn.Module or a function that returns one, got {module!r}"
        )
    sizes = {"n_features": n_features, "n_outputs": n_outputs}
    takes = signature(module).parameters
    told = {name: size for name, size in sizes.items() if name in takes} | arguments
    # Lists have no hash, which a model needs.
    frozen = ((k, tuple(v) if isinstance(v, list) else v) for k, v in told.items())
    return Factory(module, tuple(frozen))


@dataclass(frozen=True)
class PerRow:
    """A criterion that gets one output per row, as (m,), whether the module gives (m, 1) or (m,).

    Without it torch would compare every output with every target.
    """

    criterion: Callable[..., torch.Tensor]

    def __call__(self, z: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
        """Return the losses."""
        return self.criterion(z.reshape(-1), y, reduction=reduction)


@dataclass(frozen=True)
class TorchRegression(TorchModel):
    """A module with one output per row, for real targets."""

    def predict(self, params: Vector, X: NDArray[Any]) -> NDArray[Any]:
        """Return real values of shape (m,)."""
        return self._logits(params, X).reshape(-1).astype(np.float64)

    def predict_proba(self, params: Vector, X: NDArray[Any]) -> NDArray[np.float64]:
        """Raise PlanError: a real value is no probability."""
        raise PlanError("a regression gives no probabilities")

    def score(
        self, params: Vector, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> float:
        """Return R2."""
        return float(r2_score(y, self.predict(params, X), sample_weight=weight))
