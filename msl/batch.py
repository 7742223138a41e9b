"""Small sources of one host, solved and encoded together: by turns, calls cost more than work."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msl.algorithms.base import LocalSolver
from msl.codecs.base import Codec
from msl.codecs.payload import Payload
from msl.random import derive_each
from msl.types import Data, Memory, SourceInfo, Update, Vector

__all__ = ["Done", "Task", "contribute_each", "is_small"]

_SMALL = 1 << 20
"""Features of all rows up to which a source is small; larger ones gain nothing by company."""
_SOURCES, _NUMBERS = 512, 1 << 22
"""What is in the making at once: so many sources, and so many numbers of their updates (16 MB)."""


class Task(NamedTuple):
    """A source, what it keeps for its solver and codec, and the rounds since it last did."""

    rank: int
    data: Data
    solving: Memory
    coding: Memory
    age: int


class Done(NamedTuple):
    """What a source sends, and what it keeps now."""

    rank: int
    update: Update
    solving: Memory
    payload: Payload
    coding: Memory


def is_small(info: SourceInfo) -> bool:
    """Whether a source is worth working at together with others."""
    return info.rows * info.features <= _SMALL


def contribute_each(
    seed: int,
    solver: LocalSolver,
    codec: Codec,
    params: Vector,
    tasks: Sequence[Task],
    round: int,
) -> Iterator[Done]:
    """Yield what sources have done in a round, to the bit what each would have done alone.

    One that fails is left out: alone, it says why.
    """
    pace = max(1, min(_SOURCES, _NUMBERS // len(params)))
    for first in range(0, len(tasks), pace):
        some = tasks[first : first + pace]
        solve_keys, encode_keys = derive_each(
            seed, round, [task.rank for task in some], ("solve", "encode")
        )
        solved = solver.solve_each(
            params,
            [task.data for task in some],
            [task.solving for task in some],
            solve_keys,
            round,
        )
        ready = [
            (task, *made, key)
            for task, made, key in zip(some, solved, encode_keys, strict=True)
            if made is not None
        ]
        encoded = codec.encode_each(
            [update.vector for _, update, _, _ in ready],
            [codec.carry(task.coding, age=task.age) for task, _, _, _ in ready],
            [key for _, _, _, key in ready],
        )
        for (task, update, solving, _), sent in zip(ready, encoded, strict=True):
            if sent is not None:
                yield Done(task.rank, update, solving, *sent)
