"""Where a user's own MLflow calls go: store, experiment, and the run that is active."""

from typing import Any

import mlflow
from mlflow.tracking.fluent import _get_experiment_id

__all__ = ["place_of_user"]


def place_of_user() -> dict[str, Any]:
    """Return `MlflowTracker` settings for a run beside the user's, or under the active one."""
    active = mlflow.active_run()
    return {
        "uri": mlflow.get_tracking_uri(),
        "experiment_id": active.info.experiment_id if active else _get_experiment_id(),
        "parent": active.info.run_id if active else None,
    }
