"""What is left of a run in a comparison: its final numbers and its curve."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from msl.errors import PlanError
from msl.types import Report

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What the table and the plots need of one cell; curves are empty for `local_only`."""

    name: str
    baseline: bool
    accuracy: float
    loss: float
    bytes_up_per_round: float
    bytes_total: int
    ratio: float
    rounds: tuple[int, ...] = ()
    accuracies: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, reports: Sequence[Report], baseline: bool = False) -> "Outcome":
        """Return the outcome of a finished run; refuses one that was never evaluated."""
        seen = [r for r in reports if r.accuracy is not None]
        if not seen:
            raise PlanError("comparing needs held-out rows: set data.held_out_file")
        up = sum(r.bytes_up for r in reports)
        return cls(
            name=name,
            baseline=baseline,
            accuracy=seen[-1].accuracy or 0.0,
            loss=seen[-1].loss or 0.0,
            bytes_up_per_round=0.0 if baseline else up / len(reports),
            bytes_total=0 if baseline else reports[-1].bytes_total,
            ratio=1.0 if baseline else sum(r.bytes_up_dense for r in reports) / up,
            rounds=tuple(r.round for r in seen),
            accuracies=tuple(r.accuracy or 0.0 for r in seen),
        )

    def to_json(self) -> str:
        """Return all of it as text, for the run's artifact."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """Return the outcome that `to_json` wrote."""
        raw = json.loads(text)
        curves = {key: tuple(raw[key]) for key in ("rounds", "accuracies")}
        return cls(**{**raw, **curves})
