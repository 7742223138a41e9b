"""The contract of a collective: where the payloads of a round meet."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

__all__ = ["Collective"]


class Collective(ABC):
    """Who receives whose payloads in a round; a frozen dataclass."""

    name: ClassVar[str]

    @abstractmethod
    def meeting_place(self, places: Sequence[str]) -> str:
        """Return the place that receives every payload and makes the step.

        Parameters
        ----------
        places : sequence of str
            Addresses that can receive, in the executor's order.

        Raises
        ------
        PlanError
            When there is no place.
        """
