"""Rows of the sources of a place: loaded when asked for, forgotten when there is no more room."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Any
from zlib import crc32

import numpy as np

from msl.errors import SourceError
from msl.sources.base import Source, info_of, is_sparse
from msl.types import Data, SourceInfo

__all__ = ["Again", "Cache", "nbytes_of"]

Again = Callable[[SourceInfo, SourceInfo], None]
"""Told what a source was and what it is when loaded again; raises when that will not do."""


class Cache(Mapping[int, Data]):
    """Rows by rank, as in a dict that holds them all; what was used longest ago goes first.

    A source is loaded once to be described, and again whenever it is asked for after it was
    forgotten. Only when it is loaded depends on the room, never what is learned from. A source
    larger than the room stays alone. Rows that came with their recipe (`Source.in_memory`) are
    never forgotten, as that would free nothing, and take their part of the room. Several threads
    may ask at a time.

    Parameters
    ----------
    place : str
        Where this is, for errors and infos.
    room : float
        Bytes of rows that are kept; inf keeps all. Beside them lies what is in use: at most one
        source per thread here.
    again : callable
        Asked when a source has other rows than when it was described.

    Raises
    ------
    SourceError
        When a source that is asked for cannot be loaded, or has other rows and may not.
    """

    def __init__(self, place: str, room: float, again: Again) -> None:
        self._place, self._room, self._again = place, room, again
        self._sources: dict[int, Source] = {}
        self._known: dict[int, tuple[SourceInfo, int]] = {}
        self._loaded: OrderedDict[int, Data] = OrderedDict()
        self._fixed: dict[int, Data] = {}
        self._nbytes = 0
        self._lock = Lock()

    def add(self, rank: int, source: Source) -> SourceInfo:
        """Load a source for the first time, and return what may be said of it."""
        self._sources[rank] = source
        self[rank]
        return self._known[rank][0]

    def __getitem__(self, rank: int) -> Data:
        with self._lock:
            if (found := self._fixed.get(rank)) is not None:
                return found
            if (found := self._loaded.get(rank)) is not None:
                self._loaded.move_to_end(rank)
                return found
            source = self._sources[rank]
        # Outside the lock: others need not wait for a slow disk.
        found = self._load(rank, source)
        with self._lock:
            self._keep(rank, source, found)
        return found

    def __contains__(self, rank: object) -> bool:
        return rank in self._known

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._known))

    def __len__(self) -> int:
        return len(self._known)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that are loaded now."""
        return self._nbytes

    def forget(self) -> None:
        """Let go of all rows that can be loaded again."""
        with self._lock:
            while self._loaded:
                self._nbytes -= nbytes_of(self._loaded.popitem()[1])

    def leave_out(self, rank: int) -> None:
        """Let go of a source for good."""
        with self._lock:
            for held in (self._loaded, self._fixed):
                if (gone := held.pop(rank, None)) is not None:
                    self._nbytes -= nbytes_of(gone)
            self._known.pop(rank, None)
            self._sources.pop(rank, None)

    def _load(self, rank: int, source: Source) -> Data:
        try:
            data = source.load()
            # A checksum: what nobody means to forge need not be hashed by SHA-256 every time.
            mark, known = _mark(data), self._known.get(rank)
            if known is None:
                info = info_of(source.name, data, self._place)
                with self._lock:
                    # Unless it was left out while it was loaded.
                    if rank in self._sources:
                        self._known[rank] = info, mark
            elif mark != known[1]:
                self._again(known[0], info_of(source.name, data, self._place))
        except Exception as error:
            raise SourceError(source.name, -1, self._place, str(error)) from error
        return data

    def _keep(self, rank: int, source: Source, data: Data) -> None:
        """Keep rows that were just loaded, and forget others for them."""
        if rank not in self._sources or rank in self._loaded:
            return
        self._nbytes += nbytes_of(data)
        if source.in_memory:
            # Without the recipe, so that they are not here twice.
            self._fixed[rank] = data
            del self._sources[rank]
        else:
            self._loaded[rank] = data
        while self._nbytes > self._room and next(iter(self._loaded), rank) != rank:
            self._nbytes -= nbytes_of(self._loaded.popitem(last=False)[1])


def nbytes_of(data: Data) -> int:
    """Return the bytes that rows take, without what Python adds."""
    return sum(part.nbytes for part in _parts(data))


def _mark(data: Data) -> int:
    mark = crc32(repr(data.X.shape).encode())  # sparse rows do not tell their width
    for part in _parts(data):
        mark = crc32(np.ascontiguousarray(part).data, mark)
    return mark


def _parts(data: Data) -> list[Any]:
    X: Any = data.X
    parts = [X.data, X.indices, X.indptr] if is_sparse(X) else [X]
    return [*parts, data.y, *([] if data.weight is None else [data.weight])]
