"""One run in an MLflow store: everything it hears becomes an entry, a thread sends entries."""

import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mlflow.exceptions import MlflowException

from msl.errors import TrackingError
from msl.tracking.base import Tracker
from msl.tracking.files import write_figure, write_table, write_text
from msl.tracking.keys import few_keys
from msl.tracking.mlflow import entries
from msl.tracking.mlflow.reach import impatient, is_local, opening, shown
from msl.tracking.mlflow.sender import PARENT, StoreSender
from msl.tracking.mlflow.system import SystemMetrics
from msl.tracking.queue import Row, SpoolQueue, drain
from msl.tracking.spool import Entry, Spool, spool_of
from msl.types import Report, SourceInfo

__all__ = ["MlflowTracker"]

_log = logging.getLogger(__name__)


class MlflowTracker(Tracker):
    """One MLflow run; opened on entering, closed on leaving with the status the block ended in.

    A server that does not answer, at the start or later, never stops the block: what it has not
    taken waits in a spool.

    Parameters
    ----------
    uri : str
        Any tracking URI; the folder of a sqlite file is made when missing.
    experiment : str
        Made when missing; artifacts of a sqlite store lie beside the file.
    experiment_id : str, optional
        Instead of a name.
    run_name : str, optional
        Shown in the UI.
    parent : str, optional
        Run under which the UI nests this run: its `run_id`.
    params : mapping, optional
        Nested; flattened to dotted names.
    tags : mapping, optional
        Strings.
    note : str, optional
        Markdown, the run's description.
    resume : str, optional
        A run to go on with instead of making one.
    register : str, optional
        Name in the model registry that the final model becomes a version of.
    system_metrics : bool
        Log processor, memory, disk and network of this machine every ten seconds.
    spool : path, optional
        Where rounds wait while a server is away; `spool_of` says the usual place.
    """

    def __init__(
        self,
        uri: str,
        *,
        experiment: str = "msl",
        experiment_id: str | None = None,
        run_name: str | None = None,
        parent: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        note: str | None = None,
        resume: str | None = None,
        register: str | None = None,
        system_metrics: bool = False,
        spool: str | Path | None = None,
    ) -> None:
        self.uri, self.resume, self.register = uri, resume, register
        self.root = Path(spool) if spool else spool_of(uri)
        tags = dict(tags or {}) | ({PARENT: parent} if parent else {})
        self._made_of = (experiment, experiment_id, run_name, tags, note)
        self._params = params or {}
        self._system_metrics = system_metrics
        self._evaluated: tuple[int, list[Row]] = (0, [])
        self.run_id: str | None = None

    def __enter__(self) -> Self:
        """Open the run, or the folder where it waits for its server."""
        try:
            self.spool = Spool.new(self.root.absolute(), uri=self.uri)
        except OSError as error:
            raise TrackingError(
                f"cannot keep a spool in {self.root}: {error}; set tracking.spool to a folder that "
                "can be written"
            ) from error
        self.sender = StoreSender(self.uri, self.spool, fresh=True)
        self.queue = SpoolQueue(self.spool, self.sender, shown(self.uri))
        self._open()
        self.run_id = self.sender.run_id or self.spool.name
        self.queue.start()
        self._system = SystemMetrics(self.queue.put_metrics) if self._system_metrics else None
        return self

    def _open(self) -> None:
        """Make the run; an error that is none of a server away ends everything here."""
        if self.resume:
            self.queue.put({"do": "reopen", "run_id": self.resume})
        else:
            self.queue.put(entries.create(*self._made_of))
            if self._params:
                self.queue.put(entries.params(self._params))
        refused: list[str] = []
        try:
            with opening(self.uri):
                if is_local(self.uri):
                    for _ in drain(self.spool, self.sender, refused):
                        pass
                elif self.queue.offer():
                    refused = self.queue.missing
        except Exception as error:
            refused.append(str(error))
        if refused:
            if self.sender.run_id:
                with suppress(Exception):
                    self.sender.send(entries.end("FAILED"))
            self.spool.discard()
            raise TrackingError(
                f"cannot open a run in the tracking store {shown(self.uri)}: "
                f"{', '.join(refused)}; start it, or set tracking.uri"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send what is left; warn of what must wait, raise of what is lost."""
        if self._system:
            self._system.stop()
        if error is not None:
            self.log_text("traceback.txt", "".join(traceback.format_exception(error)))
        with impatient():
            arrived = self.queue.close()
            self.queue.put(entries.end(self._status(error)))
            arrived = arrived and self.queue.offer()
        self.run_id = self.sender.run_id or self.run_id
        if not arrived:
            _log.warning(
                "%s has not got all of run %s; the rest waits in %s, send it with: msl sync %s",
                shown(self.uri), self.run_id, self.spool.folder, self.root.absolute(),
            )  # fmt: skip
        if not self.queue.stuck:
            self.spool.release()
        # An error of the block says more than one of the store.
        if self.queue.missing and error is None:
            raise TrackingError(
                f"{shown(self.uri)} did not take all of run {self.run_id}: "
                f"{', '.join(self.queue.missing)}; what can be saved is in {self.spool.folder}"
            )

    def _status(self, error: BaseException | None) -> str:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return "KILLED"
        return "FAILED" if error is not None or self.queue.missing else "FINISHED"

    def rounds(self) -> frozenset[int]:
        """Return the rounds that the store has; none when it does not answer."""
        if not self.resume or not self.sender.run_id:
            return frozenset()
        try:
            known = self.sender.client.get_metric_history(self.sender.run_id, "round/participants")
        except (MlflowException, OSError):
            return frozenset()
        # The last one may be there in part: metrics go in batches.
        return frozenset(sorted({point.step for point in known})[:-1])

    def log(self, report: Report) -> None:
        """Queue the metrics of a round, with the round as their step."""
        step = report.round
        rows = entries.rows_of(few_keys(report.metrics()), step)
        self.queue.put_metrics(rows)
        if seen := [row for row in rows if row[0].startswith("eval/")]:
            self._evaluated = (step, seen)

    def log_sources(self, sources: Sequence[SourceInfo]) -> None:
        """Record each source as a dataset input; beyond 100 sources, one input for all."""
        self.queue.put(entries.inputs(sources, "training"))

    def log_table(self, name: str, table: dict[str, list[Any]]) -> None:
        """Store a table that the UI shows as one."""
        with self._artifact(name, table=True) as place:
            write_table(place, table)

    def log_text(self, name: str, text: str) -> None:
        """Store a text."""
        with self._artifact(name) as place:
            write_text(place, text)

    def log_figure(self, name: str, figure: Any) -> None:
        """Store a picture."""
        with self._artifact(name) as place:
            write_figure(place, figure)

    @contextmanager
    def _artifact(self, name: str, table: bool = False) -> Iterator[Path]:
        """Yield a path to write to, and queue what is there afterwards."""
        with self._keeping(name):
            place = self.spool.place(name)
            yield place
            self.queue.put({"do": "file", "name": name, "table": table}, place)

    @contextmanager
    def _keeping(self, what: str) -> Iterator[None]:
        """Keep what cannot be written from ending the training; `__exit__` tells it."""
        try:
            yield
        except Exception as error:
            self.queue.lose(what, error)

    def log_summary(self, metrics: dict[str, float]) -> None:
        """Queue final numbers."""
        self.queue.put_metrics(entries.rows_of(metrics, 0))

    def log_model(self, model: Any, params: Any, example: Any) -> None:
        """Store the model, with the last evaluation; the tag ``msl.model_uri`` says where."""
        step, seen = self._evaluated
        entry = entries.model("model", step, seen, final=True, register=self.register)
        self._save(entry, model, params, example)

    def log_checkpoint(
        self,
        round: int,
        model: Any,
        params: Any,
        *,
        example: Any = None,
        dataset: SourceInfo | None = None,
    ) -> None:
        """Store the model of a round, with what that round's evaluation said."""
        step, seen = self._evaluated
        if dataset is not None:
            self.queue.put(entries.inputs([dataset], "evaluation"))
        linked = seen if step == round else []
        entry = entries.model(f"checkpoint-{round}", round, linked, dataset)
        self._save(entry, model, params, example)

    def _save(self, entry: Entry, model: Any, params: Any, example: Any) -> None:
        from msl.tracking.model import save_model

        with self._keeping(entry["name"]):
            place = self.spool.place(entry["name"])
            save_model(place, model, params, example)
            self.queue.put(entry, place)
