"""Payloads inside a payload: bytes with their lengths, checked when they are opened."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from msl.codecs.payload import Payload
from msl.errors import PayloadError

__all__ = ["opened", "sealed"]


def sealed(payloads: Sequence[Payload]) -> NDArray[np.uint8]:
    """Return payloads one after another, each behind its length in 8 bytes."""
    parts: list[bytes | memoryview] = []
    for payload in payloads:
        parts += [payload.nbytes.to_bytes(8, "little"), *payload.pieces()]
    return np.frombuffer(b"".join(parts), np.uint8)


def opened(buffer: NDArray[np.uint8], sizes: Sequence[int]) -> list[Payload]:
    """Return the payloads of a buffer, which must hold vectors of exactly these sizes.

    Raises
    ------
    PayloadError
        When the lengths do not fit, or what is inside is no payload of that size.
    """
    view, start, found = buffer.data, 0, []
    for size in sizes:
        length = int.from_bytes(view[start : start + 8], "little")
        start += 8
        if len(view) - start < length:
            raise PayloadError(f"nested payload of {length} bytes, {len(view) - start} are left")
        found.append(Payload.from_bytes(view[start : start + length], size=size))
        start += length
    if start != len(view):
        raise PayloadError(f"{len(view) - start} bytes after the last nested payload")
    return found
