"""Which classes a checkpoint may hold: an explicit list, computed from our own modules.

Nothing else is ever made from a file: no name in a file is imported or called.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from msl import aggregators, algorithms, attacks, codecs, delivery, ledger, meeting, trust, types

__all__ = ["allowed", "fields_of", "name_of"]

_FAMILIES = (aggregators, algorithms, attacks, codecs, trust)
_VALUES = (delivery, ledger, meeting, types)


@cache
def allowed() -> Mapping[str, type[Any]]:
    """Return the classes by name, ``module:Class``.

    They are the frozen dataclasses and named tuples that a module of a family, or one with values
    of a run, defines itself, and that are made of their fields and nothing else. Files named
    torch*.py are left out, so that no list of names imports torch.
    """
    found = [cls for module in _modules() for cls in vars(module).values() if _fits(cls, module)]
    return {name_of(cls): cls for cls in found}


def name_of(cls: type[Any]) -> str:
    """Return the name under which a class is written."""
    return f"{cls.__module__}:{cls.__qualname__}"


def fields_of(cls: type[Any]) -> tuple[str, ...]:
    """Return the names of the fields, which are also the arguments."""
    return tuple(f.name for f in fields(cls)) if is_dataclass(cls) else tuple(cls._fields)


def _modules() -> Iterator[ModuleType]:
    yield from _VALUES
    for family in _FAMILIES:
        for module in iter_modules(family.__path__):
            if not module.name.startswith("torch"):
                yield import_module(f"{family.__name__}.{module.name}")


def _fits(cls: Any, module: ModuleType) -> bool:
    """Return whether `cls` was defined here and can be made again from its fields."""
    if not isinstance(cls, type) or cls.__module__ != module.__name__:
        return False
    if is_dataclass(cls):
        frozen: bool = cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
        return frozen and all(f.init for f in fields(cls))
    return issubclass(cls, tuple) and hasattr(cls, "_fields")
