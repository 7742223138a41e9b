"""Softmax and cross entropy of small batches, in one pass over the logits.

A local step of federated learning works on ten rows or so: there the calls of an array library
cost more than the arithmetic. CPU only; the matrix products around it belong to BLAS.
"""

import numpy as np
from numba import njit

__all__ = ["cross_entropy", "residual"]


@njit(nogil=True, cache=True)
def residual(z, y, scale):  # type: ignore[no-untyped-def]
    """Turn logits z (m, C) in place into scale * (softmax(z) - onehot(y)), float32.

    One logit per row (C = 1) stands for two classes: scale * (sigmoid(z) - y).
    """
    m, c = z.shape
    one = np.float32(1.0)
    for i in range(m):
        if c == 1:
            z[i, 0] = scale * (one / (one + np.exp(-z[i, 0])) - np.float32(y[i]))
            continue
        top = z[i, 0]
        for j in range(1, c):
            top = max(top, z[i, j])
        total = np.float32(0.0)
        for j in range(c):
            z[i, j] = np.exp(z[i, j] - top)
            total += z[i, j]
        for j in range(c):
            z[i, j] = scale * (z[i, j] / total)
        z[i, y[i]] -= scale


@njit(nogil=True, cache=True)
def cross_entropy(z, y):  # type: ignore[no-untyped-def]
    """Return -log p(y) of each row, (m,) float64, from logits z (m, C) as in `residual`."""
    m, c = z.shape
    found = np.empty(m)
    for i in range(m):
        if c == 1:
            signed = np.float64(z[i, 0]) if y[i] == 0 else -np.float64(z[i, 0])
            found[i] = max(signed, 0.0) + np.log1p(np.exp(-abs(signed)))
            continue
        top = z[i, 0]
        for j in range(1, c):
            top = max(top, z[i, j])
        total = 0.0
        for j in range(c):
            total += np.exp(np.float64(z[i, j]) - np.float64(top))
        found[i] = np.float64(top) + np.log(total) - np.float64(z[i, y[i]])
    return found
