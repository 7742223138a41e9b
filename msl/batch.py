"""Small sources of one host, solved and encoded together: by turns, calls cost more than work."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from msl.algorithms.base import LocalSolver
from msl.codecs.base import Codec
from msl.codecs.payload import Payload
from msl.errors import SourceError
from msl.random import derive_each
from msl.types import Data, Memory, SourceInfo, Update, Vector

__all__ = ["Done", "Task", "contribute_each"]

_SMALL = 1 << 20
"""Features of all rows up to which a source is small; larger ones gain nothing by company."""
_SOURCES, _FEATURES, _NUMBERS = 512, 1 << 24, 1 << 20
"""What is in use at once: so many sources, features of their rows (64 MB), numbers of their
updates (4 MB)."""


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


def contribute_each(
    seed: int,
    solver: LocalSolver,
    codec: Codec,
    params: Vector,
    infos: Mapping[int, SourceInfo],
    task_of: Callable[[int], Task],
    round: int,
) -> Iterator[Done]:
    """Yield what small sources have done in a round, to the bit what each would have done alone.

    One that fails, or cannot be loaded, is left out: alone, it says why.
    """
    for ranks in _companies(infos, len(params)):
        some = list(_tasks(task_of, ranks))
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


def _companies(infos: Mapping[int, SourceInfo], size: int) -> Iterator[list[int]]:
    """Yield ranks of small sources that can be in use at once."""
    most, features = min(_SOURCES, _NUMBERS // size), 0
    if most < 2:
        return  # of so large a model one at a time is enough
    company: list[int] = []
    for rank, info in infos.items():
        if (mine := info.rows * info.features) > _SMALL:
            continue
        if len(company) == most or features + mine > _FEATURES:
            yield company
            company, features = [], 0
        company.append(rank)
        features += mine
    if company:
        yield company


def _tasks(task_of: Callable[[int], Task], ranks: Sequence[int]) -> Iterator[Task]:
    for rank in ranks:
        with suppress(SourceError):  # its rows are not there; alone, it says why
            yield task_of(rank)
