"""Checkpoints: a run that was broken off goes on to the bit where it would have been."""

from msl.checkpoints.base import Checkpoints, run_of
from msl.errors import CheckpointError

__all__ = ["CheckpointError", "Checkpoints", "run_of"]
