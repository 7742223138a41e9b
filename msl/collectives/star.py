"""All payloads meet at one place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from msl.collectives.base import Collective
from msl.errors import PlanError

__all__ = ["Star"]


@dataclass(frozen=True)
class Star(Collective):
    """Every payload goes to the first place, which sends the new parameters back.

    Examples
    --------
    >>> Star().meeting_place(["tcp://a:1", "tcp://b:1"])
    'tcp://a:1'
    """

    name: ClassVar[str] = "star"

    def meeting_place(self, places: Sequence[str]) -> str:
        """Return the first place: the order is the executor's, so every caller agrees."""
        if not places:
            raise PlanError("a star needs a place to meet; start at least one worker")
        return places[0]
