"""Weights as whole numbers: their sums are exact, in whatever order the rows come."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNIT_BITS", "units"]

UNIT_BITS = 29
"""Bits of the largest weight: those that float64 has to spare below the digits of a float32."""


def units(weights: Any, n: int) -> NDArray[np.int64]:
    """Return n weights in units of a power of two, which puts the largest in [2^27, 2^28].

    Equal weights, and integers below 2^28, become exact multiples of one another; what is below
    half a unit, 2^-28 of the largest or less, becomes no weight at all.

    Raises
    ------
    ValueError
        When the weights are not n finite numbers >= 0, or all zero.

    Examples
    --------
    >>> units([0.0, 0.25, 0.5], 3) / 2**27
    array([0. , 0.5, 1. ])
    """
    numbers = np.asarray(weights, np.float64)
    if numbers.shape != (n,):
        raise ValueError(f"{n} rows need weights of shape ({n},), got {numbers.shape}")
    if not (np.isfinite(numbers).all() and (numbers >= 0).all() and numbers.any()):
        raise ValueError("weights must be finite, >= 0 and not all zero")
    _, exponent = np.frexp(numbers.max())
    whole: NDArray[Any] = np.rint(np.ldexp(numbers, UNIT_BITS - 1 - exponent))
    return whole.astype(np.int64)
