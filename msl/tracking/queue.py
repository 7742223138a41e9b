"""Rounds leave the training loop at once; a thread brings them to the store, through the spool."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from msl.errors import TrackingError
from msl.tracking.spool import Spool

__all__ = ["Row", "Sender", "SpoolQueue", "drain"]

_log = logging.getLogger(__name__)

Row = tuple[str, float, int, int]
"""A metric: name, value, milliseconds since the epoch, step."""

BATCH = 1000
"""The store takes at most this many metrics in one call."""

FIRST = ("create", "reopen")
"""Entries that the others need."""

MOST = 1_000_000
"""Metrics that are held in memory when the disk takes none."""

LONGEST = 10.0
"""Seconds between two looks at a store that does not answer."""


class Sender(Protocol):
    """Brings entries to a store; doing it twice has the effect of doing it once."""

    def ready(self) -> None:
        """Return when the store answers; raise otherwise, soon."""

    def send(self, entry: Mapping[str, Any]) -> None:
        """Carry an entry out; TrackingError when the store will never take it."""


def drain(spool: Spool, sender: Sender, refused: list[str]) -> Iterator[None]:
    """Send what waits, the oldest first; yield after each entry.

    What the store will never take is set aside and named in `refused`. Any other error means
    later: it is raised, at once when the store is away, at the end when only this entry failed.
    """
    failed: Exception | None = None
    for number, (path, entry) in enumerate(spool.entries()):
        if not number:
            sender.ready()
        try:
            sender.send(entry)
        except TrackingError as error:
            _log.warning("the tracking store refuses %s: %s", _name(entry), error)
            refused.append(f"{_name(entry)} ({error})")
            spool.refuse(path)
        except Exception as error:
            if entry["do"] in FIRST:
                raise
            sender.ready()
            failed = error
        else:
            spool.drop(path, entry)
        yield
    if failed:
        raise failed


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry["do"])


class SpoolQueue:
    """A list of metrics, a spool, and a thread that empties both.

    Parameters
    ----------
    spool : Spool
        Where entries wait.
    sender : Sender
        Brings them to the store.
    where : str
        The store, for the log.
    interval : float
        Seconds between two batches.
    """

    def __init__(self, spool: Spool, sender: Sender, where: str, interval: float = 1.0) -> None:
        self.spool, self.sender, self.where = spool, sender, where
        self._interval = interval
        self._waiting: list[Row] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._moved = time.monotonic()
        self._down = self._full = False
        self.missing: list[str] = []
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="msl-tracking", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put_metrics(self, rows: list[Row]) -> None:
        """Take metrics; never waits for the store."""
        with self._lock:
            self._waiting += rows
            if (extra := len(self._waiting) - MOST) > 0:
                del self._waiting[:extra]
                self._lost += extra

    def put(self, entry: Mapping[str, Any], artifact: Path | None = None) -> None:
        """Take an entry, after the metrics so far; never waits for the store."""
        with self._lock:
            self._spill()
            try:
                if artifact is None:
                    self.spool.put(entry)
                else:
                    self.spool.keep(entry, artifact)
            except OSError as error:
                self.lose(_name(entry), error)

    def lose(self, what: str, why: Exception) -> None:
        """Remember what could not even be kept; `missing` tells it at the end."""
        _log.warning("%s cannot be kept for the tracking store: %s", what, why)
        self.missing.append(f"{what} ({why})")

    def _spill(self) -> None:
        """Move metrics from memory to disk; a full disk leaves them where they are."""
        try:
            while self._waiting:
                self.spool.put({"do": "metrics", "rows": self._waiting[:BATCH]})
                del self._waiting[:BATCH]
        except OSError as error:
            if not self._full:
                _log.warning("metrics wait in memory, the disk takes none: %s", error)
            self._full = True

    def _run(self) -> None:
        pause = self._interval
        while not self._ended.wait(pause):
            pause = self._interval if self.offer() else min(2 * pause, LONGEST)
        self.offer()

    def offer(self) -> bool:
        """Send what there is; return False when the store does not answer."""
        with self._lock:
            self._spill()
        try:
            for _ in drain(self.spool, self.sender, self.missing):
                self._moved = time.monotonic()
            self._send_held()
        except Exception as error:
            if not self._down:
                _log.warning(
                    "the tracking store %s is away; training goes on, what it has not taken waits "
                    "in %s and is sent later (%s)", self.where, self.spool.folder, error,
                )  # fmt: skip
            self._down = True
            return False
        if self._down:
            _log.info("the tracking store %s is back and has all of the run so far", self.where)
        self._down = False
        return True

    def _send_held(self) -> None:
        """Send metrics that the disk did not take."""
        while self._full and self._waiting:
            with self._lock:
                batch = self._waiting[:BATCH]
                del self._waiting[:BATCH]
            try:
                self.sender.send({"do": "metrics", "rows": batch})
            except Exception:
                with self._lock:
                    self._waiting[:0] = batch
                raise

    def close(self, patience: float = 30.0) -> bool:
        """Send what is left and stop the thread; return whether the store has everything.

        A thread that has got nothing through for `patience` seconds is left to itself.
        """
        self._ended.set()
        self._moved = time.monotonic()
        while self._thread.is_alive() and time.monotonic() - self._moved < patience:
            self._thread.join(0.1)
        if lost := self._lost + len(self._waiting):
            self.missing.append(f"{lost} metrics (the disk took none)")
        return not self.stuck and not self._down

    @property
    def stuck(self) -> bool:
        """Whether the thread is still at work, with the folder in its hands."""
        return self._thread.is_alive()
