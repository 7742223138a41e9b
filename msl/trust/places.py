"""Asking places about their sources, one call per place, and halving sources there."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError, PlanError
from msl.random import derive
from msl.trust.base import Held
from msl.trust.discrepancy import halves, part
from msl.trust.targets import Scale, Targets, agree, scale_of
from msl.types import Data

if TYPE_CHECKING:
    # Executors bring in distributed, which takes a second, and a host is of a floor above.
    from msl.cluster.base import Executor, Handle
    from msl.hosts import Host

__all__ = ["Mine", "Numbered", "agreed", "gather", "halving", "halving_keys", "merged", "places_of"]

Mine: TypeAlias = Mapping[int, int]
"""Numbers of the sources of a place, among all that are compared, and their ranks."""
Method: TypeAlias = Callable[[Data, Data], float]
"""From two sources to their discrepancy."""


def places_of(sources: Sequence[Held]) -> Mapping[str, tuple["Handle", Mine]]:
    """Return what each place holds, and which sources."""
    found: dict[str, tuple[Handle, dict[int, int]]] = {}
    for number, held in enumerate(sources):
        found.setdefault(held.place, (held.host, {}))[1][number] = held.rank
    return found


def agreed(
    sources: Sequence[Held], executor: "Executor", splits: int, by_class: bool = False
) -> Targets:
    """Return the coding of labels; only real targets need a question to the places."""
    if splits < 0:
        raise PlanError(f"splits count how often sources are halved, got {splits}")
    if splits and (short := [held.info.name for held in sources if held.info.rows < 2]):
        raise DataError(f"only sources of two rows and more can be halved, leave out {short}")

    def scales() -> list[Scale]:
        asked = [
            executor.submit(_scales, host, mine, at=at)
            for at, (host, mine) in places_of(sources).items()
        ]
        return list(merged(executor.gather(asked)).values())

    if by_class and any(held.info.rows and not held.info.classes for held in sources):
        raise PlanError("real targets have no classes to compare by; leave by_class out")
    return replace(agree([held.info for held in sources], scales), by_class=by_class)


def halving(
    places: Mapping[str, tuple["Handle", Mine]],
    executor: "Executor",
    splits: int,
    seed: int,
    method: Method,
) -> "list[Handle]":
    """Ask all places for the discrepancies of halves; none for no splits."""
    return [
        executor.submit(_halves, host, mine, splits, seed, method, at=at)
        for at, (host, mine) in places.items()
        if splits
    ]


def halving_keys(splits: int, seed: int, rank: int) -> list[int]:
    """Return a key for each time a source is halved."""
    return [derive(seed, "halves", split, rank) for split in range(splits)]


def gather(
    executor: "Executor", judged: "list[Handle]", halved: "list[Handle]"
) -> tuple[dict[Any, Any], NDArray[np.float64] | None]:
    """Wait for verdicts and halves in one message per place."""
    found = executor.gather([*judged, *halved])
    null = merged(found[len(judged) :])
    columns = np.array([null[number] for number in range(len(null))])
    return merged(found[: len(judged)]), columns.T if halved else None


class Numbered(Mapping[int, Data]):
    """Rows of the sources of a place by their number; they are loaded when they are asked for."""

    def __init__(self, host: "Host", mine: Mine) -> None:
        self._host, self._mine = host, mine

    def __getitem__(self, number: int) -> Data:
        return self._host.data[self._mine[number]]

    def __contains__(self, number: object) -> bool:
        return number in self._mine

    def __iter__(self) -> Iterator[int]:
        return iter(self._mine)

    def __len__(self) -> int:
        return len(self._mine)


def merged(parts: Sequence[Mapping[Any, Any]]) -> dict[Any, Any]:
    """Return what all places answered, in one table."""
    return {key: value for part in parts for key, value in part.items()}


def _scales(host: "Host", mine: Mine) -> dict[int, Scale]:
    return {number: scale_of(host.data[rank]) for number, rank in mine.items()}


def _halves(
    host: "Host", mine: Mine, splits: int, seed: int, method: Method
) -> dict[int, list[float]]:
    return {
        number: [
            method(*(part(host.data[rank], rows) for rows in halves(len(host.data[rank]), key)))
            for key in halving_keys(splits, seed, rank)
        ]
        for number, rank in mine.items()
    }
