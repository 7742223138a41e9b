"""A comparison that broke off, found in its store."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from msl.errors import TrackingError
from msl.tracking.base import BROKEN_OFF, Unfinished
from msl.tracking.mlflow.reach import check, is_local, opening, shown
from msl.tracking.mlflow.sender import PARENT

__all__ = ["find_unfinished"]

_log = logging.getLogger(__name__)


def find_unfinished(uri: str, experiment: str, grid: str) -> Unfinished:
    """Return the last comparison with this digest, if it broke off, and how far its cells are.

    A server that does not answer is warned of, and counts as one that has nothing.
    """
    try:
        with opening(uri):
            check(uri)
            return _find(MlflowClient(uri), experiment, grid)
    except (MlflowException, OSError) as error:
        if is_local(uri):
            raise TrackingError(
                f"cannot open the tracking store {shown(uri)}: {error}; set tracking.uri"
            ) from error
        _log.warning("%s does not answer; every cell is run from its start (%s)", shown(uri), error)
        return Unfinished(None)


def _find(client: MlflowClient, experiment: str, grid: str) -> Unfinished:
    known = client.get_experiment_by_name(experiment)
    if known is None:
        return Unfinished(None)
    runs = client.search_runs(
        [known.experiment_id], f"tags.`msl.grid` = '{grid}'", order_by=["start_time DESC"],
        max_results=50_000,
    )  # fmt: skip
    parents = [run for run in runs if PARENT not in run.data.tags]
    if not parents or parents[0].info.status == "FINISHED":
        return Unfinished(None)
    parent = str(parents[0].info.run_id)
    outcomes: dict[str, str] = {}
    begun: dict[str, str] = {}
    for run in runs:
        tags = run.data.tags
        if tags.get(PARENT) != parent:
            continue
        if run.info.status in BROKEN_OFF:
            # The newest of a cell comes first.
            begun.setdefault(tags["msl.cell"], str(run.info.run_id))
        if run.info.status == "FINISHED":
            try:
                outcomes[tags["msl.cell"]] = _text(client, run.info.run_id, "outcome.json")
            except (MlflowException, OSError) as error:
                # It still waits in a spool, or somebody removed it.
                _log.warning("%s has no outcome and is run again (%s)", tags["msl.cell"], error)
    return Unfinished(parent, outcomes, begun)


def _text(client: MlflowClient, run_id: str, name: str) -> str:
    with TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run_id, name, folder)).read_text()
