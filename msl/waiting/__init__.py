"""For whom a round waits."""

from collections.abc import Mapping
from typing import Any

from msl.parts import make_part
from msl.waiting.base import Waiting
from msl.waiting.buffered import Buffered
from msl.waiting.deadline import Deadline
from msl.waiting.everyone import Everyone

__all__ = ["WAITING", "Buffered", "Deadline", "Everyone", "Waiting", "make"]

WAITING: Mapping[str, type[Waiting]] = {
    "everyone": Everyone,
    "deadline": Deadline,
    "buffered": Buffered,
}


def make(name: str, **arguments: Any) -> Waiting:
    """Return the way of waiting of this name.

    Raises
    ------
    PlanError
        When the name or an argument is not known, or refused; lists what is.

    Examples
    --------
    >>> make("deadline", seconds=30, quorum=12)
    Deadline(seconds=30, quorum=12, over=0.0)
    """
    return make_part("waiting", WAITING, name, arguments)
