"""Blocks of a vector, each in the payload of some codec: what layer-wise codecs send."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.codecs.base import Codec, Shape
from msl.codecs.nested import opened, sealed
from msl.codecs.payload import HEADER_BYTES, REST, Payload, padded
from msl.errors import PayloadError
from msl.types import Memory, Vector

__all__ = ["Parts", "bits_of_blocks", "blocks_of", "gathered", "part_key", "parts_nbytes"]


def blocks_of(lengths: Sequence[int]) -> list[slice]:
    """Return the slices of blocks that lie one after another."""
    edges = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).tolist()
    return [slice(a, b) for a, b in pairwise(edges)]


def gathered(vector: Vector, blocks: Sequence[slice]) -> Vector:
    """Return blocks side by side: a view when they are neighbours, else a copy."""
    if all(a.stop == b.start for a, b in pairwise(blocks)):
        return vector[blocks[0].start : blocks[-1].stop]
    return np.concatenate([vector[block] for block in blocks])


def bits_of_blocks(payload: Payload) -> NDArray[np.float64]:
    """Return the bits per number of every block of a payload of parts, headers included."""
    lengths, part = _table(payload)
    view, start, bits = payload.buffers[1].data, 0, []
    while start < len(view):
        nbytes = int.from_bytes(view[start : start + 8], "little")
        bits.append(8 * (8 + nbytes))
        start += 8 + nbytes
    numbers = np.bincount(part, lengths, len(bits))
    each: NDArray[np.float64] = (np.array(bits) / np.maximum(numbers, 1))[part]
    return each


def part_key(key: int, number: int) -> int:
    """Return the key of part `number`: parts must not share their random numbers."""
    return (key + 0x9E3779B97F4A7C15 * number) % 2**64


def parts_nbytes(n_blocks: int, inner: Sequence[int]) -> int:
    """Return the bytes of a payload of blocks and nested payloads of these bytes."""
    return HEADER_BYTES + padded(8 * n_blocks) + sum(8 + nbytes for nbytes in inner)


@dataclass(frozen=True)
class Parts(Codec):
    """Decodes what `layerwise` and `adaptive` send.

    A table of (length, part) per block in the order of the vector, 8 bytes each, then the nested
    payloads: number p holds the blocks with part p, side by side. The receiver needs to know
    nothing of the layers or of how they were chosen.
    """

    name: ClassVar[str] = "parts"
    unbiased: ClassVar[bool] = False
    wire_id: ClassVar[int | None] = 16
    fields: ClassVar[frozenset[str]] = frozenset({"count"})

    @staticmethod
    def join(lengths: Sequence[int], part: Sequence[int], payloads: Sequence[Payload]) -> Payload:
        """Return the payload of blocks with these lengths and part numbers."""
        table = np.array([lengths, part], np.uint32).T.copy()
        return Payload(Parts(), sum(lengths), (table, sealed(payloads)), count=len(lengths))

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Raise: parts are made by the codec that chose them."""
        raise NotImplementedError("use layerwise or adaptive to encode")

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Decode every part by its own codec, each block to its place."""
        out = np.empty(payload.size, np.float32) if out is None else out
        for blocks, inner in _opened(payload):
            known = None if reference is None else gathered(reference, blocks)
            target = gathered(out, blocks)
            inner.decode(reference=known, out=target)
            if not np.may_share_memory(target, out):
                start = 0
                for block in blocks:
                    stop = start + block.stop - block.start
                    out[block] = target[start:stop]
                    start = stop
        return out

    def nbytes(self, size: int) -> None:
        """Return None: the sender decides."""

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return the table, and the nested payloads."""
        return [(np.dtype(np.uint32), (count, 2)), (np.dtype(np.uint8), (REST,))]

    def check(self, payload: Payload) -> None:
        """Check that the blocks make up the vector and the parts their blocks."""
        lengths, part = _table(payload)
        if int(lengths.sum()) != payload.size:
            raise PayloadError(f"parts of {int(lengths.sum())} numbers for {payload.size}")
        # By the numbers there are: a largest one that was made up must not cost memory.
        found = np.unique(part)
        if not np.array_equal(found, np.arange(len(found))):
            raise PayloadError("parts are not numbered from 0 without a gap")
        _opened(payload)


def _table(payload: Payload) -> tuple[NDArray[Any], NDArray[Any]]:
    lengths, part = payload.buffers[0].astype(np.int64).T
    return lengths, part


def _opened(payload: Payload) -> list[tuple[list[slice], Payload]]:
    """Return the blocks of every part, and its nested payload."""
    lengths, part = _table(payload)
    places: list[list[slice]] = [[] for _ in range(int(part.max(initial=-1)) + 1)]
    sizes = [0] * len(places)
    for block, number in zip(blocks_of(lengths.tolist()), part.tolist(), strict=True):
        places[number].append(block)
        sizes[number] += block.stop - block.start
    return list(zip(places, opened(payload.buffers[1], sizes), strict=True))
