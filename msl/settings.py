"""Settings as YAML has them: read, overridden, set at a dotted key; what they mean is not asked."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from msl.errors import PlanError

__all__ = ["as_part", "read_yaml", "with_changes", "with_value"]


def as_part(value: Any) -> Any:
    """Return a part given by its name alone as a mapping, all else as it is."""
    return {"name": value} if isinstance(value, str) else value


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file."""
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise PlanError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise PlanError(f"{path}: needs a mapping of keys, got {type(raw).__name__}")
    return raw


def with_changes(raw: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """Return a copy with ``a.b=c`` applied; a part given by name alone becomes a mapping."""
    changed = deepcopy(dict(raw))
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key:
            raise PlanError(f"--set needs key=value, got {change!r}")
        *path, last = key.split(".")
        at = changed
        for step in path:
            at[step] = as_part(at.get(step) or {})
            at = at[step]
            if not isinstance(at, dict):
                raise PlanError(f"--set {change}: {step} holds no keys")
        try:
            at[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise PlanError(f"--set {change}: not YAML: {' '.join(str(error).split())}") from error
    return changed


def with_value(raw: Mapping[str, Any], axis: str, value: Any) -> dict[str, Any]:
    """Return a copy with the value at a dotted key."""
    first, _, rest = axis.partition(".")
    if rest and not isinstance(raw.get(first), Mapping):
        raise PlanError(f"{first} holds no keys: {raw.get(first)!r}")
    inner = with_value(raw[first], rest, value) if rest else value
    return {**raw, first: inner}
