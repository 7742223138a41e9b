"""A run that is written, read back and deleted, to see that a store takes one."""

import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from msl.errors import TrackingError
from msl.tracking.mlflow.reach import check, opening, shown

__all__ = ["write_and_delete"]


def write_and_delete(uri: str, experiment: str) -> bool:
    """Make a run with a metric and an artifact, read it back, and delete it.

    A deleted run is out of sight; ``mlflow gc`` removes the rest of it. An experiment that does not
    exist yet is not made, so that nothing can be written: then False.

    Raises
    ------
    TrackingError
        When the server does not answer, or something of this does not work.
    """
    try:
        check(uri)
        with opening(uri):
            client = MlflowClient(uri)
            known = client.get_experiment_by_name(experiment)
            if known is None:
                return False
            run = client.create_run(known.experiment_id, run_name="msl doctor").info.run_id
            try:
                client.log_metric(run, "written", 1.0)
                client.log_text(run, "written", "written.txt")
                with tempfile.TemporaryDirectory() as place:
                    found = download_artifacts(
                        run_id=run, artifact_path="written.txt", dst_path=place, tracking_uri=uri
                    )
                    if Path(found).read_text() != "written":
                        raise TrackingError(f"{shown(uri)}: an artifact came back changed")
            finally:
                client.delete_run(run)
    except TrackingError:
        raise
    except Exception as error:  # each kind of store has errors of its own
        raise TrackingError(f"{shown(uri)}: {type(error).__name__}: {error}") from error
    return True
