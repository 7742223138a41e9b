"""Checks that several codecs share: of arguments at the door, of numbers from the wire."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.errors import PayloadError, PlanError

__all__ = ["check_bits", "check_block", "check_bucket", "check_choice", "check_density",
           "check_finite"]  # fmt: skip


def check_bits(name: str, bits: Any, first: int, last: int) -> None:
    """Raise PlanError when bits are no integer from first to last."""
    if not isinstance(bits, int) or not first <= bits <= last:
        raise PlanError(f"{name} needs bits from {first} to {last}, got {bits!r}")


def check_bucket(name: str, bucket: Any) -> None:
    """Raise PlanError when a bucket is no positive multiple of 8: packing goes by eights."""
    if not isinstance(bucket, int) or bucket < 8 or bucket % 8:
        raise PlanError(f"{name} needs a bucket that is a multiple of 8, got {bucket!r}")


def check_block(name: str, block: Any) -> None:
    """Raise PlanError when a rotated block is no power of two from 8 to 8192."""
    if not isinstance(block, int) or not 8 <= block <= 8192 or block & (block - 1):
        raise PlanError(f"{name} needs a block that is a power of two, 8 to 8192, got {block!r}")


def check_density(name: str, density: float) -> None:
    """Raise PlanError when a density is not in (0, 1]."""
    if not 0 < density <= 1:
        raise PlanError(f"{name} needs a density in (0, 1], got {density!r}")


def check_choice(name: str, argument: str, value: Any, *allowed: str) -> None:
    """Raise PlanError when a value is none of those allowed."""
    if value not in allowed:
        wanted = " or ".join(repr(choice) for choice in allowed)
        raise PlanError(f"{name} needs {argument} {wanted}, got {value!r}")


def check_finite(name: str, what: str, numbers: NDArray[Any], least: float = -np.inf) -> None:
    """Raise PayloadError when numbers from the wire are NaN, Inf or below `least`."""
    if not (np.isfinite(numbers) & (numbers >= least)).all():
        raise PayloadError(f"{name}: a {what} that is NaN, Inf or out of range")
