"""Entries of a spool, carried out in an MLflow store; twice has the effect of once.

MLflow keeps one row per (run, name, step, time, value) of a metric, one value per param and tag,
one input per dataset and run, and overwrites files. What it would make anew, a run and a model, is
looked up by a tag of ours first.
"""

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from msl.errors import TrackingError
from msl.tracking.files import folder_of
from msl.tracking.mlflow.models import send_model
from msl.tracking.mlflow.reach import check, is_refusal
from msl.tracking.spool import PREFIX, Spool

__all__ = ["PARENT", "RUN", "StoreSender"]

PARENT, RUN = "mlflow.parentRunId", "msl.run"
TABLES = "mlflow.loggedArtifacts"


class StoreSender:
    """Sends the entries of one run.

    Parameters
    ----------
    uri : str
        The store.
    spool : Spool
        The run's folder; it remembers the run's id.
    fresh : bool
        The run is going on, and nothing of it can be in the store yet.
    """

    def __init__(self, uri: str, spool: Spool, fresh: bool = False) -> None:
        self.uri, self.spool, self._fresh, self._late = uri, spool, fresh, not fresh
        facts = spool.facts
        self.run_id: str | None = facts.get("run_id")
        self.experiment_id: str | None = facts.get("experiment_id")
        self._ways: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "create": self._create,
            "reopen": self._reopen,
            "params": self._params,
            "metrics": self._metrics,
            "inputs": self._inputs,
            "file": self._file,
            "model": self._model,
            "end": self._end,
        }

    @cached_property
    def client(self) -> MlflowClient:
        """The store's client; making one opens a database."""
        return MlflowClient(self.uri)

    def ready(self) -> None:
        """Raise unless the server answers."""
        check(self.uri)

    def send(self, entry: Mapping[str, Any]) -> None:
        """Carry an entry out; TrackingError when the store will never take it."""
        try:
            self._ways[entry["do"]](entry)
        except Exception as error:
            if is_refusal(error):
                raise TrackingError(str(error)) from error
            raise

    @property
    def _id(self) -> str:
        if self.run_id is None:
            raise TrackingError("the store refused to make the run")
        return self.run_id

    def _know(self, run_id: str, experiment_id: str) -> None:
        self.spool.remember(run_id=run_id, experiment_id=experiment_id)
        self.run_id, self.experiment_id = run_id, experiment_id

    def _create(self, entry: Mapping[str, Any]) -> None:
        experiment = entry["experiment_id"] or self._experiment(entry["experiment"])
        fresh, self._fresh = self._fresh, False
        run = None if fresh else self._known(experiment, self.spool.name)
        if run is None:
            tags = {**entry["tags"], RUN: self.spool.name}
            if PARENT in tags:
                tags[PARENT] = self._parent(experiment, tags[PARENT])
            run = self.client.create_run(
                experiment, start_time=entry["time"], tags=tags, run_name=entry["name"]
            ).info.run_id
        self._know(run, experiment)

    def _known(self, experiment: str, name: str) -> str | None:
        """Return the run that a spool of this name made."""
        runs = self.client.search_runs([experiment], f"tags.`{RUN}` = '{name}'", max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def _parent(self, experiment: str, name: str) -> str:
        """Return the parent's id; one that waits itself is waited for."""
        if not name.startswith(PREFIX):
            return name
        known = self._known(experiment, name)
        if known is None and (self.spool.folder.parent / name).exists():
            raise ConnectionError(f"the parent {name} is not in the store yet")
        return known or name

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = None
        if self.uri.startswith("sqlite:///"):
            folder = Path(self.uri.removeprefix("sqlite:///")).parent
            place = (folder / "artifacts" / folder_of(name)).resolve().as_uri()
        try:
            return str(self.client.create_experiment(name, artifact_location=place))
        except MlflowException as error:
            # Somebody else made it just now.
            if str(error.error_code) != "RESOURCE_ALREADY_EXISTS":
                raise
            return self._experiment(name)

    def _reopen(self, entry: Mapping[str, Any]) -> None:
        self.client.update_run(entry["run_id"], status="RUNNING")
        run = self.client.get_run(entry["run_id"])
        self._know(run.info.run_id, run.info.experiment_id)

    def _params(self, entry: Mapping[str, Any]) -> None:
        flat = [Param(key, value) for key, value in entry["params"]]
        for start in range(0, len(flat), 100):
            self.client.log_batch(self._id, params=flat[start : start + 100])

    def _metrics(self, entry: Mapping[str, Any]) -> None:
        self.client.log_batch(self._id, metrics=[Metric(*row) for row in entry["rows"]])

    def _inputs(self, entry: Mapping[str, Any]) -> None:
        tags = [InputTag("mlflow.data.context", entry["context"])]
        inputs = [
            DatasetInput(
                Dataset(
                    one["name"], one["digest"], "msl source",
                    json.dumps({"place": one["place"]}),
                    profile=json.dumps(
                        {"num_rows": one["rows"], "num_features": one["features"]}
                    ),
                ),
                tags,
            )
            for one in entry["datasets"]
        ]  # fmt: skip
        for left in (2, 1, 0):
            try:
                self.client.log_inputs(self._id, inputs)
            except MlflowException as error:
                # A cell beside this one entered the same sources between MLflow's look and insert.
                if not left or str(error.error_code) != "BAD_REQUEST":
                    raise
            else:
                return

    def _file(self, entry: Mapping[str, Any]) -> None:
        name = entry["name"]
        folder = Path(name).parent.as_posix()
        path = self.spool.folder / entry["file"]
        self.client.log_artifact(self._id, str(path), None if folder == "." else folder)
        if entry["table"]:
            self._show_table(name)

    def _show_table(self, name: str) -> None:
        """Enter a file in the run's list of tables; without it the UI shows JSON text."""
        listed = json.loads(self.client.get_run(self._id).data.tags.get(TABLES, "[]"))
        if (table := {"path": name, "type": "table"}) not in listed:
            self.client.set_tag(self._id, TABLES, json.dumps([*listed, table]))

    def _model(self, entry: Mapping[str, Any]) -> None:
        run_id, experiment = self._id, self.experiment_id or ""
        uri = send_model(self.client, run_id, experiment, self.spool.folder, entry)
        if entry["final"]:
            self.client.log_batch(run_id, tags=[RunTag("msl.model_uri", uri)])

    def _end(self, entry: Mapping[str, Any]) -> None:
        # Somebody may have gone on with the run since, and ended it.
        if not self._late or self.client.get_run(self._id).info.status == "RUNNING":
            self.client.set_terminated(self._id, entry["status"], entry["time"])
        self.spool.remember(ended=True)
