"""Linear estimators: coefficients in the units of X, learned under scales that suit the solver."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from msl.estimators.base import MultiSource
from msl.estimators.inputs import FLOATS
from msl.estimators.preparing import Scaling, Told
from msl.models import Linear, Model, Softmax
from msl.models.penalty import L2
from msl.rounds import Start
from msl.types import Vector

__all__ = ["LinearMultiSource"]

Array = NDArray[Any]


class LinearMultiSource(MultiSource):
    """z = coef_ . x + intercept_ under some loss."""

    @property
    @abstractmethod
    def _curvature(self) -> float:
        """Of the loss in z; about, where it has no bound."""

    @abstractmethod
    def _penalty(self) -> float:
        """Return the factor of ||w||^2 / 2 beside the sum of the losses."""

    @abstractmethod
    def _model(self, l2: L2) -> Softmax | Linear:
        """Return the model, with a penalty in its own units."""

    def _scaled(self, told: Sequence[Told]) -> Scaling:
        return Scaling.of(told, self._trusting)

    def _shape(self, told: Sequence[Told], total: float, first: bool) -> Model:
        l2 = self._penalty() / total
        if first:
            self._scaling = self._scaled(told).conditioned(l2, self._curvature)
        return self._model(tuple((l2 / self._scaling.scale**2).tolist()))

    def _natural(self, params: Vector) -> tuple[Array, Array]:
        """Return weights (C, p) and biases (C,) in the units of X, float64."""
        found = self._model(0.0).layout.split(params.astype(np.float64))
        weight = found["weight"] / self._scaling.scale
        return weight, found["bias"] - weight @ self._scaling.center

    def _scaled_params(self, weight: Array, bias: Array) -> Vector:
        """Return the parameters whose `_natural` these are."""
        moved = bias + weight @ self._scaling.center
        scaled = (weight * self._scaling.scale).ravel()
        return np.concatenate([scaled, moved]).astype(np.float32)

    def _warm(self, model: Model, before: Mapping[str, Any]) -> Start | None:
        weight, bias = self._flat_parts(before)
        same = np.array_equal(before.get("classes_", ()), getattr(self, "classes_", ()))
        if weight.size + bias.size != model.layout.size or not same:
            return None
        return Start(self._scaled_params(weight, bias))

    @staticmethod
    def _flat_parts(fitted: Mapping[str, Any]) -> tuple[Array, Array]:
        return np.atleast_2d(fitted["coef_"]), np.atleast_1d(fitted["intercept_"])

    def _asked(self, X: Any) -> tuple[Softmax | Linear, Array, Any]:
        """Return a model, its parameters in the units of X, and X, checked."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=FLOATS, reset=False)
        weight, bias = self._flat_parts(vars(self))
        return self._model(0.0), np.concatenate([weight.ravel(), bias]), X
