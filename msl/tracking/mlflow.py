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
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from msl.errors import TrackingError
from msl.tracking.base import Tracker
from msl.tracking.queue import MetricQueue
from msl.tracking.quiet import quiet
from msl.types import Report, SourceInfo

__all__ = ["MlflowTracker"]

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
    ) -> None:
        self.uri, self.experiment, self.run_name = uri, experiment, run_name
        self.params = dict(params or {})
        self.tags = dict(tags or {}) | ({"mlflow.parentRunId": parent} if parent else {})
        self.run_id: str | None = None

    def __enter__(self) -> Self:
        with _reaching(self.uri):
            self.client = MlflowClient(self.uri)
            run = self.client.create_run(
                self._experiment_id(), tags=self.tags, run_name=self.run_name
            )
            self.id = self.run_id = run.info.run_id
            flat = [Param(k, v[:_LONGEST_PARAM]) for k, v in _flat(self.params)]
            for start in range(0, len(flat), 100):
                self.client.log_batch(self.id, params=flat[start : start + 100])
        self.queue = MetricQueue(self._send)
        return self

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
        left = self.queue.close()
        status = "FINISHED"
        if error is not None:
            killed = isinstance(error, KeyboardInterrupt | SystemExit)
            status = "KILLED" if killed else "FAILED"
        try:
            if error is not None:
                text = "".join(traceback.format_exception(error))
                self.client.log_text(self.id, text, "traceback.txt")
            self.client.set_terminated(self.id, status)
        except Exception as failure:
            # An error of the block says more than one of the store.
            if error is None:
                raise TrackingError(
                    f"cannot close run {self.id} at {self.uri}: {failure}"
                ) from None
        if left and error is None:
            raise TrackingError(f"{left} metrics of run {self.id} never reached {self.uri}")

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
        self.client.log_inputs(self.id, [DatasetInput(d, tags) for d in shown])

    def log_table(self, name: str, table: dict[str, list[Any]]) -> None:
        """Store a table that the UI shows as one."""
        self.client.log_table(self.id, table, name)

    def log_text(self, name: str, text: str) -> None:
        """Store a text."""
        self.client.log_text(self.id, text, name)

    def log_figure(self, name: str, figure: Any) -> None:
        """Store a picture."""
        self.client.log_figure(self.id, figure, name)

    def log_summary(self, metrics: dict[str, float]) -> None:
        """Queue final numbers."""
        now = int(time.time() * 1000)
        self.queue.put([Metric(k, v, now, 0) for k, v in metrics.items()])

    def log_model(self, model: Any, params: Any, example: Any) -> None:
        """Store the model as a pyfunc and say where in the tag ``msl.model_uri``."""
        from msl.tracking.model import log_pyfunc

        uri = log_pyfunc(self.uri, self.id, model, params, example)
        self.client.log_batch(self.id, tags=[RunTag("msl.model_uri", uri)])


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
def _reaching(uri: str) -> Iterator[None]:
    """Open a store quickly or say why not; MLflow alone would try a dead server for minutes."""
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    patience = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    before = {key: os.environ.get(key) for key in patience}
    os.environ.update({k: v for k, v in patience.items() if before[k] is None})
    try:
        # Making the tables of a new store is not worth a page of log lines.
        with quiet("alembic", "mlflow.store.db.utils", level=logging.WARNING):
            yield
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"cannot open the tracking store {uri}: {error}; start it, or set tracking.uri"
        ) from error
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
