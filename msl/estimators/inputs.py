"""What may be fitted: rows in one array, Dask collections, or many sources with rows of their own.

All become the same: a list of raw rows, each with a name, that are read where they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from sklearn.utils import check_X_y
from sklearn.utils.validation import _check_sample_weight

from msl.errors import DataError
from msl.sources import ArraySource, Source
from msl.sources.base import is_sparse
from msl.types import Data

__all__ = ["Raw", "RawRows", "are_sources", "is_dask", "of_dask", "of_rows", "of_sources"]

RawRows: TypeAlias = tuple[Any, Any, Any, list[str] | None]
"""X (m, p) in float64 or float32, dense or CSR; y (m,) of any kind; weights (m,) or None; and the
names of X's columns, if it was a data frame."""
FLOATS = [np.float64, np.float32]


@dataclass(frozen=True, eq=False)
class Raw:
    """Rows of one source as their owner has them: before labels become numbers and columns scaled.

    Parameters
    ----------
    name : str
        What reports call it.
    read : callable
        ``read(*arguments)`` returns (X, y), (X, y, weight) or `Data`; called where the rows are.
    arguments : tuple
        What it takes to read them.
    here : bool
        Whether the rows are in this process already.
    checked : bool
        Whether they were checked already.
    machine : str, optional
        Where they have to be read.
    """

    name: str
    read: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    here: bool = False
    checked: bool = False
    machine: str | None = None

    def rows(self) -> RawRows:
        """Return the rows, checked.

        Raises
        ------
        DataError
            When they cannot be learned from; names the source.
        """
        found = self.read(*self.arguments)
        if isinstance(found, Data):
            found = (found.X, found.y, found.weight)
        if not isinstance(found, tuple) or len(found) not in (2, 3):
            raise DataError(
                f"source {self.name!r} must give (X, y), (X, y, weight) or Data, "
                f"got {type(found).__name__}"
            )
        X, y, weight = (*found, None)[:3]
        if self.checked:
            return X, y, weight, None
        columns = list(getattr(X, "columns", ()))
        named = bool(columns) and all(isinstance(name, str) for name in columns)
        try:
            # A partition may be empty; whoever asks leaves sources without weight out.
            X, y = check_X_y(X, y, accept_sparse="csr", dtype=FLOATS, ensure_min_samples=0)
            if weight is not None:
                weight = _check_sample_weight(
                    weight, X, ensure_non_negative=True, allow_all_zero_weights=True
                )
        except ValueError as error:
            raise DataError(f"source {self.name!r}: {error}") from error
        return X, y, weight, columns if named else None


def _given(*rows: Any) -> tuple[Any, ...]:
    return rows


def _stacked(dataset: Any) -> tuple[Any, Any]:
    """Return the samples (x, y) of a Dataset as rows; x of any shape, one after the other."""
    samples = [dataset[i] for i in range(len(dataset))]
    X = np.stack([np.asarray(x, np.float32).ravel() for x, _ in samples])
    return X, np.asarray([y.item() if hasattr(y, "item") else y for _, y in samples])


def of_rows(X: Any, y: Any, weight: Any, owners: Any) -> list[Raw]:
    """Return the rows of one checked array, source by source, sorted by label.

    Parameters
    ----------
    owners : array-like of shape (m,)
        Whose each row is.
    """
    owners = np.asarray(owners)
    if owners.shape != (len(y),):
        raise DataError(f"sources must have shape ({len(y)},), one per row, got {owners.shape}")
    labels, number, sizes = np.unique(owners, return_inverse=True, return_counts=True)
    if len(labels) == 1:
        return [Raw(str(labels[0]), _given, (X, y, weight), here=True, checked=True)]
    order = np.argsort(number, kind="stable")
    found = []
    for label, mine in zip(labels, np.split(order, np.cumsum(sizes)[:-1]), strict=True):
        rows = (X[mine], y[mine], None if weight is None else weight[mine])
        found.append(Raw(str(label), _given, rows, here=True, checked=True))
    return found


def are_sources(X: Any, y: Any) -> bool:
    """Return whether X is a list or dict of sources, each with its own rows and targets."""
    if y is not None or is_sparse(X):  # one of the sparse formats is a dict
        return False
    if isinstance(X, Mapping):
        return True
    return isinstance(X, list | tuple) and bool(X) and all(_is_source(one) for one in X)


