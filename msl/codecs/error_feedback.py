"""Error feedback: what a codec loses in one round is added to the next (Seide et al. 2014)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from msl.codecs.base import Codec, check_vector
from msl.codecs.payload import Payload
from msl.types import Memory, Vector

__all__ = ["ErrorFeedback"]


@dataclass(frozen=True)
class ErrorFeedback(Codec):
    """Wraps a codec; the memory is (residual, memory of the wrapped codec).

    With a = x + e the receivers see y = D(C(a)) and the sender keeps e' = a - y, so that over
    the rounds sum(y) + e = sum(x) (Karimireddy et al., ICML 2019, Algorithm 2).
    """

    codec: Codec
    name: ClassVar[str] = "error_feedback"
    unbiased: ClassVar[bool] = False

    def init(self, size: int) -> Memory:
        """Return a zero residual and the wrapped codec's own memory."""
        return np.zeros(size, np.float32), self.codec.init(size)

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Encode vector + residual; a missing memory counts as a zero residual."""
        residual, inner = self.init(vector.size) if memory is None else memory
        wanted = check_vector(vector) + residual
        payload, inner = self.codec.encode(wanted, inner, key=key, reference=reference)
        # wanted is ours: turn it into the new residual in place.
        wanted -= self.codec.decode(payload, reference=reference)
        return payload, (wanted, inner)

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Decode by the wrapped codec."""
        return self.codec.decode(payload, reference=reference, out=out)

    def nbytes(self, size: int) -> int | None:
        """Bytes of the wrapped codec; the residual stays at home."""
        return self.codec.nbytes(size)

    def buffers(self, size: int) -> list[tuple[np.dtype[Any], tuple[int, ...]]]:
        """Buffers of the wrapped codec."""
        return self.codec.buffers(size)
