"""What a store has not taken yet: a folder per run, a file per entry, in order.

An entry is a small JSON file that appears whole (written aside, then renamed) and is deleted once
the store has taken it. Whoever works on a folder holds its lock, so that a run that is still going
and a later `flush` never send the same folder at once.
"""

import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, Self

__all__ = ["LIMIT", "PREFIX", "Entry", "Spool", "spool_of"]

Entry = dict[str, Any]
"""What to do (``do``), with what; ``file`` names an artifact inside the folder."""

LIMIT = 2 << 30
"""Bytes that one run may keep waiting."""

PREFIX = "msl-"
"""How the name of a run starts that no store has named yet."""


def spool_of(uri: str) -> Path:
    """Return where runs for a store wait: beside a sqlite file, otherwise ``runs/spool``."""
    if uri.startswith("sqlite:///"):
        return Path(uri.removeprefix("sqlite:///")).parent / "spool"
    return Path("runs") / "spool"


class Spool:
    """The folder of one run, held by this process.

    Parameters
    ----------
    folder : Path
        Must exist.
    lock : int
        File descriptor that holds its lock.
    """

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder, self.name, self._lock = folder, folder.name, lock
        self._counting = threading.Lock()
        self._next = max((int(path.stem) for path in self._paths()), default=-1) + 1
        self._bytes = sum(path.stat().st_size for path in folder.rglob("*"))

    @classmethod
    def new(cls, root: Path, **facts: Any) -> Self:
        """Make the folder of a run that starts now; `facts` are kept in ``run.json``."""
        # Names sort by time, so that a parent is sent before its children.
        now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = f"{PREFIX}{now}-{time.time_ns() % 10**9:09}-{token_hex(3)}"
        # It gets its name only when it is locked, or a flush could take it for an orphan.
        hidden = root / f".{name}"
        root.mkdir(parents=True, exist_ok=True)
        # A database's URI, which it keeps, may hold a password.
        hidden.mkdir(mode=0o700)
        lock = _locked(hidden)
        hidden.rename(root / name)
        spool = cls(root / name, lock or 0)
        spool.remember(**facts)
        return spool

    @classmethod
    def take(cls, folder: Path) -> Self | None:
        """Return a folder that somebody left; None while its run is going on."""
        lock = _locked(folder)
        return None if lock is None else cls(folder, lock)

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of the run: its store, and its id there once it has one."""
        found: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return found

    def remember(self, **facts: Any) -> None:
        """Add to the facts."""
        known = self.facts if (self.folder / "run.json").exists() else {}
        _write(self.folder / "run.json", json.dumps(known | facts))

    def put(self, entry: Mapping[str, Any]) -> None:
        """Keep an entry; raises OSError when the disk or the limit does not allow it."""
        text = json.dumps(entry)
        self._grow(len(text))
        _write(self.folder / f"{self._next:08}.json", text)
        self._next += 1

    def place(self, name: str) -> Path:
        """Return a path for an artifact, inside the folder, that nothing else has."""
        place = self.folder / "files" / token_hex(8) / Path(name).name
        place.parent.mkdir(parents=True)
        return place

    def keep(self, entry: Mapping[str, Any], artifact: Path) -> None:
        """Keep an entry with an artifact that lies at a `place`; on OSError both are gone."""
        try:
            files = [artifact, *artifact.rglob("*")] if artifact.is_dir() else [artifact]
            self._grow(sum(file.stat().st_size for file in files))
            self.put({**entry, "file": artifact.relative_to(self.folder).as_posix()})
        except OSError:
            shutil.rmtree(artifact.parent, ignore_errors=True)
            raise

    def _grow(self, size: int) -> None:
        with self._counting:
            if self._bytes + size > LIMIT:
                raise OSError(f"{self.folder} holds {LIMIT >> 20} MiB that no store has taken")
            self._bytes += size

    def entries(self) -> Iterator[tuple[Path, Entry]]:
        """Yield what waits, the oldest first."""
        for path in self._paths():
            yield path, json.loads(path.read_text())

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.json"))

    def drop(self, path: Path, entry: Entry) -> None:
        """Forget an entry that the store has taken, and its artifact."""
        gone = path.stat().st_size
        path.unlink()
        if "file" in entry:
            place = (self.folder / entry["file"]).parent
            gone += sum(file.stat().st_size for file in place.rglob("*"))
            shutil.rmtree(place, ignore_errors=True)
        with self._counting:
            self._bytes -= gone

    def refuse(self, path: Path) -> None:
        """Set an entry aside that the store will never take; its artifact stays."""
        aside = self.folder / "refused"
        aside.mkdir(exist_ok=True)
        path.rename(aside / path.name)

    @property
    def empty(self) -> bool:
        """Whether nothing waits and nothing was refused."""
        return not self._paths() and not (self.folder / "refused").exists()

    def discard(self) -> None:
        """Give the folder up and remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def release(self) -> None:
        """Give the folder up; an empty one is removed."""
        if self.empty:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def _locked(folder: Path) -> int | None:
    """Return a descriptor that holds the folder's lock; None when another one does."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _write(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    aside = path.with_suffix(".new")
    aside.write_text(text)
    aside.replace(path)
