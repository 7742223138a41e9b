"""TernGrad: minus, zero or plus the largest magnitude, at random."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector, refuse
from msl.codecs.checks import check_finite
from msl.codecs.payload import HEADER_BYTES, Payload
from msl.errors import PlanError
from msl.types import Memory, Vector
from msl_kernels.quantize import packed_nbytes
from msl_kernels.ternary import largest_and_power, ternarize, unternarize

__all__ = ["TernGrad"]


@dataclass(frozen=True)
class TernGrad(Codec):
    """2 bits per number: scale * sign(x) with probability |x| / scale, else 0.

    The scale is the largest magnitude, but no more than `clip` root mean squares (the paper's
    standard deviation, of gradients with mean zero): unbiased for the clipped vector.

    Parameters
    ----------
    clip : float, optional
        In root mean squares, > 0; no clipping, and unbiased, when left out by ``null``.

    References
    ----------
    Wen, Xu, Yan, Wu, Wang, Chen, Li: TernGrad. NIPS 2017, equations 1 and 10.
    """

    clip: float | None = 2.5
    name: ClassVar[str] = "terngrad"
    wire_id: ClassVar[int | None] = 7

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip > 0:
            raise PlanError(f"terngrad needs clip > 0 or none, got {self.clip!r}")

    @property
    def unbiased(self) -> bool:
        """Whether nothing is clipped."""
        return self.clip is None

    def omega(self, size: int) -> float | None:
        """sqrt(d) - 1 without clipping: m |x|_1 / |x|_2^2 - 1 at its largest."""
        return max(0.0, size**0.5 - 1) if self.clip is None else None

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload: the scale, and 2 bits per number."""
        vector = check_vector(vector)
        scale, power, bad = largest_and_power(vector)
        refuse(vector, bad)
        if self.clip is not None and len(vector):
            scale = min(scale, self.clip * (power / len(vector)) ** 0.5)
        packed = ternarize(vector, scale, key)
        return Payload(self, len(vector), (np.array([scale], np.float32), packed)), None

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return minus the scale, zero, or the scale."""
        scale, packed = payload.buffers
        decoded: Vector = unternarize(packed, scale[0], payload.size, out)
        return decoded

    def nbytes(self, size: int) -> int:
        """32 bytes of header, 8 for the scale, and 2 bits per number, padded to 8 bytes."""
        return HEADER_BYTES + 8 + packed_nbytes(size, 2)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return the scale, and the packed fields."""
        return [(np.dtype(np.float32), (1,)), (np.dtype(np.uint8), (packed_nbytes(size, 2),))]

    def check(self, payload: Payload) -> None:
        """Refuse a scale that is negative or no number."""
        check_finite("terngrad", "scale", payload.buffers[0], 0)
