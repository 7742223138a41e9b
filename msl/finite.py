"""Whether numbers are finite, looked at in pieces: no bool for every number of a model is kept."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["finite_rows", "first_non_finite"]

_PIECE = 1 << 20
"""Numbers looked at together; they and their bools stay in the cache."""


def first_non_finite(vector: NDArray[Any]) -> int:
    """Return the index of the first NaN or Inf of a vector (d,), -1 when there is none."""
    for start in range(0, len(vector), _PIECE):
        finite = np.isfinite(vector[start : start + _PIECE])
        if not finite.all():
            return start + int(np.argmin(finite))
    return -1


def finite_rows(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows (n, d) hold neither NaN nor Inf, as (n,) bool."""
    n, d = rows.shape
    found, step = np.ones(n, np.bool_), max(1024, _PIECE // max(n, 1))
    for start in range(0, d, step):
        found &= np.isfinite(rows[:, start : start + step]).all(axis=1)
    return found
