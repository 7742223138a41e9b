"""The weighted vote of signs, coordinate by coordinate. CPU only.

A row votes +1 or -1 where it is not zero; the vote of a coordinate is the sum of the weights of
its voters in float64, in the order of the rows, and its result the sign of that sum.
"""

from typing import Any

import numpy as np
from numba import njit

from msl_kernels.parallel import spread

__all__ = ["majority"]

CHUNK = 1024
"""Coordinates whose sums lie in L1 at once."""


@njit(nogil=True, cache=True)
def _majority(rows, weights, first, last, out, agreed, sums):  # type: ignore[no-untyped-def]
    """Vote on coordinates first..last-1, and count how often each row voted with the result."""
    n = len(rows)
    for start in range(first, last, CHUNK):
        stop = min(start + CHUNK, last)
        total, won = sums[: stop - start], out[start:stop]
        total[:] = 0.0
        for i in range(n):
            row, weight = rows[i, start:stop], weights[i]
            for j in range(len(row)):
                total[j] += weight if row[j] > 0 else (-weight if row[j] < 0 else 0.0)
        for j in range(len(won)):
            won[j] = np.float32(1) if total[j] > 0 else np.float32(-1 if total[j] < 0 else 0)
        for i in range(n):
            row, count = rows[i, start:stop], 0
            for j in range(len(row)):
                sign = (row[j] > 0) - (row[j] < 0)
                count += np.float32(sign) == won[j]
            agreed[i] += count


def majority(rows: Any, weights: Any) -> tuple[Any, Any]:
    """Return the signs (d,) float32 that won, and the agreements (n,) int64 of each row.

    Parameters
    ----------
    rows : array of shape (n, d)
        float32, C-contiguous, finite.
    weights : array of shape (n,)
        float64, non-negative.
    """
    n, d = rows.shape
    out = np.empty(d, np.float32)

    def run(first: int, last: int) -> Any:
        agreed = np.zeros(n, np.int64)
        _majority(rows, weights, first, last, out, agreed, np.empty(CHUNK))
        return agreed

    return out, sum(spread(run, d, rows.size))
