"""What would break a run, found before it starts: cluster, store, sources; and what to fix."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from time import perf_counter

from rich.markup import escape
from rich.table import Table

from msl.checkpoints.store import Folder
from msl.cluster import Executor, open_executor
from msl.cluster.ask import survey
from msl.cluster.tls import Tls
from msl.config import Config
from msl.dealing import deal
from msl.doctor_cluster import Finding, Level, judge
from msl.errors import MslError, PlanError
from msl.sources import Source
from msl.tracking import spool_of
from msl.tracking.probe import left_in, try_store

__all__ = ["Finding", "Level", "diagnose", "findings_table"]

_COLOURS: Mapping[Level, str] = {"ok": "green", "warn": "yellow", "fail": "red"}
_DEFAULT_STORE = "sqlite:///runs/mlflow.db"


def diagnose(
    config: Config | None = None, scheduler: str | None = None, tls: Tls | None = None
) -> list[Finding]:
    """Look at everything a run stands on; nothing that is found raises.

    Parameters
    ----------
    config : Config, optional
        Its sources are loaded where a run would (one for each worker), its folder of
        checkpoints and its store are tried.
    scheduler : str, optional
        Instead of the one in `config`; without either, this machine is looked at.
    tls : Tls, optional
        Who we are to the cluster.
    """
    address = scheduler or (config.cluster.scheduler if config else None)
    found: list[Finding] = []
    try:
        told = survey(address, tls)
    except PlanError as error:
        found.append(Finding("scheduler", "fail", str(error), "nothing on it can be checked"))
    else:
        found += judge(told)
        if config and all(worker.facts for worker in told.workers) and told.workers:
            found += _at_workers(config, address, tls)
    return found + list(_tracking(config))


def findings_table(findings: Iterable[Finding]) -> Table:
    """Return the findings as a table for a terminal."""
    table = Table("check", "", "found", "what to do", show_lines=True)
    for f in findings:
        level = f"[{_COLOURS[f.level]}]{f.level}[/]"
        table.add_row(f.check, level, escape(f.found), escape(f.fix))
    return table


def _at_workers(config: Config, scheduler: str | None, tls: Tls | None) -> list[Finding]:
    """Try at the workers what a run does there before its first round."""
    try:
        with open_executor(scheduler, 0, tls=tls, patience=0) as executor:
            return [*_sources(config, executor), *_checkpoints(config, executor)]
    except Exception as error:  # what a worker cannot even unpickle has no class of ours
        return [Finding("sources", "fail", str(error), f"{_ALIKE} all")]


def _sources(config: Config, executor: Executor) -> list[Finding]:
    """Load one source at each worker, by the rank that a run would give it, and the held-out."""
    sources = config.sources()
    asked = [(sources[ranks[0]], place) for place, ranks in deal(sources, executor).items()]
    if held_out := config.held_out():
        asked.append((held_out, executor.places[0]))
    told = executor.gather([executor.submit(try_load, s, at=place) for s, place in asked])
    return [
        Finding(f"source {source.name}", level, found, "" if level == "ok" else f"{_ALIKE} {place}")
        for (source, place), (level, found) in zip(asked, told, strict=True)
    ]


_ALIKE = "its path and its packages must be there on the worker too:"


def _checkpoints(config: Config, executor: Executor) -> list[Finding]:
    """Let every worker leave a file in the folder of checkpoints, and look for it from here."""
    if config.checkpoint.every is None:
        return []
    folder = Folder(config.checkpoint.folder)
    names = {place: f"doctor-{token_hex(8)}" for place in executor.places}
    told = executor.gather(
        [executor.submit(leave_file, folder.url, name, at=place) for place, name in names.items()]
    )
    seen = folder.names()
    wrong = [
        f"{trouble or 'cannot be seen from here'} ({place})"
        for (place, name), trouble in zip(names.items(), told, strict=True)
        if trouble or name not in seen
    ]
    executor.gather(
        [executor.submit(take_file, folder.url, name, at=place) for place, name in names.items()]
    )
    if wrong:
        fix = "checkpoint.folder must be one that all workers and the client share"
        return [Finding("checkpoints", "fail", f"{folder.url}: {'; '.join(wrong[:4])}", fix)]
    return [Finding("checkpoints", "ok", f"{folder.url}: written by all workers")]


def leave_file(url: str, name: str) -> str:
    """Write a small file where checkpoints will lie; return why that does not work, if so."""
    try:
        Folder(url).put_bytes(name, b"written")
    except Exception as error:  # every store raises errors of its own
        return f"{type(error).__name__}: {error}"
    return ""


def take_file(url: str, name: str) -> None:
    """Remove it again; what could not be written cannot be removed."""
    with suppress(Exception):
        Folder(url).remove(name)


def try_load(source: Source) -> tuple[Level, str]:
    """Load a source where it will live; no row of it leaves."""
    start = perf_counter()
    try:
        data = source.load()
    except Exception as error:  # whatever a user's loader raises
        return "fail", str(error)
    took = perf_counter() - start
    return "ok", f"{len(data)} rows of {data.X.shape[1]} features, {took:.2f} s"


def _tracking(config: Config | None) -> Iterator[Finding]:
    uri = config.tracking.uri if config else _DEFAULT_STORE
    experiment = config.tracking.experiment if config else "msl"
    try:
        yield Finding("store", "ok", try_store(uri, experiment))
    except MslError as error:
        fix = "start the server, or set tracking.uri; a server that comes back gets what it missed"
        yield Finding("store", "fail", str(error), fix)
    asked = config.tracking.spool if config else None
    spool = Path(asked) if asked else spool_of(uri)
    if left := left_in(spool):
        found = f"{len(left)} run(s) with {sum(left.values())} entries wait in {spool}"
        yield Finding("spool", "warn", found, f"msl sync {spool}")
