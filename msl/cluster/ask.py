"""What a cluster says of itself; also asked of workers that lack msl, or do not answer."""

import asyncio
import platform
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from time import time
from typing import Any

from dask.system import CPU_COUNT
from distributed import Client
from distributed.system import MEMORY_LIMIT

from msl.cluster.gpus import Gpus, gpus_here
from msl.cluster.start import connect
from msl.cluster.tls import Tls

__all__ = ["PACKAGES", "Facts", "Survey", "Told", "survey"]

PACKAGES = ("msl", "numpy", "numba", "torch", "dask", "distributed", "cloudpickle")
"""Whose versions decide whether parts unpickle, and whether bits are equal."""

_SECONDS = 10.0
_PINGS = 5


@dataclass(frozen=True)
class Facts:
    """What a process that has msl says of itself: cores and bytes that its machine gives it.

    `code` is a digest of msl's files.
    """

    host: str
    cores: int
    memory: int
    code: str
    gpus: Gpus


@dataclass(frozen=True)
class Told:
    """One worker: what the scheduler knows, and what itself answered.

    `versions` lacks what is not installed. The clock is `skew` seconds before ours, give or take
    `doubt`. Without `facts`, `trouble` says why.
    """

    name: str
    threads: int
    memory_limit: int
    resources: Mapping[str, float]
    versions: Mapping[str, str]
    facts: Facts | None
    trouble: str = ""
    skew: float = 0.0
    doubt: float = 0.0


@dataclass(frozen=True)
class Survey:
    """What all of a cluster say; without a scheduler, this process as its only worker."""

    scheduler: str | None
    ours: Mapping[str, str]
    code: str
    workers: tuple[Told, ...]
    scheduler_versions: Mapping[str, str] = field(default_factory=dict)
    certificate_ends: float | None = None


def survey(scheduler: str | None = None, tls: Tls | None = None) -> Survey:
    """Ask every worker of a running cluster; of one that is silent for 10 s, say so.

    Raises
    ------
    PlanError
        When the scheduler cannot be reached, or does not let us in.
    """
    ours, mine = _versions(), facts()
    if scheduler is None:
        alone = Told("here", mine.cores, mine.memory, {}, ours, mine)
        return Survey(None, ours, mine.code, (alone,))
    with connect(scheduler, tls) as client:
        known = client.scheduler_info(n_workers=-1)["workers"]
        places = tuple(known)
        facts_of = _ask(client, places, facts)
        answering = tuple(p for p in places if not isinstance(facts_of[p], TimeoutError))
        # Functions of the standard library need no msl at the worker.
        python = _ask(client, answering, platform.python_version)
        packages = {name: _ask(client, answering, version, name) for name in PACKAGES}
        clocks = client.sync(_clocks, client, answering)
        workers = []
        for place in places:
            answers = {"python": python, **packages}
            versions = {n: a[place] for n, a in answers.items() if isinstance(a.get(place), str)}
            workers.append(_told(known[place], facts_of[place], versions, clocks.get(place)))
        return Survey(
            scheduler,
            ours,
            mine.code,
            tuple(workers),
            {
                "python": client.run_on_scheduler(platform.python_version),
                "distributed": client.run_on_scheduler(version, "distributed"),
            },
            _certificate_ends(client),
        )


def facts() -> Facts:
    """Return what this process can say of itself."""
    return Facts(socket.gethostname(), CPU_COUNT, MEMORY_LIMIT, _code(), gpus_here())


def _told(
    known: Mapping[str, Any],
    answer: Any,
    versions: Mapping[str, str],
    clock: tuple[float, float] | None,
) -> Told:
    skew, doubt = clock or (0.0, 0.0)
    found = answer if isinstance(answer, Facts) else None
    trouble = "" if found else f"{type(answer).__name__}: {answer}".rstrip(": ")
    return Told(
        str(known["name"]),
        known["nthreads"],
        known["memory_limit"],
        known["resources"],
        versions,
        found,
        trouble,
        skew,
        doubt,
    )


def _ask(
    client: Client, places: tuple[str, ...], fn: Callable[..., Any], *args: Any
) -> dict[str, Any]:
    """Return what `fn` returns at each place, or the error there; TimeoutError of a silent one."""

    async def all_of_them() -> dict[str, Any]:
        answers = [_ask_one(client, place, fn, *args) for place in places]
        return dict(zip(places, await asyncio.gather(*answers), strict=True))

    answered: dict[str, Any] = client.sync(all_of_them)
    return answered


async def _ask_one(client: Client, place: str, fn: Callable[..., Any], *args: Any) -> Any:
    call = client.run(fn, *args, workers=[place], on_error="return")
    try:
        return (await asyncio.wait_for(call, _SECONDS))[place]
    except TimeoutError:
        return TimeoutError(f"no answer in {_SECONDS:g} s")
    except (OSError, KeyError) as error:
        return error


async def _clocks(client: Client, places: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Return by how many seconds each clock is ahead, and the doubt: half the shortest round trip.

    One place after the other: together they would make each other's trips longer.
    """
    found = {}
    for place in places:
        trips = []
        for _ in range(_PINGS):
            start = time()
            there = await _ask_one(client, place, time)
            end = time()
            if isinstance(there, float):
                trips.append(((end - start) / 2, there - (start + end) / 2))
        if trips:
            doubt, skew = min(trips)
            found[place] = (skew, doubt)
    return found


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _code() -> str:
    """Return a digest of the source files of msl and its kernels: a version may hide an edit."""
    digest = sha256()
    for package in ("msl", "msl_kernels"):
        root = _folder(package)
        for file in sorted(root.rglob("*.py")):
            digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _folder(package: str) -> Path:
    spec = find_spec(package)
    return Path((spec and spec.origin) or "").parent


def _certificate_ends(client: Client) -> float | None:
    """Return until when the scheduler's certificate is valid, seconds since 1970; None without."""
    proof = client.scheduler_comm.comm.extra_info.get("peercert")
    return ssl.cert_time_to_seconds(proof["notAfter"]) if proof else None
