"""Parts of a run as parameters of an estimator: by name or as objects, with settings of their own.

``codec="maxmin"`` and ``codec=MaxMin()`` both have ``codec__bits``; to set it makes an object.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import is_dataclass, replace
from typing import Any, Self

from sklearn.base import BaseEstimator

from msl import aggregators, algorithms, codecs, samplers, trust, waiting
from msl.errors import MslError, PlanError
from msl.parts import accepted

__all__ = ["MAKERS", "WithParts", "part_of", "settings_of", "with_settings"]

MAKERS: Mapping[str, Callable[..., Any]] = {
    "aggregator": aggregators.make,
    "codec": codecs.make,
    "algorithm": algorithms.make,
    "trust": trust.make,
    "sampler": samplers.make,
    "waiting": waiting.make,
}


def part_of(family: str, value: Any) -> Any:
    """Return the part that a parameter means.

    Raises
    ------
    PlanError
        When a name is unknown, or the value is neither a name nor a part.
    """
    if isinstance(value, str):
        return MAKERS[family](value)
    if not _is_part(value):
        raise PlanError(
            f"{family} must be a name or a part, such as those of {MAKERS[family].__module__}, "
            f"got {value!r}"
        )
    return value


def settings_of(family: str, value: Any) -> dict[str, Any]:
    """Return the settings of a part, ``{"bits": 4}``, and of parts in it, ``{"codec__bits": 4}``.

    None of a value that is no part: what is wrong with it is said by `fit`.
    """
    try:
        part = part_of(family, value)
    except MslError:
        return {}
    found = {}
    for name in accepted(type(part)):
        found[name] = inner = getattr(part, name)
        if _is_part(inner):
            deeper = settings_of(family, inner).items()
            found |= {f"{name}__{key}": setting for key, setting in deeper}
    return found


def with_settings(family: str, value: Any, settings: Mapping[str, Any]) -> Any:
    """Return a new part with some settings changed, those of parts in it too (``codec__bits``).

    Raises
    ------
    ValueError
        When the part has no such setting, as `set_params` of scikit-learn does, or refuses it.
    """
    own = {name: setting for name, setting in settings.items() if "__" not in name}
    if isinstance(value, str):
        # At once: some parts cannot be made without.
        part = MAKERS[family](value, **own)
    else:
        part = _changed(family, part_of(family, value), own)
    for path, setting in settings.items():
        name, _, deeper = path.partition("__")
        if deeper:
            inner = with_settings(family, getattr(part, name, None), {deeper: setting})
            part = _changed(family, part, {name: inner})
    return part


def _changed(family: str, part: Any, settings: Mapping[str, Any]) -> Any:
    has = accepted(type(part))
    if unknown := [name for name in settings if name not in has]:
        raise PlanError(
            f"{part.name} has no setting {', '.join(unknown)}; it has: {', '.join(has)}"
        )
    found = {
        name: part_of(family, value) if _is_part(getattr(part, name)) else value
        for name, value in settings.items()
    }
    return replace(part, **found)


def _is_part(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type) and hasattr(value, "name")


class WithParts(BaseEstimator):  # type: ignore[misc]
    """An estimator with parts of a run and a client among its parameters."""

    client: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, and with `deep` the settings of parts, ``codec__bits``."""
        found: dict[str, Any] = super().get_params(deep=deep)
        if deep:
            for family in MAKERS:
                settings = settings_of(family, found[family])
                found |= {f"{family}__{name}": value for name, value in settings.items()}
        return found

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``codec__bits=2`` replaces the codec by one with that setting."""
        nested: dict[str, dict[str, Any]] = {}
        whole = {}
        for key, value in params.items():
            family, _, path = key.partition("__")
            if path and family in MAKERS:
                nested.setdefault(family, {})[path] = value
            else:
                whole[key] = value
        super().set_params(**whole)
        for family, settings in nested.items():
            setattr(self, family, with_settings(family, getattr(self, family), settings))
        return self

    def __sklearn_clone__(self) -> Self:
        # A client belongs to this process: copies share it.
        twin: Self = super(WithParts, copy(self)).__sklearn_clone__()
        twin.client = self.client
        return twin

    def __getstate__(self) -> Mapping[str, Any]:
        """Leave the Dask client behind: it belongs to this process."""
        state: dict[str, Any] = super().__getstate__()
        return state | {"client": None}
