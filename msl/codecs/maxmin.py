"""Bucketed min-max quantiser of CGX: b-bit levels between the extremes of each bucket."""

from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import ClassVar, Literal

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector, refuse
from msl.codecs.checks import check_bits, check_bucket, check_choice
from msl.codecs.cut import slices
from msl.codecs.device import beside, to_host
from msl.codecs.payload import HEADER_BYTES, Payload
from msl.types import Memory, Vector
from msl_kernels.quantize import dequantize, n_buckets, packed_nbytes, quantize

__all__ = ["MaxMin"]


@dataclass(frozen=True)
class MaxMin(Codec):
    """b bits per number and two float32 per bucket; 4 bits are 7.76 times less than float32.

    A bucket with extremes lo and hi has unit = (hi - lo) / (2^b - 1); x travels as the level
    floor((x - lo) / unit + r) and returns as lo + unit * level, so no number is off by more than
    a unit (half a unit when rounded to nearest), and a constant bucket is exact. Zero is not a
    level of its own: sparse vectors come back slightly off zero.

    Parameters
    ----------
    bits : int
        Bits per number, 2 to 8.
    bucket : int
        Numbers that share their extremes; a positive multiple of 8.
    rounding : {"nearest", "stochastic"}
        r = 1/2, or r uniform in [0, 1) drawn from the key: unbiased, with about twice the mean
        squared error. Decoding does not depend on it.

    References
    ----------
    Markov, Ramezanikebrya, Alistarh: CGX: adaptive system support for communication-efficient
    deep learning. Middleware 2022.

    Examples
    --------
    >>> import numpy as np
    >>> payload, _ = MaxMin(bits=2).encode(np.array([0.0, 1.0, 2.2, 3.0], np.float32))
    >>> payload.decode(), payload.nbytes
    (array([0., 1., 2., 3.], dtype=float32), 48)
    """

    bits: int = 4
    bucket: int = 512
    rounding: Literal["nearest", "stochastic"] = "nearest"
    name: ClassVar[str] = "maxmin"
    wire_id: ClassVar[int | None] = 1

    def __post_init__(self) -> None:
        check_bits("maxmin", self.bits, 2, 8)
        check_bucket("maxmin", self.bucket)
        check_choice("maxmin", "rounding", self.rounding, "nearest", "stochastic")

    @property
    def unbiased(self) -> bool:
        """Whether the rounding is stochastic."""
        return self.rounding == "stochastic"

    @property
    def use(self) -> str:
        """Nearest rounding has half the error; its bias counts with few bits."""
        return "unbiased" if self.unbiased else "error_feedback below 4 bits"

    def omega(self, size: int) -> float | None:
        """B / 2 (2^b - 1)^2: the range of a bucket is at most sqrt(2) |x|."""
        return self._loss(size) if self.unbiased else None

    def delta(self, size: int) -> float | None:
        """1 less the same bound, where that is positive."""
        loss = self._loss(size)
        return 1 - loss if not self.unbiased and loss < 1 else None

    def _loss(self, size: int) -> float:
        top: int = 2**self.bits - 1
        return min(self.bucket, size) / (2 * top * top)

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload; the key matters for stochastic rounding only.

        Raises
        ------
        DataError
            When the vector is not 1-D, or a bucket has no finite range; names the first index.
        """
        vector = check_vector(vector, device=True)
        dither = key if self.rounding == "stochastic" else None
        meta, packed, bad = quantize(vector, self.bits, self.bucket, dither)
        refuse(vector, bad)
        return Payload(self, len(vector), (to_host(meta), to_host(packed))), None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return lo + unit * level."""
        meta, packed = (beside(out, buffer) for buffer in payload.buffers)
        decoded: Vector = dequantize(meta, packed, payload.size, self.bits, self.bucket, out)
        return decoded

    def run(self, payload: Payload) -> int | None:
        """Return the least that is whole buckets, and whole words of 64 levels."""
        return lcm(self.bucket, 64)

    def cut(self, payload: Payload, start: int, stop: int) -> Payload:
        """Return views."""
        return slices(payload, start, stop, (Fraction(1, self.bucket), Fraction(self.bits, 8)))

    def nbytes(self, size: int) -> int:
        """32 bytes of header, 8 per bucket, and the levels padded to 8."""
        return HEADER_BYTES + 8 * n_buckets(size, self.bucket) + packed_nbytes(size, self.bits)

    def header(self) -> tuple[int, int]:
        """Return (bits, bucket)."""
        return self.bits, self.bucket

    @classmethod
    def from_header(cls, bits: int, bucket: int) -> "MaxMin":
        """Return a decoder, rounding to nearest: the header does not say how it was rounded."""
        return cls(bits, bucket)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Two buffers: pairs (unit, lo) and packed levels."""
        return [
            (np.dtype(np.float32), (n_buckets(size, self.bucket), 2)),
            (np.dtype(np.uint8), (packed_nbytes(size, self.bits),)),
        ]
