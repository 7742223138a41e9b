"""A saved model as a LoggedModel of a run, with its metrics and its place in the registry."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model

__all__ = ["send_model"]

ENTRY = "msl.entry"


def send_model(
    client: MlflowClient, run_id: str, experiment: str, folder: Path, entry: Mapping[str, Any]
) -> str:
    """Upload a model that was saved in a spool; return its URI.

    Parameters
    ----------
    client, run_id, experiment
        Where.
    folder : Path
        Of the spool.
    entry : mapping
        ``name``, ``file`` (the saved model), ``step``, ``metrics`` (rows), ``dataset`` (name and
        digest, or None), ``register`` (a name in the registry, or None).
    """
    model_id = _logged_model(client, run_id, experiment, entry)
    if model_id not in _outputs(client, run_id):
        client.log_outputs(run_id, [LoggedModelOutput(model_id, entry["step"])])
    place = client.get_logged_model(model_id).artifact_location
    saved = folder / entry["file"]
    described = Model.load(str(saved))
    described.model_id = described.model_uuid = model_id
    described.run_id = run_id
    described.artifact_path = place
    described.save(str(saved / "MLmodel"))
    client.log_model_artifacts(model_id, str(saved))
    client.finalize_logged_model(model_id, "READY")
    name, digest = entry["dataset"] or (None, None)
    linked = [
        Metric(key, value, time, step, model_id, name, digest)
        for key, value, time, step in entry["metrics"]
    ]
    if linked:
        client.log_batch(run_id, metrics=linked)
    if entry["register"]:
        _register(client, entry["register"], place, run_id, model_id)
    return f"models:/{model_id}"


def _logged_model(
    client: MlflowClient, run_id: str, experiment: str, entry: Mapping[str, Any]
) -> str:
    """Return the id of the model this entry made, or makes now."""
    mark = entry["file"]
    found = client.search_logged_models([experiment], f"tags.`{ENTRY}` = '{mark}'")
    if found:
        return str(found[0].model_id)
    made = client.create_logged_model(
        experiment, name=entry["name"], source_run_id=run_id, tags={ENTRY: mark}
    )
    return str(made.model_id)


def _outputs(client: MlflowClient, run_id: str) -> list[str]:
    """Return the ids of the models that the UI shows with a run."""
    outputs = client.get_run(run_id).outputs
    return [output.model_id for output in outputs.model_outputs] if outputs else []


def _register(client: MlflowClient, name: str, place: str, run_id: str, model_id: str) -> None:
    """Make a version of a registered model, once per run."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if str(error.error_code) != "RESOURCE_ALREADY_EXISTS":
            raise
    if not client.search_model_versions(f"name = '{name}' AND run_id = '{run_id}'"):
        client.create_model_version(name, place, run_id, model_id=model_id, await_creation_for=0)
