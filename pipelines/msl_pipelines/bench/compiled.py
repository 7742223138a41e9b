"""What a worker compiles, and for how long; importing this is what a worker imports for a round."""

from time import thread_time
from typing import Any

from numba.core import event

from msl import meeting, work

__all__ = ["compiled", "watch"]


class _Watch(event.Listener):  # type: ignore[misc]
    """Seconds of CPU by function compiled for itself, with all that it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.depth, self.begun = 0, 0.0

    def on_start(self, heard: Any) -> None:
        if not self.depth:
            self.begun = thread_time()
        self.depth += 1

    def on_end(self, heard: Any) -> None:
        self.depth -= 1
        if not self.depth:
            name = heard.data["dispatcher"].py_func.__name__
            self.seconds[name] = self.seconds.get(name, 0.0) + thread_time() - self.begun


_WATCH = _Watch()


def watch() -> tuple[str, ...]:
    """Begin to listen; return whose functions a round needs here."""
    event.register("numba:compile", _WATCH)
    return work.__name__, meeting.__name__


def compiled() -> dict[str, float]:
    """Return the seconds of each function."""
    return _WATCH.seconds
