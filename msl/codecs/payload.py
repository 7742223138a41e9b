"""The thing that travels: a 32-byte header and contiguous buffers, each padded to 8 bytes."""

import struct
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msl.errors import PayloadError

if TYPE_CHECKING:
    from msl.codecs.base import Codec, Shape
    from msl.types import Vector

__all__ = ["HEADER_BYTES", "REST", "Payload", "padded"]

# magic, version, codec, dtype, flags, bits, reserved, size, bucket, count, seed; little-endian.
_HEADER = struct.Struct("<HBBBBBBQIIQ")
HEADER_BYTES = _HEADER.size
_MAGIC, _VERSION = 0x4D53, 1

REST = -1
"""Length of a last buffer that the data decide: all the bytes that are left."""

MOST_PER_BYTE = 1 << 16
"""Numbers that a byte from a stranger may become: 8 kB of sparse data decode to 2 GB at most."""


def padded(nbytes: int) -> int:
    """Return nbytes rounded up to the next multiple of 8."""
    return -(-nbytes // 8) * 8


@dataclass(frozen=True, eq=False)
class Payload:
    """An encoded vector; carries the codec that can decode it.

    Parameters
    ----------
    codec : Codec
        The codec that decodes it.
    size : int
        Length d of the vector.
    buffers : tuple of ndarray
        Contiguous arrays of the dtypes and shapes that ``codec.buffers(size, count, flags)``
        states.
    count, seed, flags : int
        Header fields with a meaning that the codec gives them; 0 where it gives none.
    """

    codec: "Codec"
    size: int
    buffers: tuple[NDArray[Any], ...]
    count: int = 0
    seed: int = 0
    flags: int = 0

    @property
    def nbytes(self) -> int:
        """Exact length of `to_bytes()`: header and padded buffers."""
        return HEADER_BYTES + sum(padded(b.nbytes) for b in self.buffers)

    def decode(self, *, reference: "Vector | None" = None, out: "Vector | None" = None) -> "Vector":
        """Return the decoded (d,) float32 vector."""
        return self.codec.decode(self, reference=reference, out=out)

    def view(self) -> "Vector":
        """Return the decoded vector, read-only; without a copy where the payload holds it."""
        return self.codec.view(self)

    def to_bytes(self) -> bytes:
        """Return the bytes on the wire."""
        return b"".join(self.pieces())

    def pieces(self) -> list[bytes | memoryview]:
        """Return the bytes on the wire one after another, buffers as they lie."""
        bits, bucket = self.codec.header()
        head = _HEADER.pack(
            _MAGIC, _VERSION, self.codec.wire_id, 0, self.flags, bits, 0,
            self.size, bucket, self.count, self.seed,
        )  # fmt: skip
        parts: list[bytes | memoryview] = [head]
        for buffer in self.buffers:
            # An empty view cannot be cast.
            parts += [buffer.data.cast("B") if buffer.size else b"", bytes(-buffer.nbytes % 8)]
        return parts

    @classmethod
    def from_bytes(
        cls, data: bytes | bytearray | memoryview, *, size: int | None = None
    ) -> "Payload":
        """Return the payload in `data`, as read-only views without a copy.

        Nothing is allocated before the bytes have been checked against what they claim to be.

        Parameters
        ----------
        data : bytes-like
            What came.
        size : int, optional
            Numbers the receiver expects. Left out, a payload may state up to 65,536 numbers per
            byte of its own.

        Raises
        ------
        PayloadError
            When the header, its version, its codec, the length or the contents are not what they
            should be.
        """
        from msl.codecs import codec_of_wire

        if len(data) < HEADER_BYTES:
            raise PayloadError(f"a payload has at least {HEADER_BYTES} bytes, got {len(data)}")
        magic, version, wire, dtype, flags, bits, reserved, stated, bucket, count, seed = (
            _HEADER.unpack_from(data)
        )
        if magic != _MAGIC:
            raise PayloadError(f"not a payload: magic {magic:#06x}, needed {_MAGIC:#06x}")
        if version != _VERSION:
            raise PayloadError(f"payload version {version}, this library reads {_VERSION}")
        codec = codec_of_wire(wire, bits, bucket)
        fields = {
            "dtype": dtype,
            "reserved": reserved,
            "flags": flags,
            "count": count,
            "seed": seed,
        }
        for field, value in fields.items():
            if value and field not in codec.fields:
                raise PayloadError(f"{codec.name} never writes {field}, got {value}")
        _check_size(codec, stated, size, len(data))
        shapes = _fill(codec, stated, codec.buffers(stated, count, flags), len(data))
        buffers, start = [], HEADER_BYTES
        for kind, shape in shapes:
            buffers.append(np.frombuffer(data, kind, prod(shape), start).reshape(shape))
            start += padded(kind.itemsize * prod(shape))
        for buffer in buffers:
            buffer.flags.writeable = False
        payload = cls(codec, stated, tuple(buffers), count, seed, flags)
        codec.check(payload)
        return payload


def _check_size(codec: "Codec", stated: int, expected: int | None, length: int) -> None:
    """Raise PayloadError when a payload states a size that nobody expects or can want."""
    if expected is not None and stated != expected:
        raise PayloadError(f"{codec.name} of {stated} numbers came, expected {expected}")
    if expected is None and stated > MOST_PER_BYTE * length:
        raise PayloadError(
            f"{codec.name} of {stated} numbers in {length} bytes is past belief; "
            "say size= if you expect it"
        )


def _fill(codec: "Codec", stated: int, shapes: "list[Shape]", length: int) -> "list[Shape]":
    """Return the shapes with a last REST replaced, or raise when they do not make up `length`."""
    fixed = HEADER_BYTES + sum(padded(d.itemsize * prod(s)) for d, s in shapes if s[0] != REST)
    if shapes and shapes[-1][1][0] == REST:
        kind, _ = shapes[-1]
        rest = length - fixed
        if rest < 0 or rest % 8 or rest % kind.itemsize:
            raise PayloadError(
                f"{codec.name} of {stated} numbers has {fixed} bytes and whole words, got {length}"
            )
        return [*shapes[:-1], (kind, (rest // kind.itemsize,))]
    if length != fixed:
        raise PayloadError(f"{codec.name} of {stated} numbers has {fixed} bytes, got {length}")
    return shapes
