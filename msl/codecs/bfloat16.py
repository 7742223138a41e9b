"""The upper half of float32."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector, refuse_non_finite
from msl.codecs.cut import slices
from msl.codecs.payload import HEADER_BYTES, Payload, padded
from msl.types import Memory, Vector
from msl_kernels.halves import from_bfloat16, to_bfloat16

__all__ = ["BFloat16"]


@dataclass(frozen=True)
class BFloat16(Codec):
    """16 bits per number: float32 without its lower half, 8 digits, any magnitude.

    No number is off by more than 2^-8 of itself. Numbers past 3.39e38 become the largest there is,
    not Inf.
    """

    name: ClassVar[str] = "bfloat16"
    unbiased: ClassVar[bool] = False
    wire_id: ClassVar[int | None] = 3

    @property
    def use(self) -> str:
        """As it is."""
        return "nearly exact"

    def delta(self, size: int) -> float:
        """1 - 2^-16."""
        return 1 - 2.0**-16

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload, rounded to nearest even."""
        vector = check_vector(vector)
        refuse_non_finite(vector)
        return Payload(self, len(vector), (to_bfloat16(vector),)), None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return the values."""
        decoded: Vector = from_bfloat16(payload.buffers[0], out)
        return decoded

    def run(self, payload: Payload) -> int | None:
        """Return 1: each by itself."""
        return 1

    def cut(self, payload: Payload, start: int, stop: int) -> Payload:
        """Return views."""
        return slices(payload, start, stop, (Fraction(1),))

    def nbytes(self, size: int) -> int:
        """32 bytes of header and 2 per number, padded to 8."""
        return HEADER_BYTES + padded(2 * size)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """One buffer: the upper halves."""
        return [(np.dtype(np.uint16), (size,))]
