"""No compression: float32 as it is."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from msl.codecs.base import Codec, check_vector
from msl.codecs.payload import HEADER_BYTES, Payload, padded
from msl.errors import DataError
from msl.types import Memory, Vector

__all__ = ["Identity"]


@dataclass(frozen=True)
class Identity(Codec):
    """float32 unchanged: 32 bits per coordinate, exact."""

    name: ClassVar[str] = "none"
    unbiased: ClassVar[bool] = True
    wire_id: ClassVar[int | None] = 0

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return a payload with a copy of the vector, so that the caller may reuse it."""
        vector = check_vector(vector)
        finite = np.isfinite(vector)
        if not finite.all():
            first = int(np.argmin(finite))
            raise DataError(f"cannot encode: {vector[first]} at index {first}")
        return Payload(self, len(vector), (vector.copy(),)), None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return a copy of the values."""
        if out is None:
            return np.array(payload.buffers[0])
        out[:] = payload.buffers[0]
        return out

    def nbytes(self, size: int) -> int:
        """32 bytes of header and 4 per number, padded to 8."""
        return HEADER_BYTES + padded(4 * size)

    def buffers(self, size: int) -> list[tuple[np.dtype[Any], tuple[int, ...]]]:
        """One buffer: the values."""
        return [(np.dtype(np.float32), (size,))]
