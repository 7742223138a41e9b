"""How a family's table makes a part from a name, and how a part says what it is."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, TypeVar

from msl.errors import PlanError, UnknownNameError

__all__ = ["LazyTable", "accepted", "describe", "make_part", "summary"]

Part = TypeVar("Part")

WRAPPED = ("codec", "first", "then")
"""Arguments that are parts of the same family."""


def accepted(part: type) -> list[str]:
    """Return the names of a part's arguments."""
    return [f.name for f in fields(part) if f.init] if is_dataclass(part) else []


def make_part(family: str, table: Mapping[str, type[Part]], name: str, arguments: Any) -> Part:
    """Make ``table[name](**arguments)``; nested ``{"name": ...}`` become parts of this family.

    Raises
    ------
    UnknownNameError
        When the table has no such name; lists the names.
    PlanError
        When the part takes no such argument, or refuses a value.
    """
    if name not in table:
        raise UnknownNameError(f"unknown {family} {name!r}; choose from: {', '.join(table)}")
    part = table[name]
    unknown = sorted(set(arguments) - set(accepted(part)))
    if unknown:
        takes = ", ".join(accepted(part)) or "no arguments"
        raise PlanError(f"{family} {name!r} takes no {', '.join(unknown)}; it takes: {takes}")
    made = {
        key: make_part(family, table, nested["name"], {k: nested[k] for k in nested if k != "name"})
        if (nested := _nested(key, value))
        else value
        for key, value in arguments.items()
    }
    try:
        return part(**made)
    except TypeError as error:
        raise PlanError(f"{family} {name!r}: {error}") from error


def _nested(key: str, value: Any) -> Mapping[str, Any] | None:
    """Return the mapping of a part inside a part, which may be its name alone; None for a value."""
    if isinstance(value, str) and key in WRAPPED:
        return {"name": value}
    return value if isinstance(value, Mapping) and "name" in value else None


def describe(part: Any) -> dict[str, Any]:
    """Return ``{"name": ..., argument: value, ...}``, the inverse of a family's ``make``."""
    described: dict[str, Any] = {"name": part.name}
    for key in accepted(type(part)):
        value = getattr(part, key)
        described[key] = (
            describe(value) if hasattr(value, "name") and is_dataclass(value) else value
        )
    return described


def summary(part: type) -> str:
    """Return the first line of a part's docstring."""
    return (part.__doc__ or "").strip().splitlines()[0]


class LazyTable(Mapping[str, Any]):
    """An explicit table whose members are imported when they are first asked for.

    Parameters
    ----------
    addresses : dict from str to str
        ``{"name": "module:Class"}``.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses

    def __getitem__(self, name: str) -> Any:
        module, _, member = self._addresses[name].partition(":")
        return vars(import_module(module))[member]

    def __iter__(self) -> Iterator[str]:
        return iter(self._addresses)

    def __len__(self) -> int:
        return len(self._addresses)
