"""Mini-batch SGD of a softmax model on the CPU, source by source, with one model in cache."""

import numpy as np
from numba import carray, njit

from msl_kernels.simd import prefer_wide
from msl_kernels.softmax import cross_entropy, residual
from msl_kernels.softmax_sgd.lanes import GROUP, LANES, add_rows, dots, fold_sums, pointer

__all__ = ["FACTS", "descend"]

FACTS = 8
"""Whole numbers that say all of a source: addresses of its rows X, labels, weights (0: none) and
order; its rows, rows per step, steps, and rows on which the loss is stated."""

_FOUR, _TWO, _ONE = (0,) * 4, (0,) * 2, (0,)
_ZERO = np.float32(0.0)
_TILE = 16
"""Rows whose sums are in the making at once."""
_COLUMNS = 400
"""Columns of some rows and of the weights that stay in the first cache: 22 rows take 35 kB."""
_AHEAD = 1 << 20
"""Bytes of the next source that are brought near while one is at work."""


@njit(nogil=True, inline="never")
def _zeros(count):  # type: ignore[no-untyped-def]
    """Return zeros that begin with a cache line."""
    raw = np.zeros(count + LANES, np.float32)
    skip = (-(raw.ctypes.data // 4)) % LANES
    return raw[skip : skip + count]


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
def _find(X, order, first, n, p, tile, pitch, blank, at):  # type: ignore[no-untyped-def]
    """Write where rows order[first..first+n-1] lie to `at`, and blank ones up to whole groups.

    Rows of whole vectors are read where they are, others as copies with zeros at their ends.
    """
    for i in range(n):
        row = order[first + i]
        if p % LANES == 0:
            at[i] = X.ctypes.data + 4 * p * row
        else:
            at[i] = tile.ctypes.data + 4 * pitch * i
            _copy(X[row * p : (row + 1) * p], tile[i * pitch : i * pitch + p])
    for i in range(n, -(-n // GROUP) * GROUP):
        at[i] = blank


@njit(nogil=True, inline="never")
def _decide(at, n, weight, pitch, width, bias, sums, z, ahead):  # type: ignore[no-untyped-def]
    """Write the logits of n rows to z (n, C), flat; `ahead` says what to bring near, and how far.

    All rows of a tile pass over some columns of the weights before the next columns do.
    """
    c = len(bias)
    for top in range(0, n, _TILE):
        rows = min(_TILE, n - top)
        sums[: -(-rows // GROUP) * GROUP * c * LANES] = _ZERO
        for first in range(0, width, _COLUMNS):
            columns = min(_COLUMNS, width - first)
            for i in range(0, rows, GROUP):
                j = 0
                while j < c:
                    to, w, row, near = i * c + j, j * pitch + first, top + i, ahead[0]
                    if near < ahead[1]:
                        ahead[0] += columns // LANES * ahead[2]
                    else:
                        near = weight.ctypes.data
                    fetch = near, ahead[2]
                    if c - j >= 4:
                        dots(at, row, first, weight, w, pitch, columns, sums, to, c, fetch, _FOUR)
                        j += 4
                    elif c - j >= 2:
                        dots(at, row, first, weight, w, pitch, columns, sums, to, c, fetch, _TWO)
                        j += 2
                    else:
                        dots(at, row, first, weight, w, pitch, columns, sums, to, c, fetch, _ONE)
                        j += 1
        for k in range(0, rows * c, LANES):
            fold_sums(sums, k, z, top * c + k)
    for i in range(n):
        for j in range(c):
            z[i * c + j] += bias[j]


@njit(nogil=True, inline="never")
def _step(at, n, pitch, width, z, decay, weight, bias):  # type: ignore[no-untyped-def]
    """Add sum_i z_ic x_i to weights that have decayed, and sum_i z_ic to the biases."""
    c = len(bias)
    if len(decay):
        for j in range(c):
            _shrink(decay, weight[j * pitch : j * pitch + len(decay)])
    for first in range(0, width, _COLUMNS):
        columns = min(_COLUMNS, width - first)
        for i in range(0, n, GROUP):
            j = 0
            while j < c:
                to = j * pitch + first
                if c - j >= 4:
                    add_rows(z, i * c + j, c, at, i, first, weight, to, pitch, columns, _FOUR)
                    j += 4
                elif c - j >= 2:
                    add_rows(z, i * c + j, c, at, i, first, weight, to, pitch, columns, _TWO)
                    j += 2
                else:
                    add_rows(z, i * c + j, c, at, i, first, weight, to, pitch, columns, _ONE)
                    j += 1
    for i in range(n):
        for j in range(c):
            bias[j] += z[i * c + j]


@njit(nogil=True, inline="never")
def _leave(params, weight, bias, p, pitch, moved, to):  # type: ignore[no-untyped-def]
    """Write the model, or by how much it moved, to a row; return whether all of it is finite."""
    prefer_wide()
    c, finite = len(bias), True
    for j in range(c + 1):
        local = weight[j * pitch : j * pitch + p] if j < c else bias
        for k in range(len(local)):
            at = j * p + k
            value = local[k] - params[at] if moved else local[k]
            to[at] = value
            finite &= abs(value) < np.float32(np.inf)
    return finite


@njit(nogil=True, inline="never")
def _look_ahead(now, then, p, width, c, ahead):  # type: ignore[no-untyped-def]
    """Spread the rows of the next source over the products of this one: from, to, bytes a vector.

    In one burst they would hold up the rows of this one.
    """
    groups = -(-now[7] // GROUP) + -(-now[5] // GROUP) * now[6]
    vectors = groups * (c // 4 + (c % 4 + 1) // 2) * (width // LANES)
    size = min(4 * p * then[4], _AHEAD)
    ahead[0], ahead[1] = then[0], then[0] + size
    ahead[2] = min(-(-size // max(vectors, 1)), 4 * LANES)


@njit(nogil=True, inline="never")
def _fit(y, classes):  # type: ignore[no-untyped-def]
    """Return whether all labels are class numbers."""
    fit = True
    for i in range(len(y)):
        fit &= 0 <= y[i] < classes
    return fit


@njit(nogil=True, inline="never")
def _weigh(z, c, order, first, n, share, rate):  # type: ignore[no-untyped-def]
    """Multiply the residuals z (n, C), flat, by the rows' shares of the rate."""
    total = 0.0
    for i in range(n):
        total += share[order[first + i]]
    for i in range(n):
        factor = np.float32(rate * share[order[first + i]] / total)
        for j in range(c):
            z[i * c + j] *= factor


@njit(nogil=True, cache=True)
def descend(origin, d, facts, in_order, batch, p, rate, decay, moved, found, losses, fine):  # type: ignore[no-untyped-def]
    """Write to `found` where the steps of -rate of each source end, from the model at `origin`.

    Row k of `facts` is about source k, see `FACTS`; `batch` is the largest of theirs, `in_order`
    counts up to the most rows shown; empty `decay` stands for none. `fine` says where labels are
    in range and all numbers finite; other rows of `found` are good for nothing.
    """
    c = d // (p + 1)
    width = -(-p // LANES) * LANES
    # An odd number of cache lines from row to row: else many would share one set.
    pitch = (width // LANES | 1) * LANES
    rows = -(-max(batch, _TILE) // GROUP) * GROUP
    params = carray(pointer(origin), d, np.float32)
    tile = _zeros(rows * pitch if p % LANES else 0)
    # One row more than classes: a blank one, to fill up groups.
    weight, bias = _zeros((c + 1) * pitch), _zeros(c)
    blank = weight.ctypes.data + 4 * pitch * c
    z, sums = _zeros(rows * c + LANES), _zeros((_TILE * c + LANES) * LANES)
    at, labels, ahead = np.empty(rows, np.int64), np.empty(rows, np.int64), np.zeros(3, np.int64)
    for k in range(len(facts)):
        m, batch, steps, shown = facts[k, 4], facts[k, 5], facts[k, 6], facts[k, 7]
        X = carray(pointer(facts[k, 0]), m * p, np.float32)
        y = carray(pointer(facts[k, 1]), m, np.int64)
        share = carray(pointer(facts[k, 2]), m if facts[k, 2] else 0, np.float32)
        order = carray(pointer(facts[k, 3]), steps * batch, np.int64)
        fine[k] = _fit(y, max(c, 2))
        if not fine[k]:
            continue
        if k + 1 < len(facts):
            _look_ahead(facts[k], facts[k + 1], p, width, c, ahead)
        for j in range(c):
            _copy(params[j * p : (j + 1) * p], weight[j * pitch : j * pitch + p])
            # What another source left here may be no number.
            weight[j * pitch + p : (j + 1) * pitch] = _ZERO
        _copy(params[c * p :], bias)
        loss, whole = 0.0, 0.0
        for first in range(0, shown, _TILE):
            n = min(_TILE, shown - first)
            _find(X, in_order, first, n, p, tile, pitch, blank, at)
            _decide(at, n, weight, pitch, width, bias, sums, z, ahead)
            each = cross_entropy(z[: n * c].reshape(n, c), y[first : first + n])
            for i in range(n):
                counted = np.float64(share[first + i]) if len(share) else 1.0
                loss += counted * each[i]
                whole += counted
        losses[k] = loss / whole if shown else 0.0
        epoch = -(-m // batch)
        for step in range(steps):
            first = step // epoch * m + step % epoch * batch
            n = min(batch, m - first % m)
            _find(X, order, first, n, p, tile, pitch, blank, at)
            _decide(at, n, weight, pitch, width, bias, sums, z, ahead)
            for i in range(n):
                labels[i] = y[order[first + i]]
            scale = np.float32(1.0) if len(share) else np.float32(rate / n)
            residual(z[: n * c].reshape(n, c), labels[:n], scale)
            if len(share):
                _weigh(z, c, order, first, n, share, rate)
            z[n * c : -(-n // GROUP) * GROUP * c] = _ZERO
            _step(at, n, pitch, width, z, decay, weight, bias)
        fine[k] = _leave(params, weight, bias, p, pitch, moved, found[k])
