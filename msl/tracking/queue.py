"""Metrics leave the training loop at once and reach the store in batches, by a thread."""

import logging
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["MetricQueue"]

_log = logging.getLogger(__name__)

# The store takes at most this many in one call.
BATCH = 1000


class MetricQueue:
    """A list and a thread that empties it; what a store refuses is kept and offered again.

    Parameters
    ----------
    send : callable
        Takes a list of metrics; raises when the store cannot take them.
    interval : float
        Seconds between two batches.
    """

    def __init__(self, send: Callable[[list[Any]], None], interval: float = 1.0) -> None:
        self._send, self._interval = send, interval
        self._waiting: list[Any] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.why = ""
        self._thread = threading.Thread(target=self._run, name="msl-metrics", daemon=True)
        self._thread.start()

    def put(self, metrics: list[Any]) -> None:
        """Take metrics; never waits for the store."""
        with self._lock:
            self._waiting += metrics

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            self._offer()

    def _offer(self) -> None:
        while self._waiting:
            with self._lock:
                batch = self._waiting[:BATCH]
            try:
                self._send(batch)
            except Exception as error:
                if not self.why:
                    _log.warning("the tracking store takes no metrics for now: %s", error)
                self.why = str(error)
                return
            with self._lock:
                del self._waiting[: len(batch)]

    def close(self, patience: float = 30.0) -> int:
        """Send what is left and stop; return how many metrics the store never took.

        A thread still talking to the store after `patience` seconds is left to itself.
        """
        self._ended.set()
        self._thread.join(patience)
        if not self._thread.is_alive():
            self._offer()
        return len(self._waiting)
