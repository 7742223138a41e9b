"""Runs in an MLflow store, through a client of our own: a user's active run is never touched."""

import json
import logging
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mlflow import MlflowClient
from mlflow.artifacts import load_text
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from msl.errors import TrackingError
from msl.tracking.base import Tracker, Unfinished
from msl.tracking.queue import MetricQueue
from msl.tracking.quiet import quiet
from msl.types import Report, SourceInfo

__all__ = ["MlflowTracker", "find_unfinished"]

_log = logging.getLogger(__name__)

_LONGEST_PARAM = 6000
_MOST_INPUTS = 100


class MlflowTracker(Tracker):
    """One MLflow run; opened on entering, closed on leaving with the status the block ended in.

    Parameters
    ----------
    uri : str
        Any tracking URI; the folder of a sqlite file is made when missing.
    experiment : str
        Made when missing; artifacts of a sqlite store lie beside the file.
    run_name : str, optional
        Shown in the UI.
    parent : str, optional
        Run id under which the UI nests this run.
    params : mapping, optional
        Nested; flattened to dotted names.
    tags : mapping, optional
        Strings.
    resume : str, optional
        A run to go on with instead of making one.
    """

    def __init__(
        self,
        uri: str,
        *,
        experiment: str = "msl",
        run_name: str | None = None,
        parent: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        resume: str | None = None,
    ) -> None:
        self.resume = resume
        self.uri, self.experiment, self.run_name = uri, experiment, run_name
        self.params = dict(params or {})
        self.tags = dict(tags or {}) | ({"mlflow.parentRunId": parent} if parent else {})
        self.run_id: str | None = None

    def __enter__(self) -> Self:
        with _reaching(self.uri):
            self.client = MlflowClient(self.uri)
            self.id = self.run_id = self.resume or self._new_run()
            if self.resume:
                self.client.update_run(self.id, status="RUNNING")
        self.missing: list[str] = []
        self.queue = MetricQueue(self._send)
        return self

    def _new_run(self) -> str:
        run = self.client.create_run(self._experiment_id(), tags=self.tags, run_name=self.run_name)
        self.id = self.run_id = run.info.run_id
        try:
            self._log_params()
        except Exception:
            self.client.set_terminated(self.id, "FAILED")
            raise
        return self.id

    def _log_params(self) -> None:
        flat = [Param(k, v[:_LONGEST_PARAM]) for k, v in _flat(self.params)]
        for start in range(0, len(flat), 100):
            self.client.log_batch(self.id, params=flat[start : start + 100])

    def _send(self, batch: list[Metric]) -> None:
        self.client.log_batch(self.id, metrics=batch)

    def _experiment_id(self) -> str:
        found = self.client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        place = None
        if self.uri.startswith("sqlite:///"):
            folder = Path(self.uri.removeprefix("sqlite:///")).parent
            place = (folder / "artifacts" / self.experiment).resolve().as_uri()
        return str(self.client.create_experiment(self.experiment, artifact_location=place))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _impatient():
            if left := self.queue.close():
                self.missing.append(f"{left} metrics ({self.queue.why})")
            if error is not None:
                with self._sparing("the traceback"):
                    text = "".join(traceback.format_exception(error))
                    self.client.log_text(self.id, text, "traceback.txt")
            with self._sparing("the end of the run"):
                self.client.set_terminated(self.id, self._status(error))
        # An error of the block says more than one of the store.
        if self.missing and error is None:
            raise TrackingError(f"{self.uri} did not take all of run {self.id}: {self.missing}")

    def _status(self, error: BaseException | None) -> str:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return "KILLED"
        return "FAILED" if error is not None or self.missing else "FINISHED"

    @contextmanager
    def _sparing(self, what: str) -> Iterator[None]:
        """Keep a failure of the store from ending the training; `__exit__` tells it."""
        try:
            yield
        except Exception as error:
            _log.warning("the tracking store did not take %s: %s", what, error)
            self.missing.append(f"{what} ({error})")

    def log(self, report: Report) -> None:
        """Queue the metrics of a round, with the round as their step."""
        now = int(time.time() * 1000)
        self.queue.put([Metric(k, v, now, report.round) for k, v in report.metrics().items()])

    def log_sources(self, sources: Sequence[SourceInfo]) -> None:
        """Record each source as a dataset input; beyond 100 sources, one input for all."""
        if len(sources) > _MOST_INPUTS:
            shown = [_all_as_one(sources)]
        else:
            shown = [_dataset(s.name, s.digest, s.rows, s.features, s.place) for s in sources]
        tags = [InputTag("mlflow.data.context", "training")]
        with self._sparing("the sources"):
            self.client.log_inputs(self.id, [DatasetInput(d, tags) for d in shown])

    def log_table(self, name: str, table: dict[str, list[Any]]) -> None:
        """Store a table that the UI shows as one."""
        with self._sparing(name):
            self.client.log_table(self.id, table, name)

    def log_text(self, name: str, text: str) -> None:
        """Store a text."""
        with self._sparing(name):
            self.client.log_text(self.id, text, name)

    def log_figure(self, name: str, figure: Any) -> None:
        """Store a picture."""
        with self._sparing(name):
            self.client.log_figure(self.id, figure, name)

    def log_summary(self, metrics: dict[str, float]) -> None:
        """Queue final numbers."""
        now = int(time.time() * 1000)
        self.queue.put([Metric(k, v, now, 0) for k, v in metrics.items()])

    def log_model(self, model: Any, params: Any, example: Any) -> None:
        """Store the model as a pyfunc and say where in the tag ``msl.model_uri``."""
        from msl.tracking.model import log_pyfunc

        with self._sparing("the model"):
            uri = log_pyfunc(self.uri, self.id, model, params, example)
            self.client.log_batch(self.id, tags=[RunTag("msl.model_uri", uri)])


