"""Tracking: every round is heard on the driver, and only there."""

from typing import Any

from msl.tracking.base import NullTracker, Tracker

__all__ = ["NullTracker", "Tracker", "make_tracker"]


def make_tracker(uri: str | None, **settings: Any) -> Tracker:
    """Return an `MlflowTracker` on a store, or one that keeps nothing for ``None`` and ``"none"``.

    mlflow is imported here and not before: it takes seconds.
    """
    if uri is None or uri == "none":
        return NullTracker()
    from msl.tracking.mlflow import MlflowTracker

    return MlflowTracker(uri, **settings)
