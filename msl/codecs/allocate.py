"""Which parameter for which layer: fewest bytes under an error budget (L-GreCo)."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["allocate"]

STEPS = 10_000
"""Into how many steps the budget is cut."""


def allocate(
    errors: NDArray[np.float64],
    nbytes: NDArray[np.int64],
    default: int,
    alpha: float = 1.0,
) -> NDArray[np.intp]:
    """Return one choice per layer: least bytes with summed error within the budget.

    The budget is alpha times the summed error of the default choice. Errors are rounded to 1 /
    10,000 of it, so the sum may pass it by at most L / 20,000 of it; a result that is not smaller
    than the default everywhere, or passes the budget by more, is replaced by the default.

    Parameters
    ----------
    errors : array of shape (L, C)
        Euclidean error of each layer under each choice, >= 0.
    nbytes : array of shape (L, C)
        Bytes of each layer under each choice.
    default : int
        The choice of everybody when nothing is adapted.
    alpha : float
        Error allowed, in errors of the default, > 0.

    References
    ----------
    Markov et al.: L-GreCo: layerwise-adaptive gradient compression. MLSys 2024, Algorithm 1.
    """
    layers, choices = errors.shape
    uniform = np.full(layers, default)
    budget = alpha * errors[:, default].sum()
    if not budget > 0:
        return uniform
    cost = np.clip(np.rint(errors / budget * STEPS), 0, STEPS + 1).astype(np.int64)
    # least[b]: fewest bytes of the layers so far with a rounded error of at most b.
    least, taken = np.zeros(STEPS + 1), np.empty((layers, STEPS + 1), np.int64)
    for layer in range(layers):
        options = np.full((choices, STEPS + 1), np.inf)
        for c in range(choices):
            left = STEPS + 1 - cost[layer, c]
            if left > 0:
                options[c, cost[layer, c] :] = least[:left] + nbytes[layer, c]
        taken[layer] = options.argmin(axis=0)
        least = options.min(axis=0)
    if not least[STEPS] < nbytes[:, default].sum():
        return uniform
    chosen, left = np.empty(layers, np.intp), STEPS
    for layer in reversed(range(layers)):
        chosen[layer] = taken[layer, left]
        left -= cost[layer, chosen[layer]]
    true = errors[np.arange(layers), chosen].sum()
    return chosen if true <= budget * (1 + layers / STEPS) else uniform
