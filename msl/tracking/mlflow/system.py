"""Load of this machine as metrics, read by MLflow's monitors, sent on our own way.

MLflow's own thread talks to the store itself, gives up at its first error, and makes the end of a
run wait for a dead server.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from msl.tracking.queue import Row

__all__ = ["SystemMetrics"]


class SystemMetrics:
    """A thread that reads the monitors until it is stopped.

    Parameters
    ----------
    put : callable
        Takes rows of metrics; their names start with ``system/``.
    interval : float
        Seconds between two readings.
    """

    def __init__(self, put: Callable[[list[Row]], None], interval: float = 10.0) -> None:
        self._put, self._interval = put, interval
        monitors: list[Any] = [CPUMonitor, DiskMonitor, NetworkMonitor]
        self._monitors = [monitor() for monitor in monitors] + _gpus()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="msl-system", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        step = 0
        while True:
            self._read(step)
            step += 1
            if self._ended.wait(self._interval):
                return

    def _read(self, step: int) -> None:
        now = int(time.time() * 1000)
        for monitor in self._monitors:
            monitor.collect_metrics()
            found = monitor.aggregate_metrics()
            self._put([(f"system/{k}", float(v), now, step) for k, v in found.items()])
            monitor.clear_metrics()

    def stop(self) -> None:
        """Stop reading."""
        self._ended.set()
        self._thread.join()


def _gpus() -> list[Any]:
    """Return a monitor where there is a card and its library."""
    monitor: Any = GPUMonitor
    try:
        return [monitor()]
    except Exception:
        return []
