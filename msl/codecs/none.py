"""No compression: float32 as it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector, refuse_non_finite
from msl.codecs.cut import slices
from msl.codecs.payload import HEADER_BYTES, Payload, padded
from msl.errors import PayloadError
from msl.finite import first_non_finite
from msl.types import Memory, Vector

__all__ = ["NON_FINITE", "Identity"]

NON_FINITE = 1
"""Flag of a payload that holds NaN or Inf, and means it."""

_ALIGNED = 16
"""What malloc gives, and NumPy with it."""


@dataclass(frozen=True)
class Identity(Codec):
    """float32 unchanged: 32 bits per coordinate, exact."""

    name: ClassVar[str] = "none"
    unbiased: ClassVar[bool] = True
    wire_id: ClassVar[int | None] = 0
    fields: ClassVar[frozenset[str]] = frozenset({"flags"})

    @property
    def use(self) -> str:
        """As it is."""
        return "exact"

    def omega(self, size: int) -> float:
        """0: nothing is lost."""
        return 0.0

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return a payload with a copy of the vector, so that the caller may reuse it.

        A vector that owns its memory and is read-only will not be written to: it is taken itself.
        """
        vector = check_vector(vector)
        refuse_non_finite(vector)
        kept = vector if _is_settled(vector) else vector.copy()
        return Payload(self, len(vector), (kept,)), None

    def lend(self, vector: Vector) -> Payload:
        """Return the payload of a finite vector that nobody will write to, without a copy."""
        lent = vector.view()
        lent.flags.writeable = False
        return Payload(self, len(vector), (lent,))

    def view(self, payload: Payload) -> Vector:
        """Return the values where they lie, unless that is where no allocation of ours would be.

        Sums depend on it to the bit: vector instructions begin at multiples of their width.
        """
        values = payload.buffers[0]
        aligned = values.ctypes.data % _ALIGNED == 0
        return self.lend(values if aligned else values.copy()).buffers[0]

    def encode_each(
        self, vectors: Sequence[Vector], memories: Sequence[Memory], keys: Sequence[int]
    ) -> list[tuple[Payload, Memory] | None]:
        """Return payloads that hold the vectors themselves; None for NaN or Inf."""
        whole = [check_vector(vector) for vector in vectors]
        return [
            (Payload(self, len(vector), (vector,)), None) if np.isfinite(vector).all() else None
            for vector in whole
        ]

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return a copy of the values."""
        if out is None:
            return np.array(payload.buffers[0])
        out[:] = payload.buffers[0]
        return out

    def run(self, payload: Payload) -> int | None:
        """Return 1: each by itself."""
        return 1

    def cut(self, payload: Payload, start: int, stop: int) -> Payload:
        """Return views."""
        return slices(payload, start, stop, (Fraction(1),))

    def nbytes(self, size: int) -> int:
        """32 bytes of header and 4 per number, padded to 8."""
        return HEADER_BYTES + padded(4 * size)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """One buffer: the values."""
        return [(np.dtype(np.float32), (size,))]

    def check(self, payload: Payload) -> None:
        """Refuse NaN and Inf that are not announced."""
        if payload.flags not in (0, NON_FINITE):
            raise PayloadError(f"none never writes flags {payload.flags}")
        if not payload.flags and first_non_finite(payload.buffers[0]) >= 0:
            raise PayloadError("none holds NaN or Inf without saying so")


def _is_settled(vector: Vector) -> bool:
    """Return whether nobody can write to a vector, not even by another view of its memory."""
    # A dtype that came by a pickle is equal to ours and another object: NumPy makes a view then.
    owner = vector if vector.base is None else vector.base
    frozen = isinstance(owner, np.ndarray) and owner.flags.owndata and not owner.flags.writeable
    return frozen and not vector.flags.writeable
