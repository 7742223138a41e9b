"""A source in one file, local or on any store fsspec knows: npz, csv, parquet."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from msl.errors import DataError
from msl.sources.base import Source, check_data
from msl.types import Data

__all__ = ["FileSource"]

Columns: TypeAlias = Callable[[list[str]], Any]
"""Reads the columns of these names: a pyarrow table, or a mapping from name to array."""


@dataclass(frozen=True)
class FileSource(Source):
    """Rows of an npz, csv or parquet file, read on the worker.

    An npz file holds the features in one array ``X``, or a CSR matrix in the arrays ``data``,
    ``indices``, ``indptr`` and ``shape`` that scipy.sparse.save_npz writes, and the target in an
    array of its own; a table has a numeric column per feature, without nulls. Nothing in a file is
    unpickled.

    Parameters
    ----------
    name : str
        What reports call it.
    path : str
        Local path, or a URL such as ``s3://bucket/hospital_3.parquet``; seen from the worker.
    target : str
        Column (npz: array) with class numbers from 0, or real targets.
    features : tuple of str, optional
        Columns to learn from, in this order; by default all others, in the file's order, but
        those whose name starts with ``__`` (the index that pandas and Dask write).
    weight : str, optional
        Column (npz: array) with the weights of the rows.

    Raises
    ------
    DataError
        When the ending is unknown, `features` is given for an npz, or a column is named twice.
    """

    name: str
    path: str
    target: str = "y"
    features: tuple[str, ...] | None = None
    weight: str | None = None

    def __post_init__(self) -> None:
        if self._ending not in _OPENERS:
            raise self._error(f"cannot read {self._ending!r}; it must be {', '.join(_OPENERS)}")
        if self._ending == ".npz" and self.features is not None:
            raise self._error("features are columns of csv and parquet; an npz holds X whole")
        wanted = self._wanted(self.features or ())
        if len(set(wanted)) < len(wanted):
            raise self._error(f"a column is named twice among {', '.join(wanted)}")

    @property
    def _ending(self) -> str:
        return PurePosixPath(self.path).suffix.lower()

    def _error(self, what: str) -> DataError:
        return DataError(f"source {self.name!r}, file {self.path}: {what}")

    def _wanted(self, features: Sequence[str]) -> list[str]:
        return [*features, self.target, *([self.weight] if self.weight else [])]

    def load(self) -> Data:
        """Return the rows, checked.

        Raises
        ------
        DataError
            When the file is missing or broken, or a column is missing, not numeric or has
            nulls; names source, path and the columns that exist.
        """
        try:
            filesystem, path = fsspec.url_to_fs(self.path)
            with filesystem.open(path, "rb") as stream:
                names, read = _OPENERS[self._ending](stream)
                features = self._features(names)
                columns = read(self._wanted(features))
        except DataError:
            raise
        except Exception as error:  # each store and each format has errors of its own
            raise self._error(f"cannot read it: {type(error).__name__}: {error}") from error
        X, y, weight = self._arrays(columns, features)
        try:
            return check_data(self.name, X, y, weight)
        except DataError as error:
            raise DataError(f"{error} (file {self.path})") from error

    def _features(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the feature columns, after a look that every wanted column exists."""
        features = ("X",) if self._ending == ".npz" else self.features
        if features is None:
            others = (n for n in names if n not in (self.target, self.weight))
            features = tuple(n for n in others if not n.startswith("__"))
        missing = [name for name in self._wanted(features) if name not in names]
        if missing:
            raise self._error(f"no {', '.join(missing)}; it has: {', '.join(names)}")
        if not features:
            raise self._error(f"no column is left as a feature; it has: {', '.join(names)}")
        return features

    def _arrays(self, columns: Any, features: tuple[str, ...]) -> tuple[Any, Any, Any]:
        if self._ending == ".npz":
            return columns["X"], columns[self.target], columns.get(self.weight)
        if not columns.num_rows:
            raise self._error("it has no rows")
        X = np.empty((columns.num_rows, len(features)), np.float32)
        for place, feature in enumerate(features):
            X[:, place] = self._numbers(columns, feature)
        weight = self._numbers(columns, self.weight) if self.weight else None
        return X, self._numbers(columns, self.target), weight

    def _numbers(self, table: pa.Table, name: str) -> NDArray[Any]:
        column = table[name]
        if column.null_count:
            raise self._error(f"column {name} has {column.null_count} nulls; fill or drop them")
        kind = column.type
        if not any(is_kind(kind) for is_kind in _NUMERIC):
            raise self._error(
                f"column {name} must be numeric, is {kind}; encode it, or choose features from: "
                f"{', '.join(table.column_names)}"
            )
        numbers: NDArray[Any] = column.to_numpy()
        return numbers


_NUMERIC = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)


def _memory() -> int:
    """Return the bytes of this machine, which no source's rows can exceed."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _bounded(nbytes: int) -> None:
    """Raise before something small unpacks to more than this machine holds."""
    if nbytes > _memory():
        raise ValueError(
            f"it unpacks to {nbytes >> 20} MiB, this machine has {_memory() >> 20}; split it"
        )


def _open_npz(stream: Any) -> tuple[list[str], Columns]:
    arrays = np.load(stream, allow_pickle=False)
    # No member gives more bytes than the archive's own table says.
    _bounded(sum(member.file_size for member in arrays.zip.infolist()))
    if "X" in arrays or not all(part in arrays for part in _CSR):
        return list(arrays), lambda names: {name: arrays[name] for name in names}
    others = [name for name in arrays if name not in _CSR]
    return [*others, "X"], lambda names: {
        name: _read_csr(arrays) if name == "X" else arrays[name] for name in names
    }


_CSR = ("data", "indices", "indptr", "shape")


def _read_csr(arrays: Any) -> Any:
    from scipy.sparse import csr_array

    data, indices, indptr, shape = (arrays[part] for part in _CSR)
    if (kind := bytes(arrays["format"]) if "format" in arrays else b"csr") != b"csr":
        raise ValueError(f"its sparse matrix is {kind.decode()}, must be csr")
    matrix = csr_array((data, indices, indptr), shape=tuple(shape.tolist()))
    matrix.check_format(full_check=True)  # indices of a broken file would lead out of the arrays
    return matrix


def _open_csv(stream: Any) -> tuple[list[str], Columns]:
    table = pyarrow.csv.read_csv(stream)
    return table.column_names, table.select


def _open_parquet(stream: Any) -> tuple[list[str], Columns]:
    # The names come from the footer; only the wanted columns are then read.
    table = pyarrow.parquet.ParquetFile(stream)

    def read(names: Sequence[str]) -> Any:
        # Runs of equal values take next to nothing in the file, and 4 bytes each as features.
        _bounded(4 * table.metadata.num_rows * len(names))
        return table.read(columns=names)

    return table.schema_arrow.names, read


_OPENERS: dict[str, Callable[[Any], tuple[list[str], Columns]]] = {
    ".npz": _open_npz,
    ".csv": _open_csv,
    ".parquet": _open_parquet,
}
