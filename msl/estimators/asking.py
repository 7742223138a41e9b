"""Asking sources for summaries of their features where their rows are."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from msl.cluster import Executor, open_executor
from msl.dealing import deal
from msl.errors import DataError, SourceError, WorkerLostError
from msl.estimators.gathering import current_client
from msl.estimators.inputs import Raw, are_sources, is_dask, of_dask, of_sources
from msl.sources.base import is_sparse
from msl.sources.summary import Summary
from msl.types import SourceInfo

__all__ = ["Told", "ask", "named", "of_features"]

Told: TypeAlias = tuple[SourceInfo, Summary, list[str] | None]
"""Name and size, moments and quantiles, and the names of a data frame's columns."""


def of_features(X: Any, weight: Any = None) -> list[Raw] | None:
    """Return sources for a list or dict of them, None for rows; in a dict targets may be missing.

    A list of tuples of numbers is rows.
    """
    if is_dask(X):
        return of_dask(X, None, weight)
    if is_sparse(X) or not are_sources(X, None):  # one of the sparse formats is a dict
        return None
    if isinstance(X, Mapping):
        return of_sources(
            {
                name: (one, np.zeros(one.shape[0])) if hasattr(one, "shape") else one
                for name, one in X.items()
            }
        )
    scalars = isinstance(X[0], tuple) and np.ndim(X[0][0]) == 0
    return None if scalars else of_sources(X)


def named(told: Sequence[Told]) -> list[str] | None:
    """Return the names of the columns, if a source has some."""
    found = [columns for *_, columns in told if columns]
    if any(columns != found[0] for columns in found):
        raise DataError("sources have columns of different names, or in another order")
    return found[0] if found else None


def ask(raws: list[Raw], k: int, client: Any) -> list[Told]:
    """Return what each source tells, in their order.

    Rows of this process are read here: they would have to move to be read elsewhere.
    """
    here = {i: _told_by(raw, k, "here") for i, raw in enumerate(raws) if raw.here}
    away = [(i, raw) for i, raw in enumerate(raws) if not raw.here]
    if not away:
        return list(here.values())
    with open_executor(client=client or current_client(), workers=0) as executor:
        told = here | _asked(away, k, executor)
    return [told[i] for i in range(len(raws))]


def _asked(away: list[tuple[int, Raw]], k: int, executor: Executor) -> dict[int, Told]:
    """Ask sources where they live, and again at those that are left when one is lost."""
    while True:
        asked = {}
        for place, ranks in deal([raw for _, raw in away], executor).items():
            for i, raw in (away[rank] for rank in ranks):
                asked[i] = executor.submit(_told_by, raw, k, place, at=place)
        try:
            return dict(zip(asked, executor.gather(list(asked.values())), strict=True))
        except WorkerLostError:
            executor.refresh()


def _told_by(raw: Raw, k: int, place: str) -> Told:
    """Return what a source tells; its rows are let go at once."""
    try:
        X, _, weight, columns = raw.rows()
    except Exception as error:
        raise SourceError(raw.name, -1, place, str(error)) from error
    summary = Summary.of(X, weight, k)
    return SourceInfo(raw.name, summary.rows, X.shape[1], (), "", place), summary, columns
