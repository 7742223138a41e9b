"""Resident memory of the processes of a storm, by role, over time."""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping

import psutil

MB = 1e6


class MemoryLog(threading.Thread):
    """Samples every second until stopped; `who` says role -> pids at that time."""

    def __init__(self, who: Callable[[], Mapping[str, list[int]]]) -> None:
        super().__init__(daemon=True)
        self.who, self._over = who, threading.Event()
        self.sizes: dict[str, list[float]] = defaultdict(list)

    def run(self) -> None:
        """Take samples: of each role the largest process."""
        while not self._over.wait(1.0):
            for role, pids in self.who().items():
                if found := [size for pid in pids if (size := resident(pid))]:
                    self.sizes[role].append(max(found))

    def stop(self) -> None:
        """Take no more."""
        self._over.set()
        self.join()

    def halves(self) -> dict[str, tuple[float, float]]:
        """Return role -> largest MB in the first half (less its start-up tenth) and the second."""
        return {
            role: (max(sizes[len(sizes) // 10 : len(sizes) // 2]), max(sizes[len(sizes) // 2 :]))
            for role, sizes in self.sizes.items()
            if len(sizes) > 20
        }


def resident(pid: int) -> float:
    """Return the resident MB of a process, 0 when it is gone."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / MB
    except psutil.Error:
        return 0.0
