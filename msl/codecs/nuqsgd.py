"""NUQSGD: magnitude levels at powers of two, fine near zero where gradients are."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector, refuse
from msl.codecs.checks import check_bucket, check_finite
from msl.codecs.payload import HEADER_BYTES, Payload, padded
from msl.errors import PlanError
from msl.types import Memory, Vector
from msl_kernels.nonuniform import from_nonuniform, nonuniform
from msl_kernels.quantize import n_buckets, packed_nbytes

__all__ = ["NuQsgd"]


@dataclass(frozen=True)
class NuQsgd(Codec):
    """Levels 0, 2^-s, ..., 1/2, 1 of the Euclidean norm of each bucket, rounded at random.

    Loses at most 1/8 + 2^(-2s-2) B of |x|^2 for buckets B < 2^(2s+1), without the sqrt(B) of
    uniform levels.

    Parameters
    ----------
    levels : int
        s, 1 to 30: the smallest level is 2^-s. Takes ceil(log2(s + 2)) + 1 bits per number.
    bucket : int
        Numbers that share a norm; a positive multiple of 8.

    References
    ----------
    Ramezani-Kebrya, Faghri, Markov, Aksenov, Alistarh, Roy: NUQSGD. JMLR 22, 2021, Theorem 4.
    """

    levels: int = 6
    bucket: int = 512
    name: ClassVar[str] = "nuqsgd"
    unbiased: ClassVar[bool] = True
    wire_id: ClassVar[int | None] = 5

    def __post_init__(self) -> None:
        if not isinstance(self.levels, int) or not 1 <= self.levels <= 30:
            raise PlanError(f"nuqsgd needs levels from 1 to 30, got {self.levels!r}")
        check_bucket("nuqsgd", self.bucket)

    @property
    def bits(self) -> int:
        """Bits per number, with sign."""
        return (self.levels + 1).bit_length() + 1

    def omega(self, size: int) -> float:
        """Return the bound of Theorem 4."""
        b, s = min(self.bucket, size), self.levels
        if b < 2 ** (2 * s + 1):
            return 1 / 8 + 2.0 ** (-2 * s - 2) * b
        return float(2.0**-s * b**0.5 - 7 / 8)

    @property
    def diverges(self) -> bool:
        """Where the bound is 1 or more."""
        return self.omega(self.bucket) >= 1

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload; the key makes the roundings."""
        vector = check_vector(vector)
        norms, packed, bad = nonuniform(vector, self.levels, self.bucket, key)
        refuse(vector, bad)
        return Payload(self, len(vector), (norms, packed)), None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return norm * sign * level."""
        s, bucket = payload.codec.header()
        norms, packed = payload.buffers
        decoded: Vector = from_nonuniform(norms, packed, payload.size, s, bucket, out)
        return decoded

    def nbytes(self, size: int) -> int:
        """32 bytes of header, 4 per bucket, and the packed levels."""
        norms = padded(4 * n_buckets(size, self.bucket))
        return HEADER_BYTES + norms + packed_nbytes(size, self.bits)

    def header(self) -> tuple[int, int]:
        """Return (levels, bucket)."""
        return self.levels, self.bucket

    @classmethod
    def from_header(cls, bits: int, bucket: int) -> "NuQsgd":
        """Return the codec."""
        return cls(bits, bucket)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return norms, and packed levels."""
        return [
            (np.dtype(np.float32), (n_buckets(size, self.bucket),)),
            (np.dtype(np.uint8), (packed_nbytes(size, self.bits),)),
        ]

    def check(self, payload: Payload) -> None:
        """Refuse norms that are negative or no numbers."""
        check_finite("nuqsgd", "norm", payload.buffers[0], 0)
