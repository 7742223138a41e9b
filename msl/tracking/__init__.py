"""Tracking: every round is heard on the driver, and only there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msl.tracking.autolog import active_tracker, autolog
from msl.tracking.base import Flushed, NullTracker, Tracker, Unfinished
from msl.tracking.note import note_of
from msl.tracking.spool import spool_of

__all__ = [
    "TRACKERS",
    "Flushed",
    "NullTracker",
    "Tracker",
    "Unfinished",
    "active_tracker",
    "autolog",
    "flush",
    "make_tracker",
    "note_of",
    "spool_of",
    "unfinished",
]


def _none(_uri: str, **_settings: Any) -> Tracker:
    return NullTracker()


def _jsonl(uri: str, **settings: Any) -> Tracker:
    from msl.tracking.jsonl import JsonlTracker

    # What only a server or its page can do.
    for key in ("register", "system_metrics", "spool", "experiment_id"):
        settings.pop(key, None)
    return JsonlTracker(uri.removeprefix("jsonl:"), **settings)


def _mlflow(uri: str, **settings: Any) -> Tracker:
    from msl.tracking.mlflow import MlflowTracker

    return MlflowTracker(uri, **settings)


# mlflow is imported by its maker and not before: it takes seconds.
TRACKERS: dict[str, Callable[..., Tracker]] = {"none": _none, "jsonl": _jsonl, "mlflow": _mlflow}


def kind_of(uri: str | None) -> str:
    """Return which of `TRACKERS` a URI means; all that is none of ours is MLflow's.

    Examples
    --------
    >>> [kind_of(uri) for uri in (None, "none", "jsonl:runs/plain", "sqlite:///runs/mlflow.db")]
    ['none', 'none', 'jsonl', 'mlflow']
    """
    scheme = "none" if uri is None else uri.partition(":")[0]
    return scheme if scheme in TRACKERS else "mlflow"


def make_tracker(uri: str | None, **settings: Any) -> Tracker:
    """Return the tracker of a URI: MLflow's own, ``jsonl:FOLDER``, ``none`` or None.

    Parameters
    ----------
    uri : str or None
        Where to.
    **settings
        See `msl.tracking.mlflow.MlflowTracker`.
    """
    return TRACKERS[kind_of(uri)](uri, **settings)


def unfinished(uri: str | None, experiment: str, grid: str) -> Unfinished:
    """Return what a store holds of a comparison that broke off; nothing for ``"none"``."""
    kind = kind_of(uri)
    if uri is None or kind == "none":
        return Unfinished(None)
    if kind == "jsonl":
        from msl.tracking import jsonl

        return jsonl.find_unfinished(uri.removeprefix("jsonl:"), experiment, grid)
    from msl.tracking.mlflow import find_unfinished

    return find_unfinished(uri, experiment, grid)


def flush(uri: str | None = None, spool: str | Path | None = None) -> Flushed:
    """Send what runs that are over left in a spool, the oldest first; twice is as good as once.

    Runs that still go on are left alone. A run whose process died is sent as killed.

    Parameters
    ----------
    uri : str, optional
        Only runs meant for this store; all by default.
    spool : path, optional
        The folder; by default where runs for `uri` wait (see `spool_of`).
    """
    from msl.tracking.mlflow import flush as send

    return send(uri, Path(spool) if spool else spool_of(uri or ""))
