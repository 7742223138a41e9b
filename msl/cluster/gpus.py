"""Which cards a process has, asked without opening a context on one."""

import os
import shutil
import subprocess
from dataclasses import dataclass

__all__ = ["Gpus", "gpus_here"]

_SECONDS = 10.0


@dataclass(frozen=True)
class Gpus:
    """Cards that the driver shows, whether numba can use them, and which a process may see."""

    cards: tuple[str, ...]
    driver: str
    usable: bool
    visible: str | None


def gpus_here() -> Gpus:
    """Return the cards; nothing here opens a context on one, which would take its memory."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    rows = _nvidia_smi()
    cards, drivers = tuple(row[0] for row in rows), {row[1] for row in rows}
    if not cards:
        return Gpus((), "", False, visible)
    from numba import cuda

    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
    usable = not simulated and bool(cuda.is_available())
    return Gpus(cards, ", ".join(sorted(drivers)), usable, visible)


def _nvidia_smi() -> list[list[str]]:
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    command = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[part.strip() for part in line.split(",")] for line in said.stdout.splitlines()]
    return [row for row in rows if len(row) == 2]
