"""A sparsifier chooses, a second codec sends the values."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector
from msl.codecs.maxmin import MaxMin
from msl.codecs.nested import opened, sealed
from msl.codecs.payload import HEADER_BYTES, REST, Payload, padded
from msl.codecs.randk import RandK
from msl.codecs.sparsifier import Sparsifier
from msl.codecs.topk import TopK
from msl.errors import PlanError
from msl.types import Memory, Vector
from msl_kernels.sparse import scatter

__all__ = ["Chain"]

_FIRST: dict[int, type[Sparsifier]] = {10: TopK, 11: RandK}


@dataclass(frozen=True)
class Chain(Codec):
    """Positions by the first codec, the values there by the second: top-k at 4 bits, say.

    Only the chosen values pass the second codec, so that zeros stay zeros, whatever it does.

    Parameters
    ----------
    first : Sparsifier
        `topk` or `randk`.
    then : Codec
        Any codec without memory and reference.
    """

    first: Sparsifier = TopK()  # noqa: RUF009 - frozen
    then: Codec = MaxMin()  # noqa: RUF009 - frozen
    name: ClassVar[str] = "chain"
    wire_id: ClassVar[int | None] = 17
    fields: ClassVar[frozenset[str]] = frozenset({"count", "seed"})

    def __post_init__(self) -> None:
        if not isinstance(self.first, Sparsifier):
            raise PlanError(f"chain needs topk or randk first, got {self.first!r}")
        if isinstance(self.then, Sparsifier) or self.then.init(8) is not None:
            raise PlanError(f"chain cannot send values by {self.then!r}: it would need a memory")

    @property
    def use(self) -> str:
        """As the wrapped codec."""
        return "as the wrapped codec"

    @property
    def unbiased(self) -> bool:
        """Whether both are."""
        return self.first.unbiased and self.then.unbiased

    @property
    def diverges(self) -> bool:
        """Whether one of them does."""
        return self.first.diverges or self.then.diverges

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload: where, and the nested payload of the values."""
        vector = check_vector(vector)
        where, _, values, seed = self.first.select(vector, key)
        inner, _ = self.then.encode(values, key=key)
        return Payload(self, len(vector), (*where, sealed([inner])), len(values), seed), None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return the decoded values at their positions, zeros elsewhere."""
        (inner,) = opened(payload.buffers[-1], [payload.count])
        where = self.first.positions(payload)
        decoded: Vector = scatter(where, inner.decode(), payload.size, out)
        return decoded

    def nbytes(self, size: int) -> int | None:
        """32 bytes of header, the positions, 8 bytes of length and the nested payload."""
        count = self.first.count(size)
        inner = None if count is None else self.then.nbytes(count)
        if count is None or inner is None:
            return None
        where = sum(padded(d.itemsize * s[0]) for d, s in self.first.where(size, count))
        return HEADER_BYTES + where + 8 + inner

    def header(self) -> tuple[int, int]:
        """Return (number of the first codec, 0)."""
        return self.first.wire_id or 0, 0

    @classmethod
    def from_header(cls, bits: int, bucket: int) -> "Chain":
        """Return a decoder; the nested payload says how the values came."""
        if bits not in _FIRST:
            raise PlanError(f"chain starts with topk or randk, got codec {bits}")
        return cls(_FIRST[bits]())

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return where, and the nested payload."""
        return [*self.first.where(size, count), (np.dtype(np.uint8), (REST,))]

    def check(self, payload: Payload) -> None:
        """Check the positions and open the nested payload."""
        self.first.check(payload)
        opened(payload.buffers[-1], [payload.count])
