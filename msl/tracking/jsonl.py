"""Runs as plain files, for those who read them with their own tools."""

import json
import logging
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

import numpy as np

from msl.errors import TrackingError
from msl.tracking.base import BROKEN_OFF, Tracker, Unfinished
from msl.tracking.files import folder_of, write_figure, write_table, write_text
from msl.types import Report, SourceInfo

__all__ = ["JsonlTracker", "find_unfinished"]

_log = logging.getLogger(__name__)


class JsonlTracker(Tracker):
    """One folder: ``meta.json``, ``run.jsonl`` with a line per round, and files of their names.

    Parameters
    ----------
    root : str
        Folder of all experiments; made when missing.
    experiment, run_name, parent, params, tags, note
        As for MLflow; they end up in ``meta.json``, the note in ``README.md``.
    resume : str, optional
        A run to go on with instead of making one.
    """

    def __init__(
        self,
        root: str,
        *,
        experiment: str = "msl",
        run_name: str | None = None,
        parent: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        note: str | None = None,
        resume: str | None = None,
    ) -> None:
        made = f"{time.strftime('%Y%m%dT%H%M%S')}-{token_hex(4)}"
        self.run_id: str | None = resume or made
        self.folder = Path(root) / folder_of(experiment) / (resume or made)
        self.missing: list[str] = []
        self._note = note
        self._meta: dict[str, Any] = {
            "name": run_name,
            "parent": parent,
            "tags": dict(tags or {}),
            "params": params or {},
            "start": time.time(),
        }

    def __enter__(self) -> Self:
        """Make the folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._put_meta(status="RUNNING")
            # A line is 1 kB; unbuffered, a killed process loses none.
            self._rounds = (self.folder / "run.jsonl").open("a", buffering=1, encoding="utf-8")
        except OSError as error:
            raise TrackingError(
                f"cannot write to {self.folder}: {error}; set tracking.uri to a folder that can "
                "be written"
            ) from error
        if self._note:
            self.log_text("README.md", self._note)
        return self

    def _put_meta(self, **more: Any) -> None:
        self._meta |= more
        aside = self.folder / "meta.new"
        aside.write_text(json.dumps(self._meta, indent=1, default=str))
        aside.replace(self.folder / "meta.json")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say how the run ended."""
        if error is not None:
            self.log_text("traceback.txt", "".join(traceback.format_exception(error)))
        killed = isinstance(error, KeyboardInterrupt | SystemExit)
        failed = error is not None or self.missing
        status = "KILLED" if killed else "FAILED" if failed else "FINISHED"
        with self._sparing("the end of the run"):
            self._rounds.close()
            self._put_meta(status=status, end=time.time())
        if self.missing and error is None:
            raise TrackingError(f"{self.folder} did not take {', '.join(self.missing)}")

    @contextmanager
    def _sparing(self, what: str) -> Iterator[None]:
        """Keep a full disk from ending the training; `__exit__` tells it."""
        try:
            yield
        except Exception as error:
            if not self.missing:
                _log.warning("%s does not take %s: %s", self.folder, what, error)
            self.missing.append(f"{what} ({error})")

    def rounds(self) -> frozenset[int]:
        """Return the rounds that have a line, after removing half a one that a killed run left."""
        path = self.folder / "run.jsonl"
        *lines, torn = path.read_bytes().split(b"\n")
        os.truncate(path, path.stat().st_size - len(torn))
        return frozenset(json.loads(line)["round"] for line in lines)

    def log(self, report: Report) -> None:
        """Append a line: round, time, and the metrics under their names."""
        self._append({"round": report.round, "time": time.time(), **report.metrics()})

    def _append(self, line: dict[str, float]) -> None:
        with self._sparing("a round"):
            self._rounds.write(json.dumps(line) + "\n")

    def log_sources(self, sources: Sequence[SourceInfo]) -> None:
        """Write who they are to ``inputs.json``."""
        with self._sparing("the sources"):
            write_text(self.folder / "inputs.json", json.dumps([asdict(s) for s in sources]))

    def log_table(self, name: str, table: dict[str, list[Any]]) -> None:
        """Write column names and rows."""
        with self._sparing(name):
            write_table(self.folder / name, table)

    def log_text(self, name: str, text: str) -> None:
        """Write a text."""
        with self._sparing(name):
            write_text(self.folder / name, text)

    def log_figure(self, name: str, figure: Any) -> None:
        """Write a picture."""
        with self._sparing(name):
            write_figure(self.folder / name, figure)

    def log_summary(self, metrics: dict[str, float]) -> None:
        """Write final numbers to ``meta.json``."""
        with self._sparing("the summary"):
            self._put_meta(summary={**self._meta.get("summary", {}), **metrics})

    def log_model(self, model: Any, params: Any, example: Any) -> None:
        """Write the parameters, an array per block, to ``model.npz``."""
        with self._sparing("the model"):
            np.savez(self.folder / "model.npz", **model.layout.split(np.asarray(params)))

    def log_checkpoint(
        self,
        round: int,
        model: Any,
        params: Any,
        *,
        example: Any = None,
        dataset: SourceInfo | None = None,
    ) -> None:
        """Write the parameters to ``checkpoints/``."""
        place = self.folder / "checkpoints" / f"round-{round:06}.npz"
        with self._sparing(place.name):
            place.parent.mkdir(exist_ok=True)
            np.savez(place, **model.layout.split(np.asarray(params)))


def find_unfinished(root: str, experiment: str, grid: str) -> Unfinished:
    """Return the last comparison with this digest, if it broke off, and how far its cells are."""
    metas = {
        meta.parent: json.loads(meta.read_text())
        for meta in sorted((Path(root) / folder_of(experiment)).glob("*/meta.json"))
    }
    mine = {run: meta for run, meta in metas.items() if meta["tags"].get("msl.grid") == grid}
    parents = [run for run, meta in mine.items() if meta["parent"] is None]
    if not parents or mine[parents[-1]]["status"] == "FINISHED":
        return Unfinished(None)
    parent = parents[-1].name
    cells = {run: meta for run, meta in mine.items() if meta["parent"] == parent}
    return Unfinished(
        parent,
        {
            meta["tags"]["msl.cell"]: (run / "outcome.json").read_text()
            for run, meta in cells.items()
            if meta["status"] == "FINISHED" and (run / "outcome.json").exists()
        },
        # Of a cell the newest, as folders sort by time.
        {
            meta["tags"]["msl.cell"]: run.name
            for run, meta in cells.items()
            if meta["status"] in BROKEN_OFF
        },
    )