def _is_source(one: Any) -> bool:
    if isinstance(one, tuple):  # of arrays; a tuple of numbers is a row
        return bool(one) and np.ndim(one[0]) > 0
    return isinstance(one, Data | Source) or callable(one) or _is_dataset(one)


def _is_dataset(one: Any) -> bool:
    """Return whether it is a torch Dataset with a length, without importing torch."""
    homes = {base.__module__.partition(".")[0] for base in type(one).__mro__}
    return "torch" in homes and hasattr(one, "__getitem__") and hasattr(one, "__len__")


def of_sources(X: Any) -> list[Raw]:
    """Return a list or dict of rows, loaders, sources or torch Datasets, in their order."""
    named = (
        X.items() if isinstance(X, Mapping) else [(_name(i, one), one) for i, one in enumerate(X)]
    )
    found = [_raw(str(name), one) for name, one in named]
    if not found:
        raise DataError("there are no sources to learn from")
    return found


def _name(number: int, one: Any) -> str:
    return one.name if isinstance(one, Source) else str(number)


def _raw(name: str, one: Any) -> Raw:
    if isinstance(one, Source):
        return Raw(name, one.load, here=isinstance(one, ArraySource), machine=one.machine)
    if isinstance(one, Data):
        return Raw(name, _given, (one.X, one.y, one.weight), here=True)
    if isinstance(one, tuple):
        return Raw(name, _given, one, here=True)
    if _is_dataset(one):
        return Raw(name, _stacked, (one,))
    if callable(one):
        return Raw(name, one)
    raise DataError(
        f"source {name!r} must be (X, y), (X, y, weight), a function that returns one of them, "
        f"a Source or a torch Dataset, got {type(one).__name__}"
    )


def is_dask(X: Any) -> bool:
    """Return whether X is a Dask collection."""
    return hasattr(X, "__dask_graph__")


def of_dask(X: Any, y: Any, weight: Any) -> list[Raw]:
    """Return one source per partition; each is computed on the worker that gets it."""
    from dask.array import Array

    if isinstance(X, Array) and len(X.chunks) == 2 and len(X.chunks[1]) > 1:
        X = X.rechunk({1: -1})  # type: ignore[no-untyped-call]
    parts: list[list[Any]] = []
    for name, collection in (("X", X), ("y", y), ("sample_weight", weight)):
        if collection is None and name == "sample_weight":
            continue
        if collection is None and name == "y":
            parts.append([None] * len(parts[0]))
            continue
        if not is_dask(collection):
            raise DataError(f"X is a Dask collection; give {name} as one with the same partitions")
        if isinstance(collection, Array) and isinstance(X, Array):
            collection = _like(X, collection)
        parts.append([_alone(part) for part in np.ravel(collection.to_delayed())])
    if len({len(pieces) for pieces in parts}) > 1:
        raise DataError(
            f"X, y and sample_weight need the same partitions, got {[len(one) for one in parts]}"
        )
    return [Raw(str(i), _computed, pieces) for i, pieces in enumerate(zip(*parts, strict=True))]


def _like(X: Any, other: Any) -> Any:
    """Return the other array, cut where X is; unknown sizes have to fit already."""
    known = not np.isnan(X.chunks[0]).any() and not np.isnan(other.chunks[0]).any()
    return other.rechunk({0: X.chunks[0]}) if known else other


def _alone(part: Any) -> Any:
    """Return a partition without the graphs of the others, which would travel with it."""
    from dask.delayed import Delayed
    from dask.optimization import cull

    graph = dict(part.dask)
    if part.key not in graph or any(type(task).__name__ == "Future" for task in graph.values()):
        raise DataError(
            "a persisted collection is bound to its client, and cannot be read by the sources; "
            "give the collection from before persist(): every worker keeps what it has computed"
        )
    own, _ = cull(graph, [part.key])  # type: ignore[no-untyped-call]
    return Delayed(part.key, own)  # type: ignore[no-untyped-call]


def _computed(*parts: Any) -> tuple[Any, ...]:
    """Compute a partition in this very thread."""
    from dask.base import compute

    found: tuple[Any, ...] = compute(*parts, scheduler="sync")  # type: ignore[no-untyped-call]
    if found[1] is None:  # features alone
        return found[0], np.zeros(len(found[0])), *found[2:]
    return found
