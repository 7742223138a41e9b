"""What the answers of a cluster's workers mean for a run."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Literal, TypeAlias, TypeVar

from msl.cluster.ask import Survey, Told

__all__ = ["Finding", "Level", "judge"]

Level: TypeAlias = Literal["ok", "warn", "fail"]
Said = TypeVar("Said")

_SAME = ("python", "msl", "distributed")
"""Other versions of these do not understand each other; of the rest, only bits may differ."""
_CLOCK_SECONDS = 1.0
_SOON_DAYS = 14


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, and what to do when it is not well."""

    check: str
    level: Level
    found: str
    fix: str = ""


def judge(told: Survey) -> list[Finding]:
    """Return what a survey means."""
    if not told.workers:
        return [Finding("workers", "fail", "none", f"dask worker {told.scheduler} --nthreads 1")]
    checks = (_silent, _versions, _code, _encryption, _clocks, _cores, _memory, _gpus)
    return [finding for check in checks for finding in check(told)]


def _silent(told: Survey) -> Iterator[Finding]:
    for trouble, names in _by((w.trouble, w.name) for w in told.workers if w.trouble):
        fix = "look at its log; a worker without a working msl needs the same install as here"
        yield Finding("workers", "fail", f"{trouble} ({names})", fix)
    if all(w.facts for w in told.workers):
        yield Finding("workers", "ok", f"{len(told.workers)} of {len(told.workers)} answer")


def _versions(told: Survey) -> Iterator[Finding]:
    """Hold what every worker has against what is installed here."""
    others = [(f"worker {w.name}", w.versions) for w in told.workers if w.versions]
    if told.scheduler_versions:
        others.append(("the scheduler", told.scheduler_versions))
    differ = []
    for who, versions in others:
        wanted = told.ours if who != "the scheduler" else {n: told.ours[n] for n in versions}
        for name, ours in wanted.items():
            if (theirs := versions.get(name, "missing")) != ours:
                differ.append(((name, theirs, ours), who))
    for (name, theirs, ours), names in _by(differ):
        level: Level = "fail" if name in _SAME or theirs == "missing" else "warn"
        why = "" if level == "fail" else "; equal bits are not promised"
        found = f"{name} {theirs} ({names}), here {ours}{why}"
        yield Finding("versions", level, found, f"install {name} {ours} there")
    if not differ:
        yield Finding("versions", "ok", ", ".join(f"{n} {v}" for n, v in told.ours.items()))


def _code(told: Survey) -> Iterator[Finding]:
    other = [w.name for w in told.workers if w.facts and w.facts.code != told.code]
    if other:
        found = f"msl has the same version, but other files than here ({_names(other)})"
        yield Finding("code", "fail", found, "install the same commit everywhere")


def _encryption(told: Survey) -> Iterator[Finding]:
    if told.scheduler is None:
        return
    if told.certificate_ends is not None:
        days = (told.certificate_ends - time()) / 86400
        level: Level = "ok" if days > _SOON_DAYS else "warn"
        fix = "" if level == "ok" else "renew it before it ends: who joins later is not let in"
        found = f"TLS; the scheduler's certificate is valid for {days:.0f} more days"
        yield Finding("encryption", level, found, fix)
    elif not told.scheduler.startswith(("tcp://127.", "tcp://localhost", "tcp://[::1]", "inproc:")):
        found = f"none: whoever reaches {told.scheduler} runs code on all workers"
        yield Finding("encryption", "warn", found, "use TLS, see docs/security.md")


def _clocks(told: Survey) -> Iterator[Finding]:
    if told.scheduler is None:
        return
    worst = max(told.workers, key=lambda w: abs(w.skew) - w.doubt)
    found = f"{worst.skew:+.3f} s, give or take {worst.doubt:.3f} s (worker {worst.name})"
    if abs(worst.skew) - worst.doubt > _CLOCK_SECONDS:
        fix = "let chrony or ntpd set the clocks: certificates and the times of logs depend on them"
        yield Finding("clocks", "warn", found, fix)
    else:
        yield Finding("clocks", "ok", f"largest difference {found}")


