"""Many payloads as one run of bytes: between workers each buffer costs what a message costs.

A large buffer costs more to copy than to send: it stays as it is, beside the run.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.codecs.payload import Payload, padded

__all__ = ["LARGE", "Head", "pack", "unpack"]

LARGE = 1 << 20
"""Bytes from which a buffer travels by itself."""

_PADDING = np.zeros(8, np.uint8)

Head: TypeAlias = tuple[Any, ...]
"""Codec, size, count, seed and flags of a payload, then dtype and shape of each buffer."""


def pack(
    payloads: Sequence[Payload],
) -> tuple[list[Head], NDArray[np.uint8], list[NDArray[Any]]]:
    """Return all but the buffers, the small ones, each padded to 8 bytes, and the large ones."""
    heads: list[Head] = []
    large: list[NDArray[Any]] = []
    parts = [_PADDING[:0]]
    for payload in payloads:
        shapes = [(buffer.dtype.str, buffer.shape) for buffer in payload.buffers]
        heads.append(
            (payload.codec, payload.size, payload.count, payload.seed, payload.flags, *shapes)
        )
        for buffer in payload.buffers:
            if buffer.nbytes >= LARGE:
                large.append(buffer)
                continue
            parts.append(buffer.reshape(-1).view(np.uint8))
            if odd := buffer.nbytes % 8:
                parts.append(_PADDING[odd:])
    return heads, _joined(parts), large


def _joined(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return parts one after another: without a copy where they are all of one block, in order."""
    whole = parts[1].base if len(parts) > 1 else None
    if (
        type(whole) is np.ndarray
        and whole.flags.c_contiguous
        and whole.nbytes == sum(part.nbytes for part in parts)
        and all(part.base is whole for part in parts[1:])
    ):
        at = whole.ctypes.data
        for part in parts[1:]:
            if part.ctypes.data != at:
                break
            at += part.nbytes
        else:
            return whole.reshape(-1).view(np.uint8)
    return np.concatenate(parts)


def unpack(
    heads: Sequence[Head], blob: NDArray[np.uint8], large: Sequence[NDArray[Any]]
) -> list[Payload]:
    """Return the payloads; their buffers are views."""
    found, start, alone = [], 0, iter(large)
    for codec, size, count, seed, flags, *shapes in heads:
        buffers = []
        for kind, shape in shapes:
            dtype = np.dtype(kind)
            stop = start + dtype.itemsize * prod(shape)
            if stop - start >= LARGE:
                buffers.append(next(alone))
                continue
            buffers.append(blob[start:stop].view(dtype).reshape(shape))
            start += padded(stop - start)
        found.append(Payload(codec, size, tuple(buffers), count, seed, flags))
    return found