def find_unfinished(uri: str, experiment: str, grid: str) -> Unfinished:
    """Return the last comparison with this digest, if it broke off, and its finished cells."""
    with _reaching(uri):
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(experiment)
        if known is None:
            return Unfinished(None, {})
        runs = client.search_runs(
            [known.experiment_id], f"tags.`msl.grid` = '{grid}'", order_by=["start_time DESC"],
            max_results=50_000,
        )  # fmt: skip
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    if not parents or parents[0].info.status == "FINISHED":
        return Unfinished(None, {})
    parent = str(parents[0].info.run_id)
    outcomes = {}
    for run in runs:
        tags = run.data.tags
        if tags.get("mlflow.parentRunId") == parent and run.info.status == "FINISHED":
            address = f"{run.info.artifact_uri}/outcome.json"
            outcomes[tags["msl.cell"]] = load_text(address)
    return Unfinished(parent, outcomes)


def _dataset(name: str, digest: str, rows: int, features: int, place: str) -> Dataset:
    return Dataset(
        name,
        digest,
        "msl source",
        json.dumps({"place": place}),
        profile=json.dumps({"num_rows": rows, "num_features": features}),
    )


def _all_as_one(sources: Sequence[SourceInfo]) -> Dataset:
    digest = sha256("".join(s.digest for s in sources).encode()).hexdigest()[:16]
    rows = sum(s.rows for s in sources)
    return _dataset(f"{len(sources)} sources", digest, rows, sources[0].features, "")


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), str(value)


@contextmanager
def _impatient() -> Iterator[None]:
    """Let MLflow give up on a dead server within seconds; alone it would try for minutes."""
    wanted = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    mine = {key: value for key, value in wanted.items() if key not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for key in mine:
            os.environ.pop(key, None)


@contextmanager
def _reaching(uri: str) -> Iterator[None]:
    """Open a store quickly, or say why not."""
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    # Making the tables of a new store is not worth a page of log lines.
    with _impatient(), quiet("alembic", "mlflow.store.db.utils", level=logging.WARNING):
        try:
            yield
        except (MlflowException, OSError) as error:
            raise TrackingError(
                f"cannot open the tracking store {uri}: {error}; start it, or set tracking.uri"
            ) from error
