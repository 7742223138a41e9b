"""All reports of a run, in little room: as objects, 10,000 of them are a tenth of a driver."""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from msl.types import Report

__all__ = ["Reports"]

_BLOCK = 100


class Reports(Sequence[Report]):
    """Reports in the order of their rounds, 100 to a block; all blocks but the last are packed.

    With 20 participants a packed report takes 0.6 kB, as an object 3.2 kB. Going through them
    unpacks a block at a time, and asking for single ones keeps the block that was asked for last.
    The packed bytes never leave this object, except with it in a pickle.

    Parameters
    ----------
    reports : iterable of Report
        To begin with.

    Examples
    --------
    >>> reports = Reports(Report(r, (0,), (1.0,), (0.7,), {}, 0, 0, 0, 0, 0.0) for r in range(250))
    >>> len(reports), reports[-1].round, [report.round for report in reports[98:102]]
    (250, 249, [98, 99, 100, 101])
    """

    def __init__(self, reports: Iterable[Report] = ()) -> None:
        self._packed: list[bytes] = []
        self._last: list[Report] = []
        self._unpacked: tuple[int, list[Report]] = (-1, [])
        for report in reports:
            self.append(report)

    def append(self, report: Report) -> None:
        """Add the report of the next round."""
        if len(self._last) == _BLOCK:
            self._packed.append(pickle.dumps(self._last, pickle.HIGHEST_PROTOCOL))
            self._last = []
        self._last.append(report)

    def __len__(self) -> int:
        return len(self._packed) * _BLOCK + len(self._last)

    @overload
    def __getitem__(self, at: int) -> Report: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Report, ...]: ...
    def __getitem__(self, at: int | slice) -> Report | tuple[Report, ...]:
        """Return a report, or a tuple of some."""
        found = range(len(self))[at]
        return self._one(found) if isinstance(found, int) else tuple(map(self._one, found))

    def __iter__(self) -> Iterator[Report]:
        for packed in self._packed:
            yield from pickle.loads(packed)
        yield from self._last

    def _one(self, number: int) -> Report:
        block, place = divmod(number, _BLOCK)
        if block == len(self._packed):
            return self._last[place]
        held, reports = self._unpacked
        if held != block:
            reports = pickle.loads(self._packed[block])
            self._unpacked = block, reports
        return reports[place]
