"""Mini-batch SGD of a softmax model on the CPU, through padded copies that stay in cache."""

import numpy as np
from numba import njit

from msl_kernels.simd import prefer_wide
from msl_kernels.softmax import cross_entropy, residual
from msl_kernels.softmax_sgd.lanes import GROUP, LANES, add_rows, dots

__all__ = ["descend"]

_FOUR, _TWO, _ONE = (0,) * 4, (0,) * 2, (0,)
_ZERO = np.float32(0.0)


@njit(nogil=True, inline="never")
def _zeros(rows, pitch):  # type: ignore[no-untyped-def]
    """Return flat zeros that begin with a cache line."""
    raw = np.zeros(rows * pitch + LANES, np.float32)
    skip = (-(raw.ctypes.data // 4)) % LANES
    return raw[skip : skip + rows * pitch]


@njit(nogil=True, inline="never")
def _copy(x, to):  # type: ignore[no-untyped-def]
    """Copy a row."""
    prefer_wide()
    for k in range(len(x)):
        to[k] = x[k]


@njit(nogil=True, inline="never")
def _shrink(decay, w):  # type: ignore[no-untyped-def]
    """Multiply by the decay of each feature."""
    prefer_wide()
    for k in range(len(w)):
        w[k] *= decay[k]


@njit(nogil=True, inline="never")
def _pack(X, y, order, first, last, tile, pitch, labels):  # type: ignore[no-untyped-def]
    """Copy rows order[first..last-1] side by side, with rows of zeros up to whole groups."""
    p, n = X.shape[1], last - first
    for i in range(n):
        row = order[first + i]
        labels[i] = y[row]
        _copy(X[row], tile[i * pitch : i * pitch + p])
    for i in range(n, -(-n // GROUP) * GROUP):
        tile[i * pitch : i * pitch + p] = _ZERO


@njit(nogil=True, inline="never")
def _decide(tile, n, weight, pitch, width, bias, sums, z):  # type: ignore[no-untyped-def]
    """Write the logits of the first n rows of a tile to z (n, C)."""
    c = len(bias)
    for i in range(0, n, GROUP):
        j = 0
        while j < c:
            if c - j >= 4:
                k = 4
                dots(tile, i * pitch, weight, j * pitch, pitch, width, sums, _FOUR)
            elif c - j >= 2:
                k = 2
                dots(tile, i * pitch, weight, j * pitch, pitch, width, sums, _TWO)
            else:
                k = 1
                dots(tile, i * pitch, weight, j * pitch, pitch, width, sums, _ONE)
            for row in range(min(GROUP, n - i)):
                for column in range(k):
                    z[i + row, j + column] = sums[k * row + column] + bias[j + column]
            j += k


@njit(nogil=True, inline="never")
def _step(tile, n, pitch, width, z, decay, weight, bias):  # type: ignore[no-untyped-def]
    """Add sum_i z_ic x_i to weights that have decayed, and sum_i z_ic to the biases."""
    c = len(bias)
    if len(decay):
        for j in range(c):
            _shrink(decay, weight[j * pitch : j * pitch + len(decay)])
    factors = z.reshape(-1)
    for i in range(0, n, GROUP):
        j = 0
        while j < c:
            at, to = i * pitch, j * pitch
            if c - j >= 4:
                add_rows(factors, i * c + j, c, tile, at, weight, to, pitch, width, _FOUR)
                j += 4
            elif c - j >= 2:
                add_rows(factors, i * c + j, c, tile, at, weight, to, pitch, width, _TWO)
                j += 2
            else:
                add_rows(factors, i * c + j, c, tile, at, weight, to, pitch, width, _ONE)
                j += 1
    for i in range(n):
        for j in range(c):
            bias[j] += z[i, j]


@njit(nogil=True, inline="never")
def _loss(X, y, share, shown, batch, tile, weight, pitch, width, bias, labels, sums, z):  # type: ignore[no-untyped-def]
    """Return the mean cross entropy of the first rows; brings them into the cache on the way."""
    order, loss, whole = np.arange(shown), 0.0, 0.0
    for first in range(0, shown, batch):
        last = min(first + batch, shown)
        _pack(X, y, order, first, last, tile, pitch, labels)
        _decide(tile, last - first, weight, pitch, width, bias, sums, z)
        each = cross_entropy(z[: last - first], labels[: last - first])
        for i in range(last - first):
            counted = np.float64(share[first + i]) if len(share) else 1.0
            loss += counted * each[i]
            whole += counted
    return loss / whole if shown else 0.0


@njit(nogil=True, cache=True)
def descend(params, X, y, share, order, batch, steps, rate, decay, shown, local):  # type: ignore[no-untyped-def]
    """Write to `local` where `steps` steps of -rate lead; return the loss of the first rows.

    Empty `share` and `decay` stand for none.
    """
    m, p = X.shape
    c = len(local) // (p + 1)
    width = -(-p // LANES) * LANES
    # An odd number of cache lines from row to row: else many would share one set.
    pitch = (width // LANES | 1) * LANES
    rows = -(-batch // GROUP) * GROUP
    tile, weight, bias = _zeros(rows, pitch), _zeros(c, pitch), local[c * p :]
    z, sums = np.zeros((rows, c), np.float32), np.empty(LANES, np.float32)
    labels = np.empty(rows, np.int64)
    for j in range(c):
        _copy(params[j * p : (j + 1) * p], weight[j * pitch : j * pitch + p])
    _copy(params[c * p :], bias)
    loss = _loss(X, y, share, shown, batch, tile, weight, pitch, width, bias, labels, sums, z)
    first = 0
    for _ in range(steps):
        n = min(batch, m - first % m)
        _pack(X, y, order, first, first + n, tile, pitch, labels)
        _decide(tile, n, weight, pitch, width, bias, sums, z)
        if len(share):
            total = 0.0
            for i in range(n):
                total += share[order[first + i]]
            residual(z[:n], labels[:n], np.float32(1.0))
            for i in range(n):
                factor = np.float32(rate * share[order[first + i]] / total)
                for j in range(c):
                    z[i, j] *= factor
        else:
            residual(z[:n], labels[:n], np.float32(rate / n))
        z[n:] = _ZERO
        _step(tile, n, pitch, width, z, decay, weight, bias)
        first += n
    for j in range(c):
        _copy(weight[j * pitch : j * pitch + p], local[j * p : (j + 1) * p])
    return loss
