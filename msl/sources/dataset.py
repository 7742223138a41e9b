"""Small public data sets that a YAML file may name; they come with scikit-learn, no download."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.errors import UnknownNameError

__all__ = ["DATASETS", "dataset"]

# scikit-learn takes about a second to import: only who asks for a data set pays.


def _digits() -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y  # grey values 0..16


def _iris() -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    return X, y


def _wine() -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import load_wine

    X, y = load_wine(return_X_y=True)
    return X, y


def _breast_cancer() -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    return X, y


DATASETS: Mapping[str, Callable[[], tuple[NDArray[Any], NDArray[Any]]]] = {
    "digits": _digits,
    "iris": _iris,
    "wine": _wine,
    "breast_cancer": _breast_cancer,
}


@cache
def dataset(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return X (m, p) and y (m,) of a named data set; read-only, loaded once per process.

    ``digits`` is scaled to [0, 1]; the others keep the units of their features.

    Raises
    ------
    UnknownNameError
        When `DATASETS` has no such name; lists the names.

    Examples
    --------
    >>> X, y = dataset("iris")
    >>> X.shape, y.max()
    ((150, 4), np.int64(2))
    """
    if name not in DATASETS:
        raise UnknownNameError(f"unknown dataset {name!r}; choose from: {', '.join(DATASETS)}")
    X, y = DATASETS[name]()
    X, y = np.ascontiguousarray(X, np.float32), y.astype(np.int64)
    # All sources of a process share these arrays.
    X.flags.writeable = y.flags.writeable = False
    return X, y
