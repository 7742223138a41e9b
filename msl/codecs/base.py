"""The contract of a codec: a vector becomes a payload of exactly known size, and comes back."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.codecs.payload import Payload
from msl.errors import DataError
from msl.types import Memory, Vector

__all__ = ["Codec", "check_vector"]


class Codec(ABC):
    """Vector <-> payload; a frozen dataclass without state.

    Encoding is a pure function of (vector, memory, key): the same call gives the same bytes.
    """

    name: ClassVar[str]
    wire_id: ClassVar[int | None] = None
    """Number of the codec in a payload's header; None for wrappers, which send their inner's."""

    @property
    @abstractmethod
    def unbiased(self) -> bool:
        """Whether the mean of decoded payloads over all keys is the vector; may be a ClassVar."""

    def init(self, size: int) -> Memory:
        """Return the memory before the first round; None for a codec that keeps nothing."""
        return None

    @abstractmethod
    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload of a (d,) float32 vector, and the memory for the next round.

        Raises
        ------
        DataError
            When the vector is not 1-D or holds NaN or Inf; names the first index.
        """

    @abstractmethod
    def decode(
        self,
        payload: Payload,
        *,
        reference: Vector | None = None,
        out: Vector | None = None,
    ) -> Vector:
        """Return the (d,) float32 vector, written to `out` when given; leaves the payload as is."""

    @abstractmethod
    def nbytes(self, size: int) -> int | None:
        """Return the exact bytes of a payload of `size` numbers; None when the data decide."""

    def header(self) -> tuple[int, int]:
        """Return (bits, bucket) for the payload's header, 0 where it has no meaning."""
        return (0, 0)

    @classmethod
    def from_header(cls, bits: int, bucket: int) -> "Codec":  # noqa: ARG003
        """Return a codec that decodes payloads with this header."""
        return cls()

    @abstractmethod
    def buffers(self, size: int) -> list[tuple[np.dtype[Any], tuple[int, ...]]]:
        """Return dtype and shape of each buffer of a payload of `size` numbers."""


def check_vector(vector: NDArray[Any]) -> Vector:
    """Return a contiguous float32 view or copy of a 1-D vector.

    Raises
    ------
    DataError
        When it is not one-dimensional.
    """
    if vector.ndim != 1:
        raise DataError(f"a codec needs a vector of shape (d,), got shape {vector.shape}")
    return np.ascontiguousarray(vector, dtype=np.float32)
