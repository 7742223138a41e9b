"""What is left of a run in a comparison: its final numbers and its curve."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from msl.errors import PlanError
from msl.types import Report

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What the table and the plots need of one cell; curves are empty for `local_only`.

    Curves are over the rounds that evaluate: `accuracies`, and bytes and seconds until then.
    """

    name: str
    baseline: bool
    accuracy: float
    loss: float
    bytes_up_per_round: float
    bytes_total: int
    ratio: float
    seconds: float = 0.0
    rounds: tuple[int, ...] = ()
    accuracies: tuple[float, ...] = ()
    bytes_by: tuple[int, ...] = ()
    seconds_by: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, reports: Sequence[Report], baseline: bool = False) -> "Outcome":
        """Return the outcome of a finished run; refuses one that was never evaluated."""
        seen = [r for r in reports if r.accuracy is not None]
        if not seen:
            raise PlanError("comparing needs held-out rows: set data.held_out_file")
        up = sum(r.bytes_up for r in reports)
        clock = np.cumsum([r.seconds.get("round", 0.0) for r in reports])
        return cls(
            name=name,
            baseline=baseline,
            accuracy=seen[-1].accuracy or 0.0,
            loss=seen[-1].loss or 0.0,
            bytes_up_per_round=0.0 if baseline else up / len(reports),
            bytes_total=0 if baseline else reports[-1].bytes_total,
            ratio=1.0 if baseline else sum(r.bytes_up_dense for r in reports) / max(up, 1),
            seconds=float(clock[-1]),
            rounds=tuple(r.round for r in seen),
            accuracies=tuple(r.accuracy or 0.0 for r in seen),
            bytes_by=tuple(r.bytes_total for r in seen),
            seconds_by=tuple(float(clock[r.round]) for r in seen),
        )

    def numbers(self) -> dict[str, float]:
        """Return the final numbers by name."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "bytes_up_per_round": self.bytes_up_per_round,
            "bytes_total": self.bytes_total,
            "compression": self.ratio,
            "seconds": self.seconds,
        }

    def to_json(self) -> str:
        """Return all of it as text, for the run's artifact."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """Return the outcome that `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        curves = {key: tuple(value) for key, value in raw.items() if isinstance(value, list)}
        return cls(**(raw | curves))
