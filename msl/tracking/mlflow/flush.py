"""What earlier runs left in a spool, sent now."""

import logging
from pathlib import Path

from msl.tracking.base import Flushed
from msl.tracking.mlflow.reach import impatient, opening
from msl.tracking.mlflow.sender import StoreSender
from msl.tracking.queue import drain
from msl.tracking.spool import PREFIX, Spool

__all__ = ["flush"]

_log = logging.getLogger(__name__)


def flush(uri: str | None, spool: Path) -> Flushed:
    """Send what runs that are over left in a spool; see `msl.tracking.flush`."""
    sent: list[str] = []
    waiting: dict[str, str] = {}
    refused: list[str] = []
    # By name, hence by time: a parent before its children.
    for folder in sorted(spool.glob(f"{PREFIX}*")):
        held = Spool.take(folder)
        if held is None:
            continue
        try:
            meant = held.facts["uri"]
            if uri is not None and meant != uri:
                continue
            sender = StoreSender(meant, held)
            _end(held)
            if not any(held.entries()):
                continue
            with impatient(), opening(meant):
                for _ in drain(held, sender, refused):
                    pass
            sent.append(sender.run_id or held.name)
        except Exception as error:
            _log.warning("%s still waits for its store: %s", held.name, error)
            waiting[held.name] = str(error)
        finally:
            held.release()
    return Flushed(tuple(sent), waiting, tuple(refused))


def _end(spool: Spool) -> None:
    """Say of a run whose process died that it was killed."""
    waits = [(path, entry) for path, entry in spool.entries()]
    if not spool.facts.get("ended") and not any(entry["do"] == "end" for _, entry in waits):
        last = waits[-1][0] if waits else spool.folder / "run.json"
        spool.put({"do": "end", "status": "KILLED", "time": int(last.stat().st_mtime * 1000)})
