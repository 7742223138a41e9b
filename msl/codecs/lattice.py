"""The cubic lattice: error by distance to a reference, not by the length of the vector."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector, refuse, refuse_non_finite
from msl.codecs.checks import check_block, check_finite
from msl.codecs.payload import HEADER_BYTES, Payload
from msl.errors import DataError, PayloadError, PlanError
from msl.types import Memory, Vector
from msl_kernels.hadamard import padded_size, rotate, unrotate
from msl_kernels.lattice import decode, encode
from msl_kernels.quantize import packed_nbytes

__all__ = ["Lattice", "deliver"]

ROTATION_KEY = 0x4D534C
"""All ends rotate alike, in every round: an old distance then says something about the next."""
_SAFE = 1 + 1e-6
"""Room for the rounding of x / s where a number lies exactly at the radius."""


@dataclass(frozen=True)
class Lattice(Codec):
    """Points of s Z^d, dithered, coloured modulo q = 2^bits; the receiver's reference decides.

    The sender rounds x / s - u to integers z (u a dither both ends draw from the key) and sends
    z mod q. The receiver takes the point of that colour next to its reference: the right one as
    long as no coordinate of x lies further from it than the radius (q - 1) s / 2. The error is
    uniform within s / 2, unbiased, and does not grow with |x|. A checksum of z tells a wrong
    point; `deliver` then repeats with twice the bits.

    The radius is the largest coordinate of x - reference, times `margin`; or the memory, when
    `track` keeps one; or given. A run passes no reference: then it is zero, which for a
    difference of models means the model that the source started from.

    Parameters
    ----------
    bits : int
        Of a colour: 1 to 8, or 16.
    radius : float, optional
        > 0; measured or tracked when left out.
    margin : float
        >= 1; above 1 when the receiver's reference is only near the sender's.
    rotated : bool
        Whether blocks are rotated first, for differences with a few large coordinates (RLQSGD;
        False is LQSGD).
    block : int
        Numbers rotated together, a power of two, 8 to 8192.

    References
    ----------
    Davies, Gurunathan, Moshrefi, Ashkboos, Alistarh: New bounds for distributed mean estimation
    and variance reduction. ICLR 2021, sections 4, 6 and 9.

    Examples
    --------
    >>> import numpy as np
    >>> x, near = np.array([1000.0, 2000.0], np.float32), np.array([1000.5, 1999.0], np.float32)
    >>> payload, _ = Lattice(bits=8).encode(x, key=1, reference=near)
    >>> bool(np.abs(payload.decode(reference=near) - x).max() < 0.005)
    True
    """

    bits: int = 4
    radius: float | None = None
    margin: float = 1.0
    rotated: bool = False
    block: int = 4096
    name: ClassVar[str] = "lattice"
    unbiased: ClassVar[bool] = True
    wire_id: ClassVar[int | None] = 14
    fields: ClassVar[frozenset[str]] = frozenset({"count", "seed", "flags"})

    def __post_init__(self) -> None:
        if self.bits not in (*range(1, 9), 16):
            raise PlanError(f"lattice needs bits from 1 to 8, or 16, got {self.bits!r}")
        if self.radius is not None and not self.radius > 0:
            raise PlanError(f"lattice needs a radius > 0 or none, got {self.radius!r}")
        if not self.margin >= 1:
            raise PlanError(f"lattice needs a margin >= 1, got {self.margin!r}")
        check_block("lattice", self.block)

    @property
    def diverges(self) -> bool:
        """One bit loses more than a normal vector has."""
        return self.bits == 1

    def omega(self, size: int) -> float | None:
        """Return d s^2 / 12 = d / 3 (q - 1)^2, for a measured radius around zero, not rotated."""
        if self.radius is not None or self.rotated:
            return None
        reach = self.margin * _SAFE / (2.0**self.bits - 1)
        return size * reach**2 / 3

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload; the memory is a tracked radius, or None.

        Raises
        ------
        DataError
            Also when a number is more than 2^51 sides from zero: subtract a common offset.
        """
        vector = check_vector(vector)
        refuse_non_finite(vector)
        points = self._points(vector)
        radius = memory if self.radius is None else self.radius
        if radius is None:
            radius = _distance(points, None if reference is None else self._points(reference))
            radius *= self.margin
        side = 2 * radius * _SAFE / (2**self.bits - 1)
        return self._at(vector, points, side, key), memory

    def _points(self, vector: Vector) -> Vector:
        """Return the vector in the space of the lattice."""
        vector = check_vector(vector)
        return rotate(vector, ROTATION_KEY, self.block) if self.rotated else vector

    def _at(self, vector: Vector, points: Vector, side: float, key: int) -> Payload:
        """Return the payload on a lattice of this side."""
        checksum, packed = 0, np.zeros(packed_nbytes(len(points), self.bits), np.uint8)
        if side > 0:
            packed, checksum, bad = encode(points, side, self.bits, key)
            if bad >= 0:
                refuse(vector, bad if not self.rotated and not np.isfinite(vector[bad]) else -1)
                raise DataError(
                    f"lattice of side {side:g}: the number at index {bad} is too many sides from "
                    "zero; subtract a common offset first"
                )
        return Payload(
            self, len(vector), (np.array([side]), packed), checksum, key, int(self.rotated)
        )

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return the points of these colours next to the reference (zeros by default).

        Raises
        ------
        PayloadError
            When the checksum says that the reference was too far.
        """
        bits, block = payload.codec.header()
        side, rotated = float(payload.buffers[0][0]), bool(payload.flags)
        near = (
            None if reference is None else Lattice(rotated=rotated, block=block)._points(reference)
        )
        length = padded_size(payload.size, block) if rotated else payload.size
        target = None if rotated else out
        if side == 0:
            points = np.zeros(length, np.float32) if target is None else target
            points[:] = 0 if near is None else near
        else:
            points, checksum = decode(
                payload.buffers[1], near, side, length, bits, payload.seed, target
            )
            if checksum != payload.count:
                raise PayloadError(
                    "lattice: the checksum differs, so the reference is further than the radius "
                    f"{side * (2**bits - 1) / 2:g} (or bytes changed on the way); encode again "
                    "with more bits, or use deliver"
                )
        if not rotated:
            return points
        decoded: Vector = unrotate(points, ROTATION_KEY, payload.size, block, out)
        return decoded

    def track(
        self, payload: Payload, ours: Vector, theirs: Vector, *, factor: float = 1.5
    ) -> float:
        """Return the radius for the next round, from two decoded vectors that both ends know.

        The observed distance holds up to a side of noise, which is taken off; a tenth of the last
        radius stays, so that a chance agreement does not end in a wrong point (section 9).
        """
        side = float(payload.buffers[0][0])
        observed = _distance(self._points(ours), self._points(theirs))
        last = side * (2.0 ** payload.codec.header()[0] - 1) / 2
        return max(factor * observed - side, factor * side, last / 10)

    def escalated(self) -> "Lattice":
        """Return the codec with twice the bits (16 after 5 to 8): q^2 colours, q + 1 times as far.

        Raises
        ------
        PayloadError
            At 16 bits.
        """
        if self.bits == 16:
            raise PayloadError("lattice: the reference is too far even for 16 bits")
        return replace(self, bits=2 * self.bits if self.bits <= 4 else 16)

    def nbytes(self, size: int) -> int:
        """32 bytes of header, 8 for the side, and the colours, padded to 8 bytes."""
        length = padded_size(size, self.block) if self.rotated else size
        return HEADER_BYTES + 8 + packed_nbytes(length, self.bits)

    def header(self) -> tuple[int, int]:
        """Return (bits, block)."""
        return self.bits, self.block

    @classmethod
    def from_header(cls, bits: int, bucket: int) -> "Lattice":
        """Return a decoder."""
        return cls(bits, block=bucket)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return the side, and the packed colours."""
        if flags not in (0, 1):
            raise PayloadError(f"lattice never writes flags {flags}")
        length = padded_size(size, self.block) if flags else size
        return [
            (np.dtype(np.float64), (1,)),
            (np.dtype(np.uint8), (packed_nbytes(length, self.bits),)),
        ]

    def check(self, payload: Payload) -> None:
        """Refuse a side that is negative or no number."""
        check_finite("lattice", "side", payload.buffers[0], 0)


def _distance(points: Vector, reference: Vector | None) -> float:
    """Return the largest difference of a coordinate."""
    if not len(points):
        return 0.0
    gap = points if reference is None else np.subtract(points, reference, dtype=np.float64)
    return max(float(gap.max()), -float(gap.min()))


def deliver(
    codec: Lattice, vector: Vector, reference: Vector, *, memory: Memory = None, key: int = 0
) -> tuple[Vector, tuple[Payload, ...]]:
    """Send a vector to a receiver with this reference; return what it decodes, and all payloads.

    Every payload but the last was answered by "too far" (a message of no content) and sent again
    on the same lattice with twice the bits: q, q^2, q^4 colours (section 6, error detection).

    Raises
    ------
    PayloadError
        When 16 bits do not reach.
    """
    payload, _ = codec.encode(vector, memory, key=key, reference=None if memory else reference)
    side, sent = float(payload.buffers[0][0]), [payload]
    while True:
        try:
            return payload.decode(reference=reference), tuple(sent)
        except PayloadError:
            codec = codec.escalated()
            vector = check_vector(vector)
            payload = codec._at(vector, codec._points(vector), side, key)
            sent.append(payload)
