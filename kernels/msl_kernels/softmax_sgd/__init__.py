"""Mini-batch SGD of multinomial logistic regression, all its steps in one call.

A local step of federated learning works on ten rows or so: there the calls of an array library
cost several times the arithmetic. CPU only; the steps of one source are done one after another,
so neither the number of threads nor the company of other sources changes a bit.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl_kernels.softmax_sgd.cpu import descend

__all__ = ["softmax_sgd"]

_NONE = np.empty(0, np.float32)


def softmax_sgd(
    params: NDArray[np.float32],
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    order: NDArray[np.int64],
    *,
    batch: int,
    steps: int,
    rate: float,
    weight: NDArray[np.float32] | None = None,
    l2: NDArray[np.float32] | None = None,
    shown: int = 0,
) -> tuple[NDArray[np.float32], float]:
    """Return the parameters after some steps, and the loss of those before, without its penalty.

    A step is w -= rate * (mean over the batch of (softmax(z) - onehot(y)) x^T + l2 w), with the
    weighted mean where rows have weights; biases have no penalty.

    Parameters
    ----------
    params : ndarray of shape (C * p + C,)
        Weights (C, p), then biases (C,); left unchanged. C = 1 stands for two classes.
    X, y : ndarray of shape (m, p) and (m,)
        Rows, C-contiguous, and class numbers, which must be in range.
    order : ndarray of shape (epochs * m,)
        Rows of each epoch in their order; a batch does not reach into the next epoch.
    batch, steps : int
        Rows per step, 1..m, and how many steps.
    rate : float
        Learning rate.
    weight : ndarray of shape (m,), optional
        Weights of the rows, > 0.
    l2 : ndarray of shape (p,), optional
        Penalty of each feature.
    shown : int
        Rows, the first ones, on which the loss is stated, at most m; it is 0 on none.
    """
    local = np.empty_like(params)
    share = _NONE if weight is None else weight
    decay = _NONE if l2 is None else (1 - rate * l2.astype(np.float64)).astype(np.float32)
    arrays = (_read(one) for one in (params, X, y, share, order))
    loss = descend(*arrays, batch, steps, -float(rate), decay, shown, local)
    return local, loss


def _read(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only view: rows may be either, and each would be compiled for itself."""
    view = array.view()
    view.flags.writeable = False
    return view
