"""Stochastic rounding to powers of two: what natural compression and NUQSGD share.

A positive number is rounded to a power of two beside it by one integer addition: with a
dither d on the bits below the exponent, ``(bits + d) >> 23`` is the exponent of the lower power,
or, with the probability that makes the result unbiased, of the upper one. The dither has 16 bits
(the bias is below 2**-17 of the step) and comes from the generator as in `msl_kernels.quantize`.
"""

import numpy as np
from numba import njit

__all__ = [
    "INF",
    "MAGNITUDE",
    "MANTISSA",
    "ONE",
    "TINY",
    "TOP",
    "bits_of",
    "dither_exponent",
    "float_of",
    "power",
]

MAGNITUDE = np.int32(0x7FFFFFFF)
INF = np.int32(0x7F800000)
MANTISSA = np.int32(23)
TOP = np.int32(254)
TINY = np.float32(2.0**-100)
ONE = np.float32(1.0)


@njit(nogil=True, forceinline=True, _nrt=False)
def dither_exponent(half):  # type: ignore[no-untyped-def]
    """Return (half + 1/2) / 65536 of the lowest bit of an exponent."""
    return (np.int32(half) << np.int32(7)) + np.int32(64)


@njit(nogil=True, forceinline=True, _nrt=False)
def bits_of(x):  # type: ignore[no-untyped-def]
    """Return the bits of a float32."""
    return np.float32(x).view(np.int32)


@njit(nogil=True, forceinline=True, _nrt=False)
def float_of(bits):  # type: ignore[no-untyped-def]
    """Return the float32 of these bits."""
    return np.int32(bits).view(np.float32)


@njit(nogil=True, forceinline=True, _nrt=False)
def power(exponent, negative):  # type: ignore[no-untyped-def]
    """Return +-2^(exponent - 127), or +-0 for exponent 0."""
    return float_of((np.int32(exponent) << MANTISSA) | (np.int32(negative) << np.int32(31)))
