"""What runs where state lies: each place writes and reads its own part, the client carries none.

A full disk, or a store that is away, is told and not raised: training goes on without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from msl.checkpoints.file import Packed, packed, read_tree, write_tree
from msl.checkpoints.manifest import Part
from msl.checkpoints.store import Folder
from msl.codecs.none import Identity
from msl.delivery import Delivery, Kept, Worked
from msl.errors import CheckpointError
from msl.finite import first_non_finite
from msl.meeting import Met, State

__all__ = [
    "Trouble",
    "read_memories",
    "read_part",
    "read_state",
    "trouble_of",
    "write_memories",
    "write_part",
    "write_state",
]

Made = TypeVar("Made")


@dataclass(frozen=True)
class Trouble:
    """Why something could not be written or read."""

    why: str


def write_part(url: str, name: str, content: Packed, ranks: Sequence[int] | None = None) -> Part:
    """Write what `packed` made of a value; raises what the store raises."""
    nbytes, digest = Folder(url).put(name, lambda out: write_tree(out, content))
    return Part(
        name=name, nbytes=nbytes, sha256=digest, ranks=None if ranks is None else list(ranks)
    )


def read_part(url: str, part: Part, ranks: frozenset[int] | None = None) -> Any:
    """Return the value of a part; raises CheckpointError when it is damaged."""
    try:
        with Folder(url).open(part.name, part.nbytes) as file:
            return read_tree(file, part.nbytes, part.sha256, ranks)
    except CheckpointError as error:
        raise CheckpointError(f"{part.name}: {error}") from error


def write_state(met: Met, url: str, folder: str) -> Part | Trouble:
    """Write what lies where payloads meet; raises CheckpointError for what no file can hold."""
    content = packed(met.state, "state")
    return _told(lambda: write_part(url, f"{folder}/state.tree", content))


def write_memories(worked: Worked, url: str, folder: str, number: int) -> Part | Trouble:
    """Write the memories of a place's sources, by rank; raises as `write_state` does."""
    name, ranks = f"{folder}/memories-{number}.tree", sorted(worked.memories)
    content = packed(worked.memories, "memories")
    return _told(lambda: write_part(url, name, content, ranks))


def read_state(url: str, part: Part, size: int) -> Met | Trouble:
    """Return the state as it was after the round; `size` is that of the model."""

    def read() -> Met:
        state = read_part(url, part)
        if not isinstance(state, State) or not _is_model(state.params, size):
            raise CheckpointError(f"{part.name} holds no state of a model of {size} numbers")
        return Met(state, Identity().lend(state.params), None)

    return _told(read)


def read_memories(
    url: str, parts: Sequence[Part], ranks: Sequence[int], round: int
) -> Worked | Trouble:
    """Return the memories of the sources that are here now, whoever wrote them."""

    def read() -> Worked:
        memories: dict[int, Kept] = {}
        wanted = frozenset(ranks)
        for part in parts:
            if mine := wanted.intersection(part.ranks or ()):
                found = read_part(url, part, mine)
                if found.keys() != mine:
                    raise CheckpointError(f"{part.name} lacks memories of sources it should have")
                memories |= found
        if not all(isinstance(m, Kept) and m.round <= round for m in memories.values()):
            raise CheckpointError("what it holds by rank are no memories of sources")
        return Worked(Delivery((), {}, 0.0), memories)

    return _told(read)


def trouble_of(value: object) -> str:
    """Return why there is no value; nothing when there is one."""
    return value.why if isinstance(value, Trouble) else ""


def _told(work: Callable[[], Made]) -> Made | Trouble:
    try:
        return work()
    except CheckpointError as error:
        return Trouble(str(error))
    except Exception as error:
        # Every store raises errors of its own, not all of them OSError.
        return Trouble(f"{type(error).__name__}: {error}")


def _is_model(params: object, size: int) -> bool:
    return (
        isinstance(params, np.ndarray)
        and params.dtype == np.float32
        and params.shape == (size,)
        and first_non_finite(params) < 0
    )
