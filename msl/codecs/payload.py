"""The thing that travels: a 32-byte header and contiguous buffers, each padded to 8 bytes."""

import struct
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msl.errors import PayloadError

if TYPE_CHECKING:
    from msl.codecs.base import Codec
    from msl.types import Vector

__all__ = ["HEADER_BYTES", "Payload", "padded"]

# magic, version, codec, dtype, flags, bits, reserved, size, bucket, count, seed; little-endian.
_HEADER = struct.Struct("<HBBBBBBQIIQ")
HEADER_BYTES = _HEADER.size
_MAGIC, _VERSION = 0x4D53, 1


def padded(nbytes: int) -> int:
    """Return nbytes rounded up to the next multiple of 8."""
    return -(-nbytes // 8) * 8


@dataclass(frozen=True, eq=False)
class Payload:
    """An encoded vector; carries the codec that can decode it.

    Parameters
    ----------
    codec : Codec
        The codec, never a wrapper.
    size : int
        Length d of the vector.
    buffers : tuple of ndarray
        Contiguous arrays of the dtypes and shapes that ``codec.buffers(size)`` states.
    """

    codec: "Codec"
    size: int
    buffers: tuple[NDArray[Any], ...]

    @property
    def nbytes(self) -> int:
        """Exact length of `to_bytes()`: header and padded buffers."""
        return HEADER_BYTES + sum(padded(b.nbytes) for b in self.buffers)

    def decode(self, *, out: "Vector | None" = None) -> "Vector":
        """Return the decoded (d,) float32 vector."""
        return self.codec.decode(self, out=out)

    def to_bytes(self) -> bytes:
        """Return the bytes on the wire."""
        bits, bucket = self.codec.header()
        head = _HEADER.pack(
            _MAGIC, _VERSION, self.codec.wire_id, 0, 0, bits, 0, self.size, bucket, 0, 0
        )
        parts = [head]
        for buffer in self.buffers:
            raw = buffer.tobytes()
            parts.append(raw.ljust(padded(len(raw)), b"\0"))
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> "Payload":
        """Return the payload in `data`, as read-only views without a copy.

        Raises
        ------
        PayloadError
            When the header, its version, its codec or the length is not what it should be.
        """
        from msl.codecs import codec_of_wire

        if len(data) < HEADER_BYTES:
            raise PayloadError(f"a payload has at least {HEADER_BYTES} bytes, got {len(data)}")
        magic, version, wire, _, _, bits, _, size, bucket, _, _ = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise PayloadError(f"not a payload: magic {magic:#06x}, needed {_MAGIC:#06x}")
        if version != _VERSION:
            raise PayloadError(f"payload version {version}, this library reads {_VERSION}")
        codec = codec_of_wire(wire, bits, bucket)
        shapes = codec.buffers(size)
        # The stated size is checked against the bytes that came before anything is allocated.
        needed = HEADER_BYTES + sum(padded(d.itemsize * prod(s)) for d, s in shapes)
        if len(data) != needed:
            raise PayloadError(
                f"{codec.name} of {size} numbers has {needed} bytes, got {len(data)}"
            )
        buffers, start = [], HEADER_BYTES
        for dtype, shape in shapes:
            buffers.append(np.frombuffer(data, dtype, prod(shape), start).reshape(shape))
            start += padded(dtype.itemsize * prod(shape))
        return cls(codec, size, tuple(buffers))
