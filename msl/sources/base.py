"""The contract of a source: a holder of rows that can be loaded where it lives, and again."""

from abc import ABC, abstractmethod
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError, PlanError
from msl.types import Data, SourceInfo

__all__ = ["Source", "check_data", "check_same", "info_of", "is_sparse"]


class Source(ABC):
    """A named recipe for rows; a frozen dataclass, small enough to travel to a worker.

    The recipe travels, the rows do not: `load` is called on the worker, and again on another
    worker when the first one dies.
    """

    name: str
    machine: str | None = None
    """Where it has to be loaded, see `Pinned`; anywhere when None."""

    @property
    def in_memory(self) -> bool:
        """Whether the rows come with the recipe: to forget what was loaded would free nothing."""
        return False

    @abstractmethod
    def load(self) -> Data:
        """Return the rows, checked."""


def check_data(name: str, X: Any, y: Any, weight: Any = None) -> Data:
    """Return float32 features, int64 or float32 targets and optional weights.

    A sparse matrix of any SciPy format becomes a CSR array without duplicates or stored zeros.

    Raises
    ------
    DataError
        When X is not (m, p) with m >= 1, lengths differ, or a value is no finite number; names
        the source.
    """
    try:
        X, y = (_csr(X) if is_sparse(X) else np.ascontiguousarray(X, np.float32)), np.asarray(y)
        weight = None if weight is None else np.ascontiguousarray(weight, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"source {name!r}: X, y and weight must be numbers: {error}") from error
    if X.ndim != 2:
        raise DataError(f"source {name!r}: X must have shape (rows, features), got {X.shape}")
    if not X.shape[0]:
        raise DataError(f"source {name!r} has no rows; drop it or give it at least one")
    if y.shape != (m := X.shape[0],):
        raise DataError(f"source {name!r}: {m} rows need y of shape ({m},), got {y.shape}")
    if (row := _not_finite(X)) is not None:
        raise DataError(f"source {name!r}: NaN or Inf in row {row} of X")
    y = _targets(name, y)
    if weight is not None and (
        weight.shape != y.shape or not np.isfinite(weight).all() or weight.min() < 0
    ):
        raise DataError(f"source {name!r}: weights must be ({len(y)},), finite and >= 0")
    return Data(X, y, weight)


def is_sparse(X: Any) -> bool:
    """Return whether X is a matrix of scipy.sparse, without importing it: few runs need it."""
    return hasattr(X, "tocsr")


def _csr(X: Any) -> Any:
    """Return X as a float32 CSR array in the one form that equal matrices share."""
    from scipy.sparse import csr_array

    rows = csr_array(X, dtype=np.float32)
    if not rows.has_canonical_format or not rows.data.all():
        rows = rows.copy()  # the caller's arrays may lie below
        rows.sum_duplicates()
        rows.eliminate_zeros()
    return rows


def _not_finite(X: Any) -> int | None:
    """Return the first row with a NaN or Inf, None when there is none."""
    if is_sparse(X):
        wrong = np.flatnonzero(~np.isfinite(X.data))
        return int(np.searchsorted(X.indptr, wrong[0], side="right")) - 1 if len(wrong) else None
    finite = np.isfinite(X).all(axis=1)
    return None if finite.all() else int(np.argmin(finite))


def _targets(name: str, y: NDArray[Any]) -> NDArray[Any]:
    if y.dtype.kind in "iub":
        if y.min() < 0:
            raise DataError(f"source {name!r}: class numbers start at 0, got {int(y.min())}")
        return y.astype(np.int64)
    if y.dtype.kind == "f" and np.isfinite(y).all():
        return y.astype(np.float32)
    raise DataError(f"source {name!r}: y must be class numbers or finite reals, got {y.dtype}")


def info_of(name: str, data: Data, place: str = "") -> SourceInfo:
    """Return name, size, classes and a SHA-256 digest of the rows; no row itself."""
    X: Any = data.X
    digest = sha256(X.data)  # the rows, or what a CSR matrix stores of them
    if is_sparse(X):
        for part in (X.shape, X.indptr, X.indices):
            digest.update(np.asarray(part, np.int64).data)  # SciPy chooses 32 or 64 bits
    digest.update(np.ascontiguousarray(data.y).data)
    if data.weight is not None:
        digest.update(data.weight.data)
    classes = np.unique(data.y).tolist() if data.y.dtype.kind == "i" else []
    return SourceInfo(
        name,
        len(data),
        data.X.shape[1],
        tuple(classes),
        digest.hexdigest()[:16],
        place,
        is_sparse(X),
        _effective(data.weight),
    )


def check_same(before: SourceInfo, now: SourceInfo) -> None:
    """Raise PlanError when a source that was loaded again has other rows."""
    if now.digest != before.digest:
        raise PlanError(
            f"source {now.name!r} has other rows than when the run was started (digest "
            f"{now.digest}, was {before.digest}): bring them back, or start anew"
        )


def _effective(weight: NDArray[Any] | None) -> float | None:
    """Return how many rows of equal weight tell as much; None where all weigh the same."""
    if weight is None or not weight.any():
        return None
    each = weight.astype(np.float64)
    return float(each.sum() ** 2 / (each @ each))
