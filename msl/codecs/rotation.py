"""Randomised Hadamard rotation before another codec: no coordinate sticks out any more."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector, refuse_non_finite
from msl.codecs.checks import check_block
from msl.codecs.maxmin import MaxMin
from msl.codecs.nested import opened, sealed
from msl.codecs.payload import HEADER_BYTES, REST, Payload
from msl.errors import PlanError
from msl.types import Memory, Vector
from msl_kernels.hadamard import padded_size, rotate, unrotate

__all__ = ["Rotation"]


@dataclass(frozen=True)
class Rotation(Codec):
    """Wraps a codec: blocks of the vector are rotated by H D / sqrt(m) and encoded.

    After a random rotation the coordinates of any block are nearly normal, so that a quantiser's
    range is about sqrt(2 ln m) standard deviations whatever the input (Suresh et al., ICML 2017).
    The key makes the rotation: every source has its own.

    Parameters
    ----------
    codec : Codec
        Encodes the rotated vector; without memory.
    block : int
        Power of two, 8 to 8192; only the last block is padded, to the next power of two.
    """

    codec: Codec = MaxMin()  # noqa: RUF009 - frozen
    block: int = 4096
    name: ClassVar[str] = "rotation"
    wire_id: ClassVar[int | None] = 15
    fields: ClassVar[frozenset[str]] = frozenset({"seed"})

    def __post_init__(self) -> None:
        check_block("rotation", self.block)
        if self.codec.init(8) is not None:
            raise PlanError(
                f"rotation around {self.codec.name}: every key rotates differently, so a memory "
                "makes no sense inside; put the wrapper outside"
            )

    @property
    def use(self) -> str:
        """As the wrapped codec."""
        return "as the wrapped codec"

    @property
    def unbiased(self) -> bool:
        """As the wrapped codec."""
        return self.codec.unbiased

    @property
    def diverges(self) -> bool:
        """As the wrapped codec."""
        return self.codec.diverges

    def omega(self, size: int) -> float | None:
        """As the wrapped codec: a rotation keeps lengths."""
        return self.codec.omega(padded_size(size, self.block))

    def delta(self, size: int) -> float | None:
        """As the wrapped codec: a rotation keeps lengths."""
        return self.codec.delta(padded_size(size, self.block))

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload: the key, and the nested payload of the rotated vector."""
        vector = check_vector(vector)
        refuse_non_finite(vector)
        rotated = rotate(vector, key, self.block)
        if reference is not None:
            reference = rotate(check_vector(reference), key, self.block)
        inner, _ = self.codec.encode(rotated, key=key, reference=reference)
        return Payload(self, len(vector), (sealed([inner]),), seed=key), None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Decode the nested payload by its own codec, and rotate back."""
        (inner,) = opened(payload.buffers[0], [padded_size(payload.size, self.block)])
        if reference is not None:
            reference = rotate(check_vector(reference), payload.seed, self.block)
        rotated = inner.decode(reference=reference)
        decoded: Vector = unrotate(rotated, payload.seed, payload.size, self.block, out)
        return decoded

    def nbytes(self, size: int) -> int | None:
        """32 bytes of header, 8 of length, and the nested payload."""
        inner = self.codec.nbytes(padded_size(size, self.block))
        return None if inner is None else HEADER_BYTES + 8 + inner

    def header(self) -> tuple[int, int]:
        """Return (0, block)."""
        return 0, self.block

    @classmethod
    def from_header(cls, bits: int, bucket: int) -> "Rotation":
        """Return a decoder; the nested payload says what is inside."""
        return cls(block=bucket)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return the nested payload."""
        return [(np.dtype(np.uint8), (REST,))]

    def check(self, payload: Payload) -> None:
        """Open the nested payload."""
        opened(payload.buffers[0], [padded_size(payload.size, self.block)])
