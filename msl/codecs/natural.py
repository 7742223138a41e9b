"""Natural compression: every number becomes one of its two neighbouring powers of two."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector, refuse
from msl.codecs.payload import HEADER_BYTES, Payload, padded
from msl.errors import PayloadError
from msl.types import Memory, Vector
from msl_kernels.natural import natural, unnatural

__all__ = ["Natural"]


@dataclass(frozen=True)
class Natural(Codec):
    """Sign and exponent, 9 bits for any magnitude; unbiased, and never loses more than 1/8.

    References
    ----------
    Horvath, Ho, Horvath, Sahu, Canini, Richtarik: Natural compression for distributed deep
    learning. MSML 2022, Theorem 1.
    """

    name: ClassVar[str] = "natural"
    unbiased: ClassVar[bool] = True
    wire_id: ClassVar[int | None] = 6

    def omega(self, size: int) -> float:
        """1/8."""
        return 1 / 8

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload; the key makes the roundings."""
        vector = check_vector(vector)
        exponents, signs, bad = natural(vector, key)
        refuse(vector, bad)
        return Payload(self, len(vector), (exponents, signs)), None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return the powers of two."""
        exponents, signs = payload.buffers
        decoded: Vector = unnatural(exponents, signs, payload.size, out)
        return decoded

    def nbytes(self, size: int) -> int:
        """32 bytes of header, a byte and a bit per number."""
        return HEADER_BYTES + padded(size) + padded(-(-size // 8))

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return exponents, and packed signs."""
        octets = np.dtype(np.uint8)
        return [(octets, (size,)), (octets, (padded(-(-size // 8)),))]

    def check(self, payload: Payload) -> None:
        """Refuse the exponent of Inf and NaN."""
        if (payload.buffers[0] == 255).any():
            raise PayloadError("natural holds an exponent that no number has")
