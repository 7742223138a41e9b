"""Which plan a checkpoint is of: a digest per part of the plan, equal in every process."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from msl.plan import Plan

__all__ = ["differing", "digests"]

_FREE = frozenset({"rounds", "evaluate_every", "on_failure", "guarantee", "waiting"})
"""They change when a run ends, what is reported and what ends it, and for whom the rounds to come
wait, but no bit of the state behind."""


def digests(plan: Plan) -> dict[str, str]:
    """Return a SHA-256 of every part that the state of a run depends on."""
    parts = {f.name: getattr(plan, f.name) for f in fields(plan) if f.name not in _FREE}
    return {name: sha256(_text(part).encode()).hexdigest() for name, part in parts.items()}


def _text(part: Any) -> str:
    return json.dumps(_plain(part), sort_keys=True)


def _plain(value: Any) -> Any:
    """Return JSON that says the value, and no address in memory."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        data = np.ascontiguousarray(value)
        return [data.dtype.str, list(data.shape), sha256(data.tobytes()).hexdigest()]
    if isinstance(value, type):
        return f"{value.__module__}:{value.__qualname__}"
    if is_dataclass(value):
        held = {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
        return [_plain(type(value)), held]
    if isinstance(value, Mapping):
        return [[_plain(key), _plain(v)] for key, v in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(_text(v) for v in value)
    if callable(getattr(value, "get_params", None)) and not isinstance(value, type):
        return [_plain(type(value)), _plain(value.get_params())]
    if isinstance(value, partial):
        return [_plain(value.func), _plain(value.args), _plain(value.keywords)]
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}:{value.__qualname__}"
    return _plain(type(value))


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the parts in which two plans differ."""
    return [name for name in now if before.get(name) != now[name]]
