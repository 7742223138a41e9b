"""`msl.autolog()`: runs that were given no tracker are tracked where the user's own runs are."""

from collections.abc import Mapping
from typing import Any

from msl.tracking.base import NullTracker, Tracker

__all__ = ["active_tracker", "autolog"]

_on = False


def autolog(disable: bool = False) -> None:
    """Track every run of this process from now on, in the MLflow store that `mlflow` points to.

    A run becomes a child of the active one (`mlflow.start_run`), which stays untouched. Runs with
    a tracker of their own, such as those of a comparison, keep it.

    Parameters
    ----------
    disable : bool
        Switch it off again.
    """
    global _on
    _on = not disable


def active_tracker(name: str, params: Mapping[str, Any], note: str | None = None) -> Tracker:
    """Return a tracker to enter, for a run that was given none; one that keeps nothing when off.

    Parameters
    ----------
    name : str
        Of the run.
    params : mapping
        The plan, described.
    note : str, optional
        Markdown, the run's description.
    """
    if not _on:
        return NullTracker()
    from msl.tracking.mlflow import MlflowTracker, place_of_user

    return MlflowTracker(
        **place_of_user(), run_name=name, params=params, note=note, tags={"msl.autolog": "true"}
    )
