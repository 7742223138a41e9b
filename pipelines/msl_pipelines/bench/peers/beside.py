"""Peers are run as programs of their own environment, `PEERS`; one that is not there says so."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msl_pipelines.bench.peers.task import SOURCES

__all__ = ["Peer", "Told", "peers"]

_LIMIT = 400
"""Seconds after which a peer is given up."""


@dataclass(frozen=True)
class Peer:
    """A system at some setting; `rounds` by sources drawn: fewer for slow ones."""

    name: str
    command: tuple[str, ...]
    rounds: dict[int, int]
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Told:
    """What a run said: the median seconds of a round, and when the first was over."""

    peer: str
    per_round: float
    first: float


_PFL, _FLOWER = {10: 300, 50: 150, SOURCES: 12}, {10: 40, 50: 25, SOURCES: 4}
_HERE = "msl_pipelines.bench.peers"
_TWO = ("torchrun", "--standalone", "--nproc-per-node=2", "-m")
_PEERS = (
    Peer("pfl {}, 1 process", ("python", "-m", f"{_HERE}.pfl"), _PFL),
    Peer("pfl {}, 2 processes", (*_TWO, f"{_HERE}.pfl"), _PFL),
    Peer("Flower {}, 2 actors", ("python", "-m", f"{_HERE}.flower"), _FLOWER, ("0.1",)),
    Peer("same, polled every 5 ms", ("python", "-m", f"{_HERE}.flower"), _FLOWER, ("0.005",)),
)


def peers(per_round: int) -> Iterator[Told | str]:
    """Yield what each peer says of rounds with so many sources, or why it says nothing."""
    binaries = Path(os.environ.get("PEERS", "")) / "bin"
    if not (binaries / "python").exists():
        yield "Flower and pfl are left out: `make bench-peers` installs them"
        return
    for peer in _PEERS:
        program, *arguments = peer.command
        unnamed = peer.name.replace(" {}", "")
        numbers = str(per_round), str(peer.rounds[per_round]), *peer.more
        try:
            done = subprocess.run(
                [binaries / program, *arguments, *numbers],
                capture_output=True, text=True, timeout=_LIMIT, check=True,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            yield f"{unnamed} is left out: not done within {_LIMIT} s"
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            why = next((line for line in reversed(said) if "Error" in line), said[-1])
            yield f"{unnamed} is left out: {why.strip()}"
        else:
            yield _told(peer, done.stdout)


def _told(peer: Peer, output: str) -> Told:
    """Read the one line that `tell` printed."""
    line = next(line for line in output.splitlines() if line.startswith('{"version"'))
    said = json.loads(line)
    ends = np.array(said["ends"])
    steady = np.diff(ends)[len(ends) // 10 :]
    name = peer.name.format(said["version"])
    return Told(name, float(np.median(steady)), float(ends[0] - said["begun"]))
