"""Sums over rows in float64, equal to the bit whatever the number of threads."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.types import Rows, Vector

__all__ = ["combine", "gram"]

# BLAS splits a product over threads, and so changes its bits, only above 2**18 multiply-adds.
_TILE, _PRODUCT = 64, 1 << 18


def combine(shares: NDArray[np.float64], rows: Rows) -> Vector:
    """Return sum_i shares[i] * rows[i]: rows (n, d), summed in float64, rounded once to float32."""
    total: NDArray[Any] = np.einsum("i,ij->j", shares, rows)
    return total.astype(np.float32)


def gram(rows: Rows, centre: Vector) -> NDArray[np.float64]:
    """Return the (n, n) inner products of rows - centre, without a copy of the rows.

    Works through tiles of rows and columns, each below the size at which BLAS starts threads.
    """
    n, d = rows.shape
    tile = min(n, _TILE)
    step = _PRODUCT // tile**2
    found = np.zeros((n, n))
    for start in range(0, d, step):
        block = rows[:, start : start + step].astype(np.float64)
        block -= centre[start : start + step]
        for i in range(0, n, tile):
            for j in range(i, n, tile):
                found[i : i + tile, j : j + tile] += block[i : i + tile] @ block[j : j + tile].T
    upper = np.triu(found)
    return upper + np.triu(upper, 1).T
