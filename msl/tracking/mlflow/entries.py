"""What a tracker hears, as entries for the spool; `StoreSender` carries them out."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from msl.tracking.keys import legal
from msl.tracking.queue import Row
from msl.tracking.spool import Entry
from msl.types import SourceInfo

__all__ = ["create", "end", "inputs", "model", "params", "rows_of"]

_LONGEST_PARAM = 6000
_LONGEST_TAG = 8000
_MOST_INPUTS = 100


def _now() -> int:
    return int(time.time() * 1000)


def create(
    experiment: str,
    experiment_id: str | None,
    name: str | None,
    tags: Mapping[str, str],
    note: str | None,
) -> Entry:
    """Return the entry that makes a run; it starts when it is entered, not when it is sent."""
    described = {"mlflow.note.content": note[:_LONGEST_TAG]} if note else {}
    return {
        "do": "create",
        "experiment": experiment,
        "experiment_id": experiment_id,
        "name": name,
        "tags": {**tags, **described},
        "time": _now(),
    }


def params(nested: Mapping[str, Any]) -> Entry:
    """Return the entry of params, flattened to dotted names, values cut at 6,000 characters."""
    return {
        "do": "params",
        "params": [(key, value[:_LONGEST_PARAM]) for key, value in _flat(nested)],
    }


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), str(value)


def rows_of(metrics: Mapping[str, float], step: int) -> list[Row]:
    """Return metrics of now, as rows."""
    now = _now()
    return [(legal(key), float(value), now, step) for key, value in metrics.items()]


def inputs(sources: Sequence[SourceInfo], context: str) -> Entry:
    """Return the entry of one dataset input per source; beyond 100 sources, one for all."""
    shown = [_all_as_one(sources)] if len(sources) > _MOST_INPUTS else sources
    return {
        "do": "inputs",
        "name": "the sources",
        "context": context,
        "datasets": [asdict(source) for source in shown],
    }


def _all_as_one(sources: Sequence[SourceInfo]) -> SourceInfo:
    digest = sha256("".join(s.digest for s in sources).encode()).hexdigest()[:16]
    rows = sum(s.rows for s in sources)
    return SourceInfo(f"{len(sources)} sources", rows, sources[0].features, (), digest)


def model(
    name: str,
    step: int,
    metrics: Sequence[Row],
    dataset: SourceInfo | None = None,
    final: bool = False,
    register: str | None = None,
) -> Entry:
    """Return the entry of a saved model, and of metrics that become the model's own too."""
    return {
        "do": "model",
        "name": name,
        "step": step,
        "metrics": metrics,
        "dataset": dataset and (dataset.name, dataset.digest),
        "final": final,
        "register": register,
    }


def end(status: str) -> Entry:
    """Return the entry that closes a run: FINISHED, FAILED or KILLED."""
    return {"do": "end", "status": status, "time": _now()}
