"""What moving a byte costs on this machine, and how much memory a process had."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import process_time
from typing import Any

import numpy as np

__all__ = ["Prices", "cpu_of", "peak", "prices", "reset_peak"]


@dataclass(frozen=True)
class Prices:
    """CPU seconds per byte: through a plain socket on the loopback, both ends; copied; made fresh.

    Fresh memory is what the kernel gives a process, page by page and zeroed, when an array is
    first written to; large arrays give it back as soon as they go.
    """

    wire: float
    copy: float
    fresh: float


def prices() -> Prices:
    """Measure the floors' prices on this machine, now."""
    block, room = np.ones(1 << 25, np.uint8), np.zeros(1 << 25, np.uint8)
    listener = socket.create_server(("127.0.0.1", 0))

    def send() -> None:
        with socket.create_connection(listener.getsockname()) as out:
            for _ in range(8):
                out.sendall(block.data)

    sender = Thread(target=send)
    start = process_time()
    sender.start()
    with listener, listener.accept()[0] as into:
        left = 8 * block.nbytes
        while left:
            left -= into.recv_into(room.data)
    sender.join()
    wire = (process_time() - start) / (8 * block.nbytes)
    copy = cpu_of(np.copyto, room, block) / block.nbytes
    # Zeros that are asked for by name are written; what that takes in old memory is half a copy.
    fresh = cpu_of(np.full, 1 << 28, 0, np.uint8) / (1 << 28) - copy / 2
    return Prices(wire, copy, fresh)


def cpu_of(call: Callable[..., Any], *arguments: Any, **named: Any) -> float:
    """Return the median CPU seconds of a call, the first of four left out."""
    seconds = []
    for _ in range(4):
        start = process_time()
        call(*arguments, **named)
        seconds.append(process_time() - start)
    return float(np.median(seconds[1:]))


def reset_peak() -> int:
    """Start a new peak of this process's resident memory; return what is resident in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """Return the most bytes that were resident since the last reset."""
    return _status("VmHWM")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
