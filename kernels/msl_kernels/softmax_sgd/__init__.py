"""Mini-batch SGD of multinomial logistic regression: all steps of many small sources in one call.

A local step of federated learning works on ten rows or so: there the calls of an array library
cost several times the arithmetic. CPU only; the steps of one source are done one after another,
and each source begins anew, so neither the number of threads nor the company of other sources
changes a bit. While one source is at work, the rows of the next are brought near.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl_kernels.softmax_sgd.cpu import descend

__all__ = ["Task", "softmax_sgd", "softmax_sgd_each"]

_NONE = np.empty(0, np.float32)

Task = tuple[
    NDArray[np.float32],
    NDArray[np.int64],
    NDArray[np.float32] | None,
    NDArray[np.int64],
    int,
    int,
    int,
]
"""X, y, weight and order of a source, then batch, steps and shown, as `softmax_sgd` has them."""


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
    task = (X, y, weight, order, batch, steps, shown)
    found, losses, _ = _descend(params, [task], rate, l2, moved=False)
    return found[0], float(losses[0])


def softmax_sgd_each(
    params: NDArray[np.float32],
    tasks: Sequence[Task],
    *,
    rate: float,
    l2: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
    """Return by how much some steps of each source move the parameters, the losses, and who failed.

    Parameters
    ----------
    params, rate, l2
        As in `softmax_sgd`, the same for all.
    tasks : sequence of n tasks
        The other arguments of `softmax_sgd`; labels are checked here.

    Returns
    -------
    moved : ndarray of shape (n, C * p + C)
        Parameters after minus before: the difference of what `softmax_sgd` returns, to the bit.
    losses : ndarray of shape (n,)
    fine : ndarray of shape (n,)
        False where a label is out of range or a number of `moved` is not finite; such a row, and
        its loss, mean nothing.
    """
    return _descend(params, tasks, rate, l2, moved=True)


def _descend(
    params: NDArray[np.float32],
    tasks: Sequence[Task],
    rate: float,
    l2: NDArray[np.float32] | None,
    *,
    moved: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
    """Hand the kernel addresses: the tasks keep the arrays alive."""
    facts = np.array(
        [
            (_at(X), _at(y), 0 if weight is None else _at(weight), _at(order), len(y), *counts)
            for X, y, weight, order, *counts in tasks
        ],
        np.int64,
    )
    decay = _NONE if l2 is None else (1 - rate * l2.astype(np.float64)).astype(np.float32)
    found = np.empty((len(tasks), len(params)), np.float32)
    losses, fine = np.empty(len(tasks)), np.empty(len(tasks), np.bool_)
    descend(
        _at(params),
        len(params),
        facts,
        np.arange(max(task[-1] for task in tasks)),
        max(task[-3] for task in tasks),
        tasks[0][0].shape[1],
        -float(rate),
        decay,
        moved,
        found,
        losses,
        fine,
    )
    return found, losses, fine


def _at(array: NDArray[Any]) -> int:
    # Also of read-only arrays: each kind would be compiled for itself.
    address: int = array.__array_interface__["data"][0]
    return address
