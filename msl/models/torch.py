"""Any torch module with a loss, its parameters seen as one flat vector."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from msl.errors import DataError, PlanError
from msl.models.base import Model
from msl.types import Layout, Vector

__all__ = ["TorchModel"]

# A built module per thread and model: its tensors are views of work vectors that calls overwrite.
_built = threading.local()
# Modules start from torch's one global stream: a thread that seeds it must have it to itself.
_seeding = threading.Lock()


class _Bound:
    """A module whose parameters and gradients are views of two flat vectors."""

    def __init__(self, module: nn.Module) -> None:
        named = list(module.named_parameters())
        if any(True for _ in module.buffers()):
            raise PlanError(
                "a torch model with buffers (batch norm's running statistics) is not one "
                "parameter vector; use group or layer norm"
            )
        # Always: with dropout on, a gradient would be neither that of the loss nor the same twice.
        self.module = module.eval()
        self.layout = Layout(tuple((name, tuple(p.shape)) for name, p in named))
        self.params = torch.cat([p.detach().reshape(-1).float() for _, p in named])
        self.grad = torch.zeros_like(self.params)
        start = 0
        for _, p in named:
            stop = start + p.numel()
            p.data = self.params[start:stop].view(p.shape)
            p.grad = self.grad[start:stop].view(p.shape)
            start = stop

    def take(self, params: Vector) -> None:
        """Copy parameters in; by NumPy, which reads what is read-only without another copy."""
        np.copyto(self.params.numpy(), params)


@dataclass(frozen=True)
class TorchModel(Model):
    """Wraps any nn.Module and loss; parameters are one flat vector, bound without a copy per layer.

    Parameters
    ----------
    module : callable
        Called as ``module(*arguments)``; returns a fresh nn.Module that maps (m, p) to (m, C)
        logits. A class or a module-level function, so that it can travel. It runs in evaluation
        mode, also for gradients: dropout is off.
    arguments : tuple
        Plain values.
    loss_function : callable
        ``loss_function(logits, y, reduction="none")`` -> (m,); a module-level function.
    """

    module: Callable[..., nn.Module]
    arguments: tuple[Any, ...] = ()
    loss_function: Callable[..., torch.Tensor] = nn.functional.cross_entropy
    name: ClassVar[str] = "torch"

    def _bound(self) -> _Bound:
        cache: dict[TorchModel, _Bound] = _built.__dict__.setdefault("cache", {})
        if self not in cache:
            with _seeding, torch.random.fork_rng(devices=[]):
                cache[self] = _Bound(self.module(*self.arguments))
        return cache[self]

    @property
    def layout(self) -> Layout:
        """Return the module's named parameters, in its own order."""
        return self._bound().layout

    def init(self, key: int) -> Vector:
        """Return the module's own initialisation under a seed made from the key."""
        with _seeding, torch.random.fork_rng(devices=[]):
            torch.manual_seed(key & (2**63 - 1))
            fresh = self.module(*self.arguments)
        flat = torch.cat([p.detach().reshape(-1).float() for p in fresh.parameters()])
        init: Vector = flat.numpy()
        return init

    def _losses(self, bound: _Bound, X: NDArray[Any], y: NDArray[Any], weight: Any) -> Any:
        each = self.loss_function(bound.module(_tensor(X)), _tensor(y), reduction="none")
        if weight is None:
            return each.mean()
        share = _tensor(weight)
        if not share.sum() > 0:
            raise DataError("the weights of the rows are all zero; leave those rows out")
        return (each * share).sum() / share.sum()

    def loss(
        self, params: Vector, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> float:
        """Return the weighted mean loss, without a graph."""
        bound = self._bound()
        bound.take(params)
        with torch.no_grad():
            return float(self._losses(bound, X, y, weight))

    def gradient(
        self, params: Vector, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None
    ) -> Vector:
        """Return the gradient; one flat copy in, one flat copy out."""
        bound = self._bound()
        bound.take(params)
        bound.grad.zero_()
        self._losses(bound, X, y, weight).backward()
        return bound.grad.numpy().copy()

    def predict(self, params: Vector, X: NDArray[Any]) -> NDArray[np.int64]:
        """Return the class with the largest logit."""
        best: NDArray[np.int64] = np.argmax(self._logits(params, X), axis=1)
        return best

    def predict_proba(self, params: Vector, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the softmax of the logits, (m, C)."""
        z = self._logits(params, X).astype(np.float64)
        z = np.exp(z - z.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = z / z.sum(axis=1, keepdims=True)
        return probabilities

    def _logits(self, params: Vector, X: NDArray[Any]) -> NDArray[np.float32]:
        bound = self._bound()
        bound.take(params)
        with torch.no_grad():
            logits: NDArray[np.float32] = bound.module(_tensor(X)).numpy()
        return logits


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    # torch wants writable memory even to read it; rows may be shared read-only.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
