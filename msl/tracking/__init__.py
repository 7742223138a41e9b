"""Tracking: every round is heard on the driver, and only there."""

from typing import Any

from msl.tracking.base import NullTracker, Tracker, Unfinished

__all__ = ["NullTracker", "Tracker", "Unfinished", "make_tracker", "unfinished"]


def make_tracker(uri: str | None, **settings: Any) -> Tracker:
    """Return an `MlflowTracker` on a store, or one that keeps nothing for ``None`` and ``"none"``.

    mlflow is imported here and not before: it takes seconds.
    """
    if uri is None or uri == "none":
        return NullTracker()
    from msl.tracking.mlflow import MlflowTracker

    return MlflowTracker(uri, **settings)


def unfinished(uri: str | None, experiment: str, grid: str) -> Unfinished:
    """Return what a store holds of a comparison that broke off; nothing for ``"none"``."""
    if uri is None or uri == "none":
        return Unfinished(None, {})
    from msl.tracking.mlflow import find_unfinished

    return find_unfinished(uri, experiment, grid)
