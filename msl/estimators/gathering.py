"""Whom an estimator learns from, on whom it judges when to stop, and what they tell beforehand."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight, validate_data

from msl.cluster import Executor
from msl.dealing import deal
from msl.errors import DataError, PlanError, SourceError, WorkerLostError
from msl.estimators.inputs import FLOATS, Raw, are_sources, is_dask, of_dask, of_rows, of_sources
from msl.estimators.preparing import Told, survey
from msl.random import derive, generator
from msl.sources import held_out_split

__all__ = ["current_client", "gathered", "survey_all"]


def gathered(
    estimator: Any,
    X: Any,
    y: Any,
    sources: Any,
    sample_weight: Any,
    first: bool,
    split: bool = True,
) -> tuple[list[Raw], list[Raw]]:
    """Return whom to learn from, and on whom to judge when to stop (nobody without `split`).

    Rows in one array are checked, and their columns noted by the estimator, here.
    """
    _check_parameters(estimator)
    stopping = split and estimator.early_stopping
    by_rows = stopping and estimator.validation == "rows"
    if is_dask(X) or are_sources(X, y):
        if sources is not None or (sample_weight is not None and not is_dask(X)):
            raise DataError("sources that are given one by one have names and weights already")
        if by_rows:
            raise DataError(
                "rows of sources elsewhere cannot be set aside to judge: set validation='sources'"
            )
        raws = of_dask(X, y, sample_weight) if is_dask(X) else of_sources(X)
        if first:
            vars(estimator).pop("feature_names_in_", None)
        return _aside(estimator, raws) if stopping else (raws, [])
    X, y = validate_data(
        estimator,
        X,
        y,
        reset=first,
        accept_sparse="csr" if estimator._sparse else False,
        dtype=FLOATS,
        y_numeric=not estimator._classifies,
        ensure_min_samples=2 if split else 1,
    )
    weight = None
    if sample_weight is not None:
        weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
    m = X.shape[0]
    owners = np.arange(m) % estimator.n_sources if sources is None else np.asarray(sources)
    if by_rows:
        return _split(estimator, X, y, weight, owners)
    raws = of_rows(X, y, weight, owners)
    return _aside(estimator, raws) if stopping else (raws, [])


def _check_parameters(estimator: Any) -> None:
    if estimator.validation not in ("rows", "sources"):
        raise PlanError(f"validation must be 'rows' or 'sources', got {estimator.validation!r}")
    if not 0 < estimator.validation_fraction < 1:
        raise PlanError(
            f"validation_fraction must be in (0, 1), got {estimator.validation_fraction}"
        )
    if estimator.n_sources < 1 or estimator.n_iter_no_change < 1 or not estimator.tol >= 0:
        raise PlanError(
            "n_sources and n_iter_no_change must be at least 1, and tol >= 0, got "
            f"{estimator.n_sources}, {estimator.n_iter_no_change} and {estimator.tol}"
        )


def _split(estimator: Any, X: Any, y: Any, weight: Any, owners: Any) -> tuple[list[Raw], list[Raw]]:
    """Set a part of the rows aside, class by class."""
    strata = np.unique(y, return_inverse=True)[1] if estimator._classifies else np.zeros(len(y))
    kept, judged = held_out_split(strata, estimator.validation_fraction, estimator._seed())
    if not len(judged):
        raise DataError(f"validation_fraction leaves none of {len(y)} rows to judge on")

    def rows(i: Any, of: Any) -> list[Raw]:
        return of_rows(X[i], y[i], None if weight is None else weight[i], of)

    return rows(kept, owners[kept]), rows(judged, np.zeros(len(judged)))


def _aside(estimator: Any, raws: list[Raw]) -> tuple[list[Raw], list[Raw]]:
    """Set whole sources aside."""
    k = max(1, round(estimator.validation_fraction * len(raws)))
    if k >= len(raws):
        raise DataError(f"of {len(raws)} sources none would be left beside the {k} that judge")
    draw = generator(derive(estimator._seed(), "validation"))
    judges = set(draw.choice(len(raws), k, replace=False).tolist())
    return (
        [raw for i, raw in enumerate(raws) if i not in judges],
        [raw for i, raw in enumerate(raws) if i in judges],
    )


def survey_all(raws: Sequence[Raw], classes: bool, executor: Executor) -> list[Told]:
    """Return what all tell, in their order; those elsewhere are asked at the same time."""
    here = {i: survey(raw, classes) for i, raw in enumerate(raws) if raw.here}
    away = [(i, raw) for i, raw in enumerate(raws) if not raw.here]
    while True:
        asked = {}
        for place, ranks in deal([raw for _, raw in away], executor).items() if away else ():
            for i, raw in (away[rank] for rank in ranks):
                asked[i] = executor.submit(_survey_at, raw, classes, place, at=place)
        try:
            told = executor.gather(list(asked.values()))
        except WorkerLostError:
            executor.refresh()
        else:
            answers = here | dict(zip(asked, told, strict=True))
            return [answers[i] for i in range(len(raws))]


def _survey_at(raw: Raw, classes: bool, place: str) -> Told:
    try:
        return survey(raw, classes)
    except Exception as error:
        raise SourceError(raw.name, -1, place, str(error)) from error


def current_client() -> Any:
    """Return the Dask client that is current here, None if there is none that can be waited for."""
    # Whoever has a client has imported it.
    try:
        found = sys.modules["distributed"].Client.current()
    except ValueError:
        return None
    return None if found.asynchronous else found
