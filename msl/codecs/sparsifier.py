"""What sparsifiers share: some numbers are sent as they are, the others not at all."""

from abc import abstractmethod
from math import ceil
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.codecs.base import Codec, Shape, check_vector
from msl.codecs.device import beside, to_host
from msl.codecs.payload import HEADER_BYTES, Payload, padded
from msl.types import Memory, Vector
from msl_kernels.sparse import scatter

__all__ = ["Sparsifier", "kept_of"]


def kept_of(size: int, density: float) -> int:
    """Return how many of `size` numbers are kept: the density rounded up, at least one of any."""
    return min(size, max(1, ceil(density * size - 1e-9))) if size else 0


class Sparsifier(Codec):
    """A codec that sends values at positions; `chain` may send the values by another codec."""

    on_device: ClassVar[bool] = False
    """Whether `select` takes vectors on a GPU."""

    @abstractmethod
    def select(
        self, vector: Vector, key: int
    ) -> tuple[tuple[NDArray[Any], ...], NDArray[np.uint32], Vector, int]:
        """Return buffers that say where, the positions, the values there, and the seed."""

    @abstractmethod
    def where(self, size: int, count: int) -> list[Shape]:
        """Return the shapes of the buffers that say where."""

    @abstractmethod
    def positions(self, payload: Payload) -> NDArray[np.uint32]:
        """Return the ascending positions of a payload, or raise PayloadError."""

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload: positions and values."""
        vector = check_vector(vector, device=self.on_device)
        where, _, values, seed = self.select(vector, key)
        buffers = tuple(to_host(buffer) for buffer in (*where, values))
        return Payload(self, len(vector), buffers, len(values), seed), None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return the values at their positions, zeros elsewhere."""
        where, values = beside(out, self.positions(payload)), beside(out, payload.buffers[-1])
        decoded: Vector = scatter(where, values, payload.size, out)
        return decoded

    @abstractmethod
    def count(self, size: int) -> int | None:
        """Return how many of `size` numbers are sent; None when the data decide."""

    def nbytes(self, size: int) -> int | None:
        """32 bytes of header, the positions and the values."""
        count = self.count(size)
        if count is None:
            return None
        shapes = self.buffers(size, count)
        return HEADER_BYTES + sum(padded(d.itemsize * shape[0]) for d, shape in shapes)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return where, and the values."""
        return [*self.where(size, count), (np.dtype(np.float32), (count,))]
