"""The sign of every number and one scale: 32 times less than float32."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.codecs.base import Codec, Shape, check_vector, refuse
from msl.codecs.checks import check_finite
from msl.codecs.cut import slices
from msl.codecs.device import beside, to_host
from msl.codecs.payload import HEADER_BYTES, Payload
from msl.errors import DataError
from msl.types import Memory, Vector
from msl_kernels.quantize import packed_nbytes
from msl_kernels.signs import feed_back, pack, unpack

__all__ = ["Sign"]


@dataclass(frozen=True)
class Sign(Codec):
    """Signs times the mean magnitude; needs error feedback (EF-signSGD).

    Keeps |x|_1^2 / (d |x|_2^2) of |x|^2: 2 / pi = 64 % of a normal vector. Zero counts as +.

    References
    ----------
    Karimireddy, Rebjock, Stich, Jaggi: Error feedback fixes SignSGD. ICML 2019, section 4.
    """

    name: ClassVar[str] = "sign"
    unbiased: ClassVar[bool] = False
    wire_id: ClassVar[int | None] = 8

    def delta(self, size: int) -> float | None:
        """1 / d: the least that a mean magnitude keeps."""
        return 1 / size if size else None

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload: the scale, and a bit per number."""
        vector = check_vector(vector, device=True)
        packed, scale, bad = pack(vector)
        refuse(vector, bad)
        return self._payload(len(vector), packed, scale), None

    def _payload(self, size: int, packed: NDArray[np.uint8], scale: np.float32) -> Payload:
        return Payload(self, size, (np.array([scale], np.float32), to_host(packed)))

    def compensate(
        self,
        vector: Vector,
        residual: Vector,
        memory: Memory,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Vector, Memory]:
        """Encode vector + residual in two passes instead of five."""
        vector, after = check_vector(vector), residual.copy()
        packed, scale, bad = feed_back(vector, after)
        if bad >= 0:
            refuse(vector, bad if not np.isfinite(vector[bad]) else -1)
            raise DataError(f"residual and vector overflow at index {bad}")
        return self._payload(len(vector), packed, scale), after, None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return plus or minus the scale."""
        scale, packed = payload.buffers
        decoded: Vector = unpack(beside(out, packed), scale[0], payload.size, out)
        return decoded

    def run(self, payload: Payload) -> int | None:
        """Return 64: a word of bits, under the scale of all."""
        return 64

    def cut(self, payload: Payload, start: int, stop: int) -> Payload:
        """Return views."""
        return slices(payload, start, stop, (Fraction(0), Fraction(1, 8)))

    def nbytes(self, size: int) -> int:
        """32 bytes of header, 8 for the scale, and a bit per number, padded to 8 bytes."""
        return HEADER_BYTES + 8 + packed_nbytes(size, 1)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return the scale, and the packed signs."""
        return [(np.dtype(np.float32), (1,)), (np.dtype(np.uint8), (packed_nbytes(size, 1),))]

    def check(self, payload: Payload) -> None:
        """Refuse a scale that is negative or no number."""
        check_finite("sign", "scale", payload.buffers[0], 0)
