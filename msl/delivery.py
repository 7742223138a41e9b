"""What leaves a host and what stays there: payloads on their way, and memories of sources."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.attempt import Attempt
from msl.codecs import bundle
from msl.codecs.payload import Payload
from msl.types import Memory

__all__ = [
    "Delivery",
    "Kept",
    "Sent",
    "Worked",
    "delivery_of",
    "left_out",
    "memories_of",
    "staying",
    "worked_before",
]


@dataclass(frozen=True)
class Sent:
    """One source's contribution on its way: everything the meeting host may know of it."""

    rank: int
    payload: Payload
    weight: float
    loss: float


@dataclass(frozen=True)
class Delivery:
    """What one host sends to where payloads meet; `late` are those dropped for want of time."""

    sent: tuple[Sent, ...]
    dropped: dict[int, str]
    seconds: float
    late: tuple[int, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a whole: one buffer, however many sources, beside those that are large."""
        told = [(s.rank, s.weight, s.loss) for s in self.sent]
        packed = bundle.pack([s.payload for s in self.sent])
        return _delivered, (told, *packed, self.dropped, self.seconds, self.late)


def _delivered(
    told: list[tuple[int, float, float]],
    heads: list[bundle.Head],
    blob: NDArray[np.uint8],
    large: list[NDArray[Any]],
    dropped: dict[int, str],
    seconds: float,
    late: tuple[int, ...],
) -> Delivery:
    """Return the delivery that was packed."""
    payloads = bundle.unpack(heads, blob, large)
    sent = tuple(
        Sent(rank, payload, weight, loss)
        for (rank, weight, loss), payload in zip(told, payloads, strict=True)
    )
    return Delivery(sent, dropped, seconds, late)


@dataclass(frozen=True)
class Kept:
    """What a source keeps until it is drawn again: memories, and the round they are of."""

    solving: Memory
    coding: Memory
    round: int


@dataclass(frozen=True)
class Worked:
    """A host's delivery, and the memories that stay with it, by rank.

    `hanging` are sources whose work did not end in time and goes on.
    """

    delivery: Delivery
    memories: dict[int, Kept]
    hanging: dict[int, Attempt] = field(default_factory=dict)


def delivery_of(worked: Worked) -> Delivery:
    """Return what goes up to where payloads meet."""
    return worked.delivery


def memories_of(worked: Worked, ranks: Sequence[int]) -> dict[int, Kept]:
    """Return what these sources keep, for the place to which they move."""
    return {rank: worked.memories[rank] for rank in ranks if rank in worked.memories}


def worked_before(
    memories: Sequence[dict[int, Kept]], here: Worked | None, ranks: Sequence[int]
) -> Worked:
    """Return what sources keep that have come from several places; who hangs here and stays, does.

    `here` is what this place had done before, if anything, and `ranks` are its sources now.
    """
    hanging = {rank: one for rank, one in here.hanging.items() if rank in ranks} if here else {}
    kept = {rank: k for one in memories for rank, k in one.items()}
    return Worked(Delivery((), {}, 0.0), kept, hanging)


def left_out(before: Worked | None, worked: Worked) -> Worked:
    """Return what stays where a delivery was not used: memories as before, and who hangs."""
    memories = before.memories if before else {}
    return Worked(Delivery((), {}, 0.0), memories, worked.hanging)


def staying(worked: Worked) -> Worked:
    """Return what the next round needs, so that payloads go when they have met."""
    return replace(worked, delivery=Delivery((), {}, worked.delivery.seconds))
