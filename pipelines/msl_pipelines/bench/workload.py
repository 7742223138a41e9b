"""The task of `rounds` in msl's words."""

from msl.algorithms import FedAvg
from msl.models import Softmax
from msl.plan import Plan
from msl.sources import LoaderSource
from msl_pipelines.bench.peers.task import BATCH, CLASSES, FEATURES, RATE, SOURCES, load_rows

__all__ = ["held_out", "plan_of", "sources"]


def plan_of(per_round: int, rounds: int) -> Plan:
    """Return the parts of a run; nothing is compressed."""
    return Plan(
        model=Softmax(FEATURES, CLASSES),
        algorithm=FedAvg(epochs=1, batch=BATCH, lr=RATE),
        rounds=rounds,
        per_round=per_round,
        evaluate_every=20,
    )


def sources() -> list[LoaderSource]:
    """Return the thousand sources; their workers make the rows."""
    return [LoaderSource(f"s{rank:04d}", load_rows, (rank,)) for rank in range(SOURCES)]


def held_out() -> LoaderSource:
    """Return rows that no source has."""
    return LoaderSource("held_out", load_rows, (SOURCES,))