def _hosts(told: Survey) -> Mapping[str, list[Told]]:
    hosts: dict[str, list[Told]] = defaultdict(list)
    for worker in told.workers:
        if worker.facts:
            hosts[worker.facts.host].append(worker)
    return hosts


def _cores(told: Survey) -> Iterator[Finding]:
    if told.scheduler is None:
        yield Finding("cores", "ok", f"{told.workers[0].threads}")
        return
    many = [w.name for w in told.workers if w.threads > 1]
    if many:
        found = f"more than one thread ({_names(many)}); sources use one thread of a worker"
        yield Finding("cores", "warn", found, "dask worker --nthreads 1 --nworkers CORES")
    crowded = [
        f"{host}: {len(workers)} workers on {workers[0].facts.cores} cores"
        for host, workers in _hosts(told).items()
        if workers[0].facts and len(workers) > workers[0].facts.cores
    ]
    if crowded:
        yield Finding("cores", "warn", "; ".join(crowded), "start one worker per core at most")
    if not many and not crowded:
        shown = [f"{host}: {len(workers)} workers" for host, workers in _hosts(told).items()]
        yield Finding("cores", "ok", _names(shown))


def _memory(told: Survey) -> Iterator[Finding]:
    wrong = []
    for host, workers in _hosts(told).items():
        there = workers[0].facts.memory if workers[0].facts else 0
        given = sum(w.memory_limit for w in workers)
        if given > there * 1.01 or not all(w.memory_limit for w in workers):
            shown = _gib(given) if all(w.memory_limit for w in workers) else "no limit"
            wrong.append(f"{host}: its workers may take {shown} of {_gib(there)}")
    if wrong:
        fix = "dask worker --memory-limit auto, or less than the machine has in all"
        yield Finding("memory", "warn", _names(wrong), fix)
    elif limits := [w.memory_limit for w in told.workers if w.facts]:
        yield Finding("memory", "ok", f"{_gib(min(limits))} or more for each worker")


def _gpus(told: Survey) -> Iterator[Finding]:
    seen: dict[tuple[str, str], list[str]] = defaultdict(list)
    faults: list[tuple[tuple[Level, str, str], str]] = []
    for worker in told.workers:
        if worker.facts is None:
            continue
        gpus, asked = worker.facts.gpus, worker.resources.get("GPU", 0)
        if asked and not gpus.cards:
            faults.append((("fail", "has the resource GPU, but no card", _NO_CARD), worker.name))
        elif gpus.cards and not gpus.usable:
            level: Level = "fail" if asked else "warn"
            found = f"numba cannot use {gpus.cards[0]}, driver {gpus.driver}"
            faults.append(
                ((level, found, "pip install 'msl[cuda]'; update the driver"), worker.name)
            )
        elif gpus.cards:
            visible = (gpus.visible or "0").partition(",")[0]
            seen[worker.facts.host, visible].append(worker.name)
    for (level, found, fix), names in _by(faults):
        yield Finding("GPU", level, f"{found} ({names})", fix)
    for (host, visible), workers in seen.items():
        if len(workers) > 1:
            found = f"{_names(workers)} share card {visible} of {host}"
            yield Finding("GPU", "warn", found, "dask cuda worker starts one worker per card")
    if not faults:
        found = (
            f"{sum(map(len, seen.values()))} workers with a card" if seen else "none: CPU kernels"
        )
        yield Finding("GPU", "ok", found)


_NO_CARD = "start it without --resources GPU=1, or on a machine whose nvidia-smi shows a card"


def _by(pairs: Iterable[tuple[Said, str]]) -> list[tuple[Said, str]]:
    """Return what is said, once, and who says it."""
    found: dict[Said, list[str]] = defaultdict(list)
    for said, who in pairs:
        found[said].append(who)
    return [(said, _names(names)) for said, names in found.items()]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
