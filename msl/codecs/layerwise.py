"""Every large layer by itself; what is small or sensitive uncompressed and together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from math import prod
from typing import ClassVar

from msl.codecs.base import Codec, check_vector, refuse_non_finite
from msl.codecs.maxmin import MaxMin
from msl.codecs.none import Identity
from msl.codecs.parts import Parts, blocks_of, gathered, part_key, parts_nbytes
from msl.codecs.payload import Payload
from msl.errors import DataError, PlanError
from msl.types import Layout, Memory, Vector

__all__ = ["LayerWise", "is_raw"]


def is_raw(name: str, shape: tuple[int, ...], small: int, raw: Sequence[str]) -> bool:
    """Return whether CGX's filter sends a block uncompressed: vectors, small ones, named ones."""
    return len(shape) < 2 or prod(shape) < small or any(fnmatch(name, p) for p in raw)


@dataclass(frozen=True)
class LayerWise(Codec):
    """Wraps a codec: layers are encoded one by one, with biases, norms and small ones raw.

    Quantisers lose most where a bucket mixes layers of different scale, and little is saved on
    vectors of a few numbers (CGX: Markov et al., Middleware 2022). All raw blocks travel as one
    part. Blocks come from the model's layout; without one, the vector is one block.

    Parameters
    ----------
    codec : Codec
        Encodes each of the other blocks; memories are kept per block.
    small : int
        Blocks below this many numbers are raw.
    raw : sequence of str
        Patterns of block names (``*`` and ``?``) that are raw as well.
    layout : Layout, optional
        The blocks; set by a run from its model.
    """

    codec: Codec = MaxMin()  # noqa: RUF009 - frozen
    small: int = 1024
    raw: tuple[str, ...] = ()
    layout: Layout | None = None
    name: ClassVar[str] = "layerwise"

    def __post_init__(self) -> None:
        if not isinstance(self.small, int) or self.small < 0:
            raise PlanError(f"layerwise needs small >= 0, got {self.small!r}")
        if isinstance(self.raw, str) or not all(isinstance(p, str) for p in self.raw):
            raise PlanError(f"layerwise needs a list of name patterns as raw, got {self.raw!r}")
        object.__setattr__(self, "raw", tuple(self.raw))

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
        """Bound of the wrapped codec on the whole vector: no block has a larger one."""
        return self.codec.omega(size)

    def fit(self, layout: Layout) -> "LayerWise":
        """Return the codec for these blocks."""
        return replace(self, layout=layout)

    def _blocks(self, size: int) -> tuple[list[int], list[bool]]:
        """Return the lengths of the blocks, and which are raw."""
        if self.layout is None:
            return [size], [size < self.small]
        if self.layout.size != size:
            raise DataError(f"layerwise for {self.layout.size} numbers got {size}")
        lengths = [prod(shape) for _, shape in self.layout.blocks]
        return lengths, [is_raw(n, s, self.small, self.raw) for n, s in self.layout.blocks]

    def init(self, size: int) -> Memory:
        """Return a memory per encoded block."""
        lengths, raw = self._blocks(size)
        return tuple(self.codec.init(n) for n, skip in zip(lengths, raw, strict=True) if not skip)

    def carry(self, memory: Memory, *, age: int = 1, rate: float = 1.0) -> Memory:
        """Carry the memory of every block."""
        return tuple(self.codec.carry(m, age=age, rate=rate) for m in memory)

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return one payload of all blocks; the raw ones are its first part."""
        vector = check_vector(vector)
        lengths, raw = self._blocks(len(vector))
        memories = iter(self.init(len(vector)) if memory is None else memory)
        blocks = blocks_of(lengths)
        skipped = [block for block, skip in zip(blocks, raw, strict=True) if skip]
        payloads, part, kept = [], [], []
        if skipped:
            payloads.append(_encode(Identity(), vector, skipped, None, 0, None)[0])
        for block, skip in zip(blocks, raw, strict=True):
            part.append(0 if skip else len(payloads))
            if not skip:
                mixed = part_key(key, len(payloads))
                payload, memory = _encode(
                    self.codec, vector, [block], next(memories), mixed, reference
                )
                payloads.append(payload)
                kept.append(memory)
        return Parts.join(lengths, part, payloads), tuple(kept)

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Decode every part."""
        return payload.codec.decode(payload, reference=reference, out=out)

    def nbytes(self, size: int) -> int | None:
        """32 bytes of header, 8 per block, and 8 and its bytes per part."""
        lengths, raw = self._blocks(size)
        inner = [self.codec.nbytes(n) for n, skip in zip(lengths, raw, strict=True) if not skip]
        if any(raw):
            skipped = sum(n for n, skip in zip(lengths, raw, strict=True) if skip)
            inner.append(Identity().nbytes(skipped))
        known = [n for n in inner if n is not None]
        return parts_nbytes(len(lengths), known) if len(known) == len(inner) else None


def _encode(
    codec: Codec,
    vector: Vector,
    blocks: Sequence[slice],
    memory: Memory,
    key: int,
    reference: Vector | None,
) -> tuple[Payload, Memory]:
    """Encode some blocks as one vector; an index in an error is that of the whole vector."""
    known = None if reference is None else gathered(reference, blocks)
    try:
        return codec.encode(gathered(vector, blocks), memory, key=key, reference=known)
    except DataError:
        refuse_non_finite(vector)
        raise
