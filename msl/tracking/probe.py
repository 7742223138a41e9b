"""A try of a store before a run depends on it: whether it can be reached and written."""

import os
from pathlib import Path

from msl.errors import TrackingError
from msl.tracking import kind_of
from msl.tracking.spool import Spool

__all__ = ["left_in", "try_store"]

_SQLITE = "sqlite:///"


def try_store(uri: str, experiment: str) -> str:
    """Return what was tried; on MLflow a run with an artifact, deleted again.

    Raises
    ------
    TrackingError
        When it does not answer or takes nothing; names the URI and why.
    """
    kind = kind_of(uri)
    if kind == "none":
        return "nothing is tracked"
    if kind == "jsonl":
        return _may_write(uri, Path(uri.removeprefix("jsonl:")))
    if uri.startswith(_SQLITE) and not (file := Path(uri.removeprefix(_SQLITE))).exists():
        # To make its tables takes seconds; a run does it.
        return _may_write(uri, file.parent)
    from msl.tracking.mlflow.probe import write_and_delete
    from msl.tracking.mlflow.reach import shown

    if write_and_delete(uri, experiment):
        return f"{shown(uri)}: a run was written, read back and deleted"
    return f"{shown(uri)}: it answers; the first run makes experiment {experiment!r}"


def _may_write(uri: str, folder: Path) -> str:
    """Return that files can be made in a folder, or in the one in which it would be made."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise TrackingError(f"{uri}: no file can be written in {there}")
    return f"{uri}: will be made by the first run"


def left_in(root: Path) -> dict[str, int]:
    """Return the runs that are over but not sent: name of the folder -> entries that wait.

    Runs that still go on are not among them.
    """
    left = {}
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if (folder / "run.json").exists() and (spool := Spool.take(folder)) is not None:
            refused = len(list((folder / "refused").glob("*.json")))
            left[folder.name] = sum(1 for _ in spool.entries()) + refused
            spool.release()
    return {name: entries for name, entries in left.items() if entries}
