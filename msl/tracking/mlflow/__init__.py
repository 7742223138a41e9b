"""Runs in an MLflow store, through a client of our own: a user's active run is never touched."""

from msl.tracking.mlflow.find import find_unfinished
from msl.tracking.mlflow.flush import flush
from msl.tracking.mlflow.tracker import MlflowTracker
from msl.tracking.mlflow.users import place_of_user

__all__ = ["MlflowTracker", "find_unfinished", "flush", "place_of_user"]
