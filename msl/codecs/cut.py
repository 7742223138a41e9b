"""Pieces of payloads whose buffers hold so many bits for every number, in their order."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from msl.codecs.payload import Payload

__all__ = ["slices"]


def slices(payload: Payload, start: int, stop: int, per: Sequence[Fraction]) -> Payload:
    """Return the payload of numbers start..stop - 1 alone, its buffers views.

    Parameters
    ----------
    payload : Payload
        Of a codec that looks at a run of numbers at a time.
    start, stop : int
        Multiples of that run, or the end.
    per : sequence of Fraction
        Items of each buffer per number; 0 for one that belongs to all of them.
    """
    end = stop == payload.size
    buffers = (
        buffer if not rate else buffer[int(start * rate) : None if end else int(stop * rate)]
        for buffer, rate in zip(payload.buffers, per, strict=True)
    )
    return replace(payload, size=stop - start, buffers=tuple(buffers))
