"""One bit per number and two means per bucket."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector, refuse
from msl.codecs.checks import check_bucket, check_finite
from msl.codecs.device import beside, to_host
from msl.codecs.payload import HEADER_BYTES, Payload
from msl.types import Memory, Vector
from msl_kernels.quantize import n_buckets, packed_nbytes
from msl_kernels.signs import pack_means, unpack_means

__all__ = ["OneBit"]


@dataclass(frozen=True)
class OneBit(Codec):
    """The mean of a bucket's negative numbers, or of the others; needs error feedback.

    Parameters
    ----------
    bucket : int
        Numbers that share two means; a positive multiple of 8.

    References
    ----------
    Seide, Fu, Droppo, Li, Yu: 1-bit stochastic gradient descent. Interspeech 2014.
    """

    bucket: int = 512
    name: ClassVar[str] = "onebit"
    unbiased: ClassVar[bool] = False
    wire_id: ClassVar[int | None] = 9

    def __post_init__(self) -> None:
        check_bucket("onebit", self.bucket)

    def delta(self, size: int) -> float | None:
        """1 / B: the least that the means keep."""
        return 1 / min(size, self.bucket) if size else None

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload: means, and a bit per number."""
        vector = check_vector(vector, device=True)
        means, packed, bad = pack_means(vector, self.bucket)
        refuse(vector, bad)
        return Payload(self, len(vector), (to_host(means), to_host(packed))), None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return the means."""
        _, bucket = payload.codec.header()
        means, packed = (beside(out, buffer) for buffer in payload.buffers)
        decoded: Vector = unpack_means(means, packed, payload.size, bucket, out)
        return decoded

    def nbytes(self, size: int) -> int:
        """32 bytes of header, 8 per bucket, and a bit per number, padded to 8 bytes."""
        return HEADER_BYTES + 8 * n_buckets(size, self.bucket) + packed_nbytes(size, 1)

    def header(self) -> tuple[int, int]:
        """Return (0, bucket)."""
        return 0, self.bucket

    @classmethod
    def from_header(cls, bits: int, bucket: int) -> "OneBit":
        """Return the codec."""
        return cls(bucket)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return pairs of means, and the packed signs."""
        return [
            (np.dtype(np.float32), (n_buckets(size, self.bucket), 2)),
            (np.dtype(np.uint8), (packed_nbytes(size, 1),)),
        ]

    def check(self, payload: Payload) -> None:
        """Refuse means that are no numbers."""
        check_finite("onebit", "mean", payload.buffers[0])
