"""The squared norm of the weights as a penalty, the same for all features or one for each."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.errors import PlanError

__all__ = ["L2", "check_l2", "penalty"]

L2: TypeAlias = float | tuple[float, ...]
"""One factor, or one per feature: features in other units than the penalty is meant in."""


def check_l2(model: str, l2: L2, n_features: int) -> None:
    """Raise PlanError unless all factors are >= 0 and there is one, or one per feature."""
    if isinstance(l2, tuple) and len(l2) != n_features:
        raise PlanError(f"{model} with {n_features} features needs as many l2, got {len(l2)}")
    factors = np.asarray(l2)
    if not (factors >= 0).all():
        raise PlanError(f"{model} needs l2 >= 0, got {factors.min()}")


def penalty(l2: L2, factors: NDArray[np.float32], weight: NDArray[Any]) -> float:
    """Return sum_j l2_j / 2 sum_c weight_cj^2 of weights (C, p), in float64.

    `factors` is l2 as an array, which takes time to make from a long tuple.
    """
    w = weight.ravel().astype(np.float64)
    if isinstance(l2, tuple):
        w *= w
        return 0.5 * float((w.reshape(weight.shape) @ factors).sum())
    return 0.5 * l2 * float(w @ w) if l2 else 0.0
