"""The contract of a codec: a vector becomes a payload of exactly known size, and comes back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np

from msl.codecs.device import is_float32, is_on_device, to_host
from msl.codecs.payload import Payload
from msl.errors import DataError
from msl.finite import first_non_finite
from msl.types import Layout, Memory, Vector

__all__ = ["Codec", "Shape", "check_vector", "refuse", "refuse_non_finite"]

Shape: TypeAlias = tuple[np.dtype[Any], tuple[int, ...]]
"""Dtype and shape of a buffer."""


class Codec(ABC):
    """Vector <-> payload; a frozen dataclass without state.

    Encoding is a pure function of (vector, memory, key): the same call gives the same bytes.

    A NaN or Inf is refused with its index, by every codec; `pass_through` sends such a vector as
    it is, with a flag, instead.
    """

    name: ClassVar[str]
    wire_id: ClassVar[int | None] = None
    """Number of the codec in a payload's header; None for codecs that send another's payload."""
    fields: ClassVar[frozenset[str]] = frozenset()
    """Header fields this codec gives a meaning to, of "count", "seed" and "flags"."""

    @property
    @abstractmethod
    def unbiased(self) -> bool:
        """Whether the mean of decoded payloads over all keys is the vector; may be a ClassVar."""

    def omega(self, size: int) -> float | None:
        """Return the bound on E|D(C(x)) - x|^2 / |x|^2 of an unbiased codec; None: no bound."""
        return None

    def delta(self, size: int) -> float | None:
        """Return delta of E|D(C(x)) - x|^2 <= (1 - delta) |x|^2 for a biased codec; None: none."""
        return None

    @property
    def diverges(self) -> bool:
        """Whether error feedback around this codec can grow without end (error above |x|)."""
        return False

    @property
    def use(self) -> str:
        """How to use it, in a few words."""
        return "unbiased" if self.unbiased else "needs error_feedback"

    def fit(self, layout: Layout) -> "Codec":
        """Return the codec for vectors of this layout; codecs that see no blocks return self."""
        return self

    def init(self, size: int) -> Memory:
        """Return the memory before the first round; None for a codec that keeps nothing."""
        return None

    def carry(self, memory: Memory, *, age: int = 1, rate: float = 1.0) -> Memory:
        """Return the memory as it counts now.

        Parameters
        ----------
        memory : object
            From the last `encode`.
        age : int
            Rounds since then, >= 1.
        rate : float
            Learning rate of then over that of now, where the receiver multiplies by it.
        """
        return memory

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

    def encode_each(
        self, vectors: Sequence[Vector], memories: Sequence[Memory], keys: Sequence[int]
    ) -> list[tuple[Payload, Memory] | None]:
        """Return what `encode` returns for each of many vectors; None where it raises.

        The vectors are handed over: a payload may hold one as it is.
        """
        found: list[tuple[Payload, Memory] | None] = []
        for vector, memory, key in zip(vectors, memories, keys, strict=True):
            try:
                found.append(self.encode(vector, memory, key=key))
            except Exception:  # whoever encodes that vector alone hears why
                found.append(None)
        return found

    @abstractmethod
    def decode(
        self,
        payload: Payload,
        *,
        reference: Vector | None = None,
        out: Vector | None = None,
    ) -> Vector:
        """Return the (d,) float32 vector, written to `out` when given; leaves the payload as is."""

    def view(self, payload: Payload) -> Vector:
        """Return the decoded vector, read-only: where it lies in the payload, without a copy."""
        decoded = self.decode(payload)
        decoded.flags.writeable = False
        return decoded

    def run(self, payload: Payload) -> int | None:
        """Return a number of neighbours that are encoded by themselves.

        A payload can be cut at the multiples of it; None where it decodes as a whole only.
        """
        return None

    def cut(self, payload: Payload, start: int, stop: int) -> Payload:
        """Return the payload of numbers start..stop - 1: multiples of the run, or the end."""
        raise NotImplementedError(f"payloads of {self.name} decode as a whole")

    def compensate(
        self,
        vector: Vector,
        residual: Vector,
        memory: Memory,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Vector, Memory]:
        """Encode vector + residual; return payload, new residual and memory.

        What error feedback needs of a codec, here for one that can fuse the steps.
        """
        wanted = vector + residual
        payload, memory = self.encode(wanted, memory, key=key, reference=reference)
        # wanted is ours: turn it into the new residual in place.
        wanted -= self.decode(payload, reference=reference)
        return payload, wanted, memory

    @abstractmethod
    def nbytes(self, size: int) -> int | None:
        """Return the exact bytes of a payload of `size` numbers; None when the data decide."""

    def header(self) -> tuple[int, int]:
        """Return (bits, bucket) for the payload's header, 0 where it has no meaning."""
        return (0, 0)

    @classmethod
    def from_header(cls, bits: int, bucket: int) -> "Codec":
        """Return a codec that decodes payloads with this header."""
        return cls()

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return dtype and shape of each buffer; the last may have the length `REST`.

        Only codecs with a `wire_id` are asked.
        """
        raise NotImplementedError(self.name)

    def check(self, payload: Payload) -> None:
        """Raise PayloadError when buffers of the right shapes hold what cannot be decoded."""


def check_vector(vector: Any, device: bool = False) -> Vector:
    """Return a contiguous float32 view or copy of a 1-D vector.

    Parameters
    ----------
    vector : array of shape (d,)
        Any float dtype; NumPy, or anything with ``__cuda_array_interface__``.
    device : bool
        Whether the codec works on a GPU: a float32 vector there then stays where it is.

    Raises
    ------
    DataError
        When it is not one-dimensional.
    """
    if len(vector.shape) != 1:
        raise DataError(f"a codec needs a vector of shape (d,), got shape {tuple(vector.shape)}")
    if device and is_on_device(vector) and is_float32(vector):
        found: Vector = vector
        return found
    return np.ascontiguousarray(to_host(vector), dtype=np.float32)


def refuse(vector: Vector, index: int) -> None:
    """Raise DataError for the number at `index`, when it is one: kernels say -1 for none."""
    if index >= 0:
        raise DataError(f"cannot encode: {float(vector[index])} at index {index}")


def refuse_non_finite(vector: Vector) -> None:
    """Raise DataError that names the first NaN or Inf."""
    refuse(vector, first_non_finite(vector))
