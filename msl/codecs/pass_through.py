"""A vector with NaN or Inf travels as it is, marked, instead of being refused."""

from dataclasses import dataclass
from typing import ClassVar

from msl.codecs.base import Codec, check_vector
from msl.codecs.none import NON_FINITE, Identity
from msl.codecs.payload import Payload
from msl.finite import first_non_finite
from msl.types import Layout, Memory, Vector

__all__ = ["PassThrough"]


@dataclass(frozen=True)
class PassThrough(Codec):
    """Wraps a codec; a vector with NaN or Inf is sent uncompressed and flagged.

    The receiver sees exactly what was sent and may drop it. The memory of the wrapped codec stays
    as it was: a residual must not take up a NaN.

    Parameters
    ----------
    codec : Codec
        For all other vectors.
    """

    codec: Codec
    name: ClassVar[str] = "pass_through"

    @property
    def unbiased(self) -> bool:
        """As the wrapped codec."""
        return self.codec.unbiased

    def fit(self, layout: Layout) -> "PassThrough":
        """Fit the wrapped codec."""
        return PassThrough(self.codec.fit(layout))

    def init(self, size: int) -> Memory:
        """Return the wrapped codec's memory."""
        return self.codec.init(size)

    def carry(self, memory: Memory, *, age: int = 1, rate: float = 1.0) -> Memory:
        """Carry the wrapped codec's memory."""
        return self.codec.carry(memory, age=age, rate=rate)

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Encode by the wrapped codec, or copy."""
        vector = check_vector(vector)
        if first_non_finite(vector) < 0:
            return self.codec.encode(vector, memory, key=key, reference=reference)
        return Payload(Identity(), len(vector), (vector.copy(),), flags=NON_FINITE), memory

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Decode by the codec that encoded."""
        return payload.codec.decode(payload, reference=reference, out=out)

    def nbytes(self, size: int) -> None:
        """Return None: the data decide."""
