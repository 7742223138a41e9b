"""PowerSGD: every layer as the product of two thin matrices, found by one power iteration."""

from dataclasses import dataclass, replace
from math import isqrt, prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.codecs.base import Codec, Shape, check_vector, refuse_non_finite
from msl.codecs.checks import check_finite
from msl.codecs.parts import blocks_of
from msl.codecs.payload import HEADER_BYTES, REST, Payload, padded
from msl.errors import DataError, PayloadError, PlanError
from msl.types import Layout, Memory, Vector

__all__ = ["PowerSgd"]


@dataclass(frozen=True)
class PowerSgd(Codec):
    """Rank-r factors of each layer, 32 r (n + m) bits instead of 32 n m; needs error feedback.

    A layer M (first dimension n, the rest m) is sent as P = orth(M Q) and Q' = M^T P, and comes
    back as P Q'^T; Q' starts the next round (warm start), so that the iteration goes on over the
    rounds. P is a projection: no error is larger than the layer. Vectors, and layers that would
    save less than `least`, are sent as they are. Blocks come from the model's layout; without
    one, the vector is folded into a square.

    Parameters
    ----------
    rank : int
        1 to 255.
    least : float
        Layers with n m <= least * r (n + m) are raw; >= 1.
    layout : Layout, optional
        The blocks; set by a run from its model.

    References
    ----------
    Vogels, Karimireddy, Jaggi: PowerSGD: practical low-rank gradient compression for distributed
    optimization. NeurIPS 2019, Algorithm 1 (residual kept locally).
    """

    rank: int = 2
    least: float = 2.0
    layout: Layout | None = None
    name: ClassVar[str] = "powersgd"
    unbiased: ClassVar[bool] = False
    wire_id: ClassVar[int | None] = 12
    fields: ClassVar[frozenset[str]] = frozenset({"count"})

    def __post_init__(self) -> None:
        if not isinstance(self.rank, int) or not 1 <= self.rank <= 255:
            raise PlanError(f"powersgd needs a rank from 1 to 255, got {self.rank!r}")
        if not self.least >= 1:
            raise PlanError(f"powersgd needs least >= 1, got {self.least!r}")

    def fit(self, layout: Layout) -> "PowerSgd":
        """Return the codec for these blocks."""
        return replace(self, layout=layout)

    def _matrices(self, size: int) -> list[tuple[int, int]]:
        """Return (n, m) of every block; (length, 0) where it is raw."""
        if self.layout is None:
            side = isqrt(max(size - 1, 0)) + 1
            shapes = [(side, -(-size // side))]
        elif self.layout.size != size:
            raise DataError(f"powersgd for {self.layout.size} numbers got {size}")
        else:
            shapes = [(s[0], prod(s[1:])) if len(s) > 1 else (prod(s), 0)
                      for _, s in self.layout.blocks]  # fmt: skip
        lengths = [size] if self.layout is None else [n * (m or 1) for n, m in shapes]
        return [
            (n, m) if n * m > self.least * self.rank * (n + m) else (length, 0)
            for (n, m), length in zip(shapes, lengths, strict=True)
        ]

    def init(self, size: int) -> Memory:
        """Return the first Q of every layer: normals that all sources share."""
        return tuple(
            np.random.Generator(np.random.Philox(key=i)).standard_normal(
                (m, min(self.rank, n, m)), np.float32
            )
            for i, (n, m) in enumerate(self._matrices(size))
        )

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the factors, and the Q's for the next round."""
        vector = check_vector(vector)
        refuse_non_finite(vector)
        matrices = self._matrices(len(vector))
        memory = self.init(len(vector)) if memory is None else memory
        factors, kept = [], []
        blocks = blocks_of(_lengths(matrices, len(vector)))
        for (n, m), block, q in zip(matrices, blocks, memory, strict=True):
            if m == 0:
                factors.append(vector[block])
                kept.append(q)
                continue
            matrix = _folded(vector[block], n, m)
            p, _ = np.linalg.qr(matrix @ q)
            after = matrix.T @ p
            factors += [p.reshape(-1), after.reshape(-1)]
            # A zero layer says nothing about directions.
            kept.append(after if after.any() else q)
        table = np.array(matrices, np.uint32).reshape(-1, 2)
        values = np.concatenate([*factors, np.zeros(sum(map(len, factors)) % 2, np.float32)])
        return Payload(self, len(vector), (table, values), count=len(table)), tuple(kept)

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return the products."""
        out = np.empty(payload.size, np.float32) if out is None else out
        values, start = payload.buffers[1], 0
        matrices = _table(payload)
        for (n, m), block in zip(
            matrices, blocks_of(_lengths(matrices, payload.size)), strict=True
        ):
            if m == 0:
                out[block] = values[start : start + n]
                start += n
                continue
            r = min(payload.codec.header()[0], n, m)
            p = values[start : start + n * r].reshape(n, r)
            q = values[start + n * r : start + (n + m) * r].reshape(m, r)
            out[block] = (p @ q.T).reshape(-1)[: block.stop - block.start]
            start += (n + m) * r
        return out

    def nbytes(self, size: int) -> int:
        """32 bytes of header, 8 per block, and 4 per number of a factor or a raw block."""
        matrices = self._matrices(size)
        values = sum(_numbers(n, m, self.rank) for n, m in matrices)
        return HEADER_BYTES + 8 * len(matrices) + padded(4 * values)

    def header(self) -> tuple[int, int]:
        """Return (rank, 0)."""
        return self.rank, 0

    @classmethod
    def from_header(cls, bits: int, bucket: int) -> "PowerSgd":
        """Return a decoder; the table says the shapes."""
        return cls(bits)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return the table of (n, m), and all factors one after another."""
        return [(np.dtype(np.uint32), (count, 2)), (np.dtype(np.float32), (REST,))]

    def check(self, payload: Payload) -> None:
        """Check that the shapes make up the vector, and the numbers the factors."""
        matrices = _table(payload)
        covered = sum(n * (m or 1) for n, m in matrices)
        folded = len(matrices) == 1 and 0 <= covered - payload.size < max(1, matrices[0][0])
        if not (covered == payload.size or folded):
            raise PayloadError(f"powersgd layers of {covered} numbers for {payload.size}")
        needed = sum(_numbers(n, m, self.rank) for n, m in matrices)
        if len(payload.buffers[1]) != needed + needed % 2:
            raise PayloadError(f"powersgd needs {needed} numbers, got {len(payload.buffers[1])}")
        check_finite("powersgd", "number", payload.buffers[1])


def _numbers(n: int, m: int, rank: int) -> int:
    """Return how many numbers a block takes."""
    return (n + m) * min(rank, n, m) if m else n


def _table(payload: Payload) -> list[tuple[int, int]]:
    return [(n, m) for n, m in payload.buffers[0].tolist()]


def _lengths(matrices: list[tuple[int, int]], size: int) -> list[int]:
    """Return the lengths of the blocks; a single one may be folded, with padding."""
    return [size] if len(matrices) == 1 else [n * (m or 1) for n, m in matrices]


def _folded(block: Vector, n: int, m: int) -> NDArray[Any]:
    """Return the block as a matrix, zeros where it is too short."""
    if len(block) < n * m:
        block = np.concatenate([block, np.zeros(n * m - len(block), np.float32)])
    return block.reshape(n, m)
