"""Half precision, scaled so that nothing overflows or vanishes."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector, refuse_non_finite
from msl.codecs.cut import slices
from msl.codecs.payload import HEADER_BYTES, Payload, padded
from msl.errors import PayloadError
from msl.types import Memory, Vector
from msl_kernels.halves import from_float16, to_float16

__all__ = ["Float16"]

_OFFSET = 256
"""Added to the exponent, so that the header's count is positive."""


@dataclass(frozen=True)
class Float16(Codec):
    """16 bits per number: float16 under a power of two that lifts the largest to about 32,000.

    A power of two changes no digit: where float16 itself would neither overflow nor underflow,
    the decoded numbers are those of a plain conversion. No number is off by more than 2^-11 of
    itself, or 2^-40 of the largest.

    Examples
    --------
    >>> import numpy as np
    >>> payload, _ = Float16().encode(np.array([1e-9, 1e9], np.float32))
    >>> payload.nbytes, float(payload.decode()[1])
    (40, 999817216.0)
    """

    name: ClassVar[str] = "float16"
    unbiased: ClassVar[bool] = False
    wire_id: ClassVar[int | None] = 2
    fields: ClassVar[frozenset[str]] = frozenset({"count"})

    @property
    def use(self) -> str:
        """As it is."""
        return "nearly exact"

    def delta(self, size: int) -> float:
        """1 - 2^-22, less what lies 2^-39 below the largest."""
        return 1 - 2.0**-22 - size * 2.0**-78

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload; the header's count holds the exponent of the scale."""
        vector = check_vector(vector)
        refuse_non_finite(vector)
        largest = max(float(vector.max()), -float(vector.min())) if vector.size else 0.0
        exponent = int(np.frexp(largest)[1]) - 15 if largest else 0
        # float32 has no 2^149: a smallest number stays where it is.
        exponent = max(exponent, -126)
        halves = to_float16(vector, 2.0**-exponent)
        return Payload(self, len(vector), (halves,), count=exponent + _OFFSET), None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return the values times the power of two."""
        decoded: Vector = from_float16(payload.buffers[0], 2.0 ** (payload.count - _OFFSET), out)
        return decoded

    def run(self, payload: Payload) -> int | None:
        """Return 1: each by itself, under the scale of all."""
        return 1

    def cut(self, payload: Payload, start: int, stop: int) -> Payload:
        """Return views."""
        return slices(payload, start, stop, (Fraction(1),))

    def nbytes(self, size: int) -> int:
        """32 bytes of header and 2 per number, padded to 8."""
        return HEADER_BYTES + padded(2 * size)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """One buffer: the bits."""
        return [(np.dtype(np.uint16), (size,))]

    def check(self, payload: Payload) -> None:
        """Refuse exponents that no float32 needs."""
        if not -126 <= payload.count - _OFFSET <= 113:
            raise PayloadError(f"float16 with exponent {payload.count - _OFFSET}")
