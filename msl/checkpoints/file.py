"""A tree in a file: a header in JSON, then the arrays, byte for byte. Nothing is ever unpickled.

::

    "msl-tree" | length of the header, 8 bytes, little-endian | header | array 0 | array 1 | ...

The header is ``{"format": 1, "tree": ..., "arrays": [[dtype, shape, order], ...]}``.
"""

import json
from collections.abc import Set
from hashlib import sha256
from math import prod
from typing import Any, BinaryIO, Final, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.checkpoints.tree import DTYPES, Array, Tree, numbers_in, pack, unpack
from msl.errors import CheckpointError

__all__ = ["FORMAT", "Packed", "packed", "read_tree", "write_tree"]

FORMAT: Final = 1
_MAGIC = b"msl-tree"
_CHUNK = 1 << 22
_DIMENSIONS = 32

Packed: TypeAlias = tuple[bytes, list[Array]]
"""A header and the arrays behind it."""


def packed(value: Any, where: str) -> Packed:
    """Return header and arrays of a value; raises CheckpointError as `pack` does."""
    tree, arrays = pack(value, where)
    specs = [[a.dtype.str, list(a.shape), _order(a)] for a in arrays]
    header = {"format": FORMAT, "tree": tree, "arrays": specs}
    return json.dumps(header, allow_nan=False, separators=(",", ":")).encode(), arrays


def _order(array: Array) -> str:
    """Return "F" where columns lie together: sums over other bits would differ after a resume."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _raw(array: Array) -> NDArray[np.uint8]:
    """Return the bytes in their order, without a copy where the array has no gaps."""
    flat = array.ravel(order="F") if _order(array) == "F" else np.ascontiguousarray(array).ravel()
    return flat.view(np.uint8)


def write_tree(out: BinaryIO, content: Packed) -> tuple[int, str]:
    """Write what `packed` made; return bytes and SHA-256."""
    header, arrays = content
    digest, nbytes = sha256(), 0

    def put(data: Any) -> None:
        nonlocal nbytes
        digest.update(data)
        out.write(data)
        nbytes += len(data)

    put(_MAGIC + len(header).to_bytes(8, "little") + header)
    for array in arrays:
        raw = _raw(array)
        for start in range(0, len(raw), _CHUNK):
            put(raw[start : start + _CHUNK].data)
    return nbytes, digest.hexdigest()


def read_tree(file: BinaryIO, nbytes: int, digest: str, ranks: Set[int] | None = None) -> Any:
    """Return the value in a file.

    Nothing is made of it before the digest of all its bytes is right, and nothing is allocated
    that the file is too small to fill.

    Parameters
    ----------
    file : binary file
        Open at its start.
    nbytes, digest : int and str
        Length and SHA-256 that it must have.
    ranks : set of int, optional
        Of a dict, the keys to keep; arrays of others are passed over.

    Raises
    ------
    CheckpointError
        When the file is not what it should be.
    """
    seen = sha256()
    start = _read(file, 16, seen)
    length = int.from_bytes(start[8:], "little")
    if start[:8] != _MAGIC or length > nbytes - 16:
        raise CheckpointError("it does not start as a checkpoint does")
    tree, specs, wanted = _header(_read(file, length, seen), nbytes - 16 - length, ranks)
    arrays: list[Array | None] = []
    for number, (dtype, shape, order) in enumerate(specs):
        size = prod(shape) * dtype.itemsize
        if number in wanted:
            raw = np.empty(size, np.uint8)
            _fill(file, raw, seen)
            arrays.append(_shaped(raw.view(dtype), shape, order))
        else:
            _pass_over(file, size, seen)
            arrays.append(None)
    if file.read(1) or seen.hexdigest() != digest:
        raise CheckpointError("its SHA-256 is not the one in the manifest")
    return unpack(tree, arrays)


def _header(
    text: bytes, room: int, ranks: Set[int] | None
) -> tuple[Tree, list[tuple[np.dtype[Any], list[int], Any]], set[int]]:
    """Return the tree, (dtype, shape, order) of arrays that fill the room, and which it uses."""
    try:
        header = json.loads(text, parse_constant=_refuse)
        if header["format"] != FORMAT:
            raise CheckpointError(f"it has format {header['format']!r}, this msl reads {FORMAT}")
        specs = []
        for dtype, shape, order in header["arrays"]:
            if dtype not in DTYPES or order not in ("C", "F") or len(shape) > _DIMENSIONS:
                raise ValueError(f"no array here can be {dtype!r}, {order!r}")
            if not all(type(length) is int and length >= 0 for length in shape):
                raise ValueError(f"no array here can have shape {shape}")
            specs.append((np.dtype(dtype), shape, order))
        tree = header["tree"] if ranks is None else _only(header["tree"], ranks)
        wanted = set(numbers_in(tree))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"its header cannot be read: {error}") from error
    if sum(prod(shape) * dtype.itemsize for dtype, shape, _ in specs) != room:
        raise CheckpointError("its arrays do not fit its length")
    return tree, specs, wanted


def _shaped(flat: Array, shape: list[int], order: Any) -> Array:
    """Return the array as it lay in memory when it was written."""
    try:
        return flat.reshape(shape, order=order)
    except ValueError as error:
        # Empty, and yet too large.
        raise CheckpointError(f"no array can have shape {shape}") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _only(tree: Tree, ranks: Set[int]) -> Tree:
    """Return a dict's tree with some of its keys."""
    if type(tree) is not dict or type(tree.get("dict")) is not list:
        raise CheckpointError("it holds no values by rank")
    return {"dict": [pair for pair in tree["dict"] if pair[0] in ranks]}


def _read(file: BinaryIO, length: int, seen: Any) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise CheckpointError("it is cut short")
    seen.update(data)
    return data


def _fill(file: BinaryIO, raw: NDArray[np.uint8], seen: Any) -> None:
    for start in range(0, len(raw), _CHUNK):
        view = raw[start : start + _CHUNK].data
        view[:] = _read(file, len(view), seen)


def _pass_over(file: BinaryIO, size: int, seen: Any) -> None:
    while size:
        size -= len(_read(file, min(size, _CHUNK), seen))
