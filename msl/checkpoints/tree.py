"""A value as a tree of plain JSON, with its arrays beside it: what checkpoints are made of.

None, bool, int, finite floats, str and list are what they are in JSON. All else is an object with
a tag: ``{"tuple": [...]}``, ``{"dict": [[key, value], ...]}``, ``{"array": number}``,
``{"scalar": number}``, ``{"float": "nan"}`` and ``{"class": name, "fields": {...}}``.
"""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.checkpoints.classes import allowed, fields_of, name_of
from msl.errors import CheckpointError

__all__ = ["DTYPES", "Array", "Tree", "numbers_in", "pack", "unpack"]

Array: TypeAlias = NDArray[Any]
Tree: TypeAlias = Any

# Bool, integers, floats, complex.
DTYPES = frozenset(np.dtype(kind).newbyteorder("<").str for kind in "?bBhHiIqQefdFD")
"""What arrays may hold: numbers, little-endian."""

_FLOATS = frozenset({"nan", "inf", "-inf"})


def pack(value: Any, where: str = "value") -> tuple[Tree, list[Array]]:
    """Return the tree and its arrays; one array that is used twice is kept once.

    Parameters
    ----------
    value : object
        None, bool, int, float, str, tuple, list, dict, arrays and scalars of numbers, and the
        classes of `allowed`, nested in any way.
    where : str
        What it is, for errors.

    Raises
    ------
    CheckpointError
        When there is anything else in it; names the type and where it is.

    Examples
    --------
    >>> tree, arrays = pack({"round": 3, "sums": (np.zeros(2, np.float32), None)})
    >>> tree
    {'dict': [['round', 3], ['sums', {'tuple': [{'array': 0}, None]}]]}
    >>> unpack(tree, arrays)
    {'round': 3, 'sums': (array([0., 0.], dtype=float32), None)}
    """
    packer = _Packer()
    return packer.pack(value, where), packer.arrays


class _Packer:
    """The arrays of a tree while it is made."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self._numbers: dict[int, int] = {}

    def pack(self, value: Any, where: str) -> Tree:
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if isfinite(value) else {"float": repr(value)}
        if kind is list:
            return [self.pack(v, f"{where}[{i}]") for i, v in enumerate(value)]
        if kind is tuple:
            return {"tuple": [self.pack(v, f"{where}[{i}]") for i, v in enumerate(value)]}
        if kind is dict:
            return {
                "dict": [
                    [self.pack(key, f"a key of {where}"), self.pack(v, f"{where}[{key!r}]")]
                    for key, v in value.items()
                ]
            }
        if kind is np.ndarray:
            return {"array": self._number(value, where)}
        if isinstance(value, np.generic):
            return {"scalar": self._number(np.asarray(value), where)}
        name = name_of(kind)
        if allowed().get(name) is not kind:
            raise CheckpointError(
                f"{where} is a {name}, which a checkpoint cannot hold: keep plain values, arrays "
                "of numbers, and frozen dataclasses or named tuples of a module of the part"
            )
        held = {key: self.pack(getattr(value, key), f"{where}.{key}") for key in fields_of(kind)}
        return {"class": name, "fields": held}

    def _number(self, array: Array, where: str) -> int:
        if array.dtype.str not in DTYPES:
            raise CheckpointError(
                f"{where} is an array of {array.dtype}, which a checkpoint cannot hold: keep "
                "little-endian numbers"
            )
        # Arrays are alive until the tree is written, so an id is one array's.
        number = self._numbers.setdefault(id(array), len(self.arrays))
        if number == len(self.arrays):
            self.arrays.append(array)
        return number


def numbers_in(tree: Tree) -> Iterator[int]:
    """Yield the numbers of the arrays that a tree uses."""
    if isinstance(tree, list):
        for inner in tree:
            yield from numbers_in(inner)
    elif isinstance(tree, dict):
        for tag, inner in tree.items():
            if tag in ("array", "scalar") and type(inner) is int:
                yield inner
            else:
                yield from numbers_in(inner)


def unpack(tree: Tree, arrays: Sequence[Array | None]) -> Any:
    """Return the value again.

    Raises
    ------
    CheckpointError
        When the tree is none that `pack` makes, or names a class that is not allowed.
    """
    try:
        return _unpack(tree, arrays)
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"not a tree of values: {error}") from error


def _unpack(tree: Tree, arrays: Sequence[Array | None]) -> Any:
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    if type(tree) is list:
        return [_unpack(inner, arrays) for inner in tree]
    if tree.keys() == {"class", "fields"}:
        return _made(tree["class"], tree["fields"], arrays)
    ((tag, inner),) = tree.items()
    if tag == "tuple":
        return tuple(_unpack(v, arrays) for v in inner)
    if tag == "dict":
        return {_unpack(key, arrays): _unpack(v, arrays) for key, v in inner}
    if tag == "float" and inner in _FLOATS:
        return float(inner)
    if tag in ("array", "scalar") and type(inner) is int and inner >= 0:
        array = arrays[inner]
        if array is None or (tag == "scalar" and array.shape != ()):
            raise ValueError(f"there is no {tag} {inner}")
        return array if tag == "array" else array[()]
    raise ValueError(f"unknown tag {tag!r}")


def _made(name: str, held: dict[str, Tree], arrays: Sequence[Array | None]) -> Any:
    cls = allowed().get(name)
    if cls is None:
        raise ValueError(f"no class {name!r} may stand in a checkpoint")
    if set(held) != set(wanted := fields_of(cls)):
        raise ValueError(f"{name} has the fields {', '.join(wanted)}, got {', '.join(held)}")
    return cls(**{key: _unpack(inner, arrays) for key, inner in held.items()})
