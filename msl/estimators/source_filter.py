"""Whom to believe, in front of any scikit-learn estimator."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_regressor
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    has_fit_parameter,
    validate_data,
)

from msl import trust
from msl.cluster import Executor, open_executor
from msl.errors import DataError, PlanError
from msl.estimators.gathering import current_client
from msl.ledger import Ledger
from msl.sources import check_data, info_of
from msl.trust.base import Held, TrustRule
from msl.trust.pac_filter import PacFilter
from msl.types import Data

__all__ = ["SourceFilter"]


def _inner_has(method: str) -> Callable[[Any], bool]:
    def check(self: "SourceFilter") -> bool:
        return hasattr(getattr(self, "estimator_", self.estimator), method)

    return check


class SourceFilter(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """Finds the sources to believe, and fits an estimator on their rows only.

    The rows of a source that is not believed are left out of the fit; where the rule believes
    sources more or less, their weights multiply ``sample_weight``. Steps that have to know all
    rows, such as a scaler that is shared, go before it in a pipeline; those that must not see what
    a bad source says go into `estimator`.

    Parameters
    ----------
    estimator : estimator, optional
        A classifier or regressor. None only finds whom to believe.
    rule : str or TrustRule, optional
        See ``msl list trust``; `PacFilter` when left out.
    client : distributed.Client, optional
        A Dask client to compare sources on; the current one by default, else this process. Never
        pickled.

    Attributes
    ----------
    source_labels_ : ndarray of shape (n,)
        The labels, sorted.
    weights_ : ndarray of shape (n,)
        How far each is believed, in [0, 1].
    trusted_sources_ : ndarray
        Labels of those with a weight above 0.
    discrepancy_ : ndarray of shape (n, n) or None
        How differently two sources judge the same hypotheses, if the rule compares them.
    report_ : DataFrame
        A row per source: rows, digest, trust, statistic, p-value and the reason in words.
    ledger_ : Ledger
        The same; ``ledger_.html()`` is a page to send to the sources.
    sample_weight_ : ndarray of shape (m,)
        Weight of each row that was fitted: of its source, times what `fit` was given.
    estimator_ : estimator
        Fitted on the believed rows; missing without `estimator`.
    classes_ : ndarray
        Those of `estimator_`, if it is a classifier.
    n_features_in_ : int

    Examples
    --------
    Four of nine sources swap the labels:

    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X, hospital = StandardScaler().fit_transform(X)[:, :4], np.arange(569) % 9
    >>> lied = np.where(hospital < 4, 1 - y, y)
    >>> clf = SourceFilter(LogisticRegression()).fit(X, lied, sources=hospital)
    >>> clf.trusted_sources_.tolist()
    [4, 5, 6, 7, 8]
    >>> bool(clf.score(X, y) > LogisticRegression().fit(X, lied).score(X, y))
    True
    """

    def __init__(
        self, estimator: Any = None, rule: str | TrustRule | None = None, client: Any = None
    ) -> None:
        self.estimator = estimator
        self.rule = rule
        self.client = client

    def fit(self, X: Any, y: Any, sources: Any = None, sample_weight: Any = None) -> Self:
        """Compare the sources, and fit on the rows of those that are believed.

        Parameters
        ----------
        X : array-like of shape (m, p)
            Numbers; a data frame reaches `estimator` as one.
        y : array-like of shape (m,)
        sources : array-like of shape (m,), optional
            Whose each row is: labels of one kind. One source when left out, which is believed.
        sample_weight : array-like of shape (m,), optional

        Raises
        ------
        ValueError
            When shapes differ, values are not finite, no source is believed, or rows have weights
            and `estimator` takes none.
        """
        rows, y = validate_data(self, X, y)
        if not (real := self._real(y)):
            check_classification_targets(y)
        owners = np.zeros(len(y), np.int64) if sources is None else _labels(sources, len(y))
        self.source_labels_, number = np.unique(owners, return_inverse=True)
        targets = y if real else np.unique(y, return_inverse=True)[1]
        given = None if sample_weight is None else _check_sample_weight(sample_weight, rows)
        self._judge(rows, targets.astype(np.float32) if real else targets, number, given)
        trusted = self.weights_[number]
        self.sample_weight_ = trusted if given is None else trusted * given
        if self.estimator is not None:
            believed = np.flatnonzero(trusted)
            if not len(believed):
                raise DataError("the trust rule believes no source; there is nothing to fit on")
            # The names of a frame's columns are for the estimator; it checks them itself.
            known = X.iloc[believed] if hasattr(X, "iloc") else rows[believed]
            weighted = given is not None or bool((trusted[believed] != 1).any())
            self._fit_inner(known, y[believed], self.sample_weight_[believed] if weighted else None)
        return self

    def _real(self, y: Any) -> bool:
        """Return whether targets are real numbers, not classes."""
        if self.estimator is None:
            return str(type_of_target(y, input_name="y")).startswith("continuous")
        return bool(is_regressor(self.estimator))

    def _judge(self, X: Any, y: Any, number: Any, weight: Any) -> None:
        """Ask the rule."""
        rule = self.rule
        if rule is None:
            rule = PacFilter()
        elif isinstance(rule, str):
            rule = trust.make(rule)
        data = []
        for rank, label in enumerate(self.source_labels_):
            mine = number == rank
            own = None if weight is None else weight[mine]
            data.append((str(label), check_data(str(label), X[mine], y[mine], own)))
        with open_executor(client=self.client or current_client(), workers=0) as executor:
            held = _held(data, executor)
            verdict = rule.weigh(held, executor)
        self.ledger_ = Ledger.open([one.info for one in held], verdict)
        self.report_ = self.ledger_.table()
        self.weights_ = np.array(verdict.weights)
        self.trusted_sources_ = self.source_labels_[self.weights_ > 0]
        self.discrepancy_ = verdict.discrepancy

    def _fit_inner(self, X: Any, y: Any, weight: Any) -> None:
        inner = clone(self.estimator)
        if weight is None:
            self.estimator_ = inner.fit(X, y)
        elif has_fit_parameter(inner, "sample_weight"):
            self.estimator_ = inner.fit(X, y, sample_weight=weight)
        else:
            raise PlanError(
                f"rows have weights, but {type(inner).__name__} takes no sample_weight; choose an "
                "estimator that does (the last step of a pipeline can be a SourceFilter), or a "
                "rule that only keeps or leaves out"
            )

    def sample_weight(self, sources: Any) -> Any:
        """Return the weight of each row's source, for estimators fitted elsewhere.

        Parameters
        ----------
        sources : array-like of shape (m,)
            Labels that `fit` has seen.

        Raises
        ------
        DataError
            For labels it has not.
        """
        check_is_fitted(self)
        owners = _labels(sources, len(sources))
        if new := sorted(set(owners.tolist()) - set(self.source_labels_.tolist())):
            raise DataError(f"sources {new[:5]} were not judged; call fit with their rows")
        return self.weights_[np.searchsorted(self.source_labels_, owners)]

    @property
    def classes_(self) -> Any:
        """Classes of the fitted estimator."""
        return self.estimator_.classes_

    @available_if(_inner_has("predict"))  # type: ignore[untyped-decorator]
    def predict(self, X: Any) -> Any:
        """Return what the fitted estimator predicts."""
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(_inner_has("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """Return probabilities by the fitted estimator."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(_inner_has("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Any:
        """Return scores by the fitted estimator."""
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    @available_if(_inner_has("score"))  # type: ignore[untyped-decorator]
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Return the fitted estimator's own score."""
        check_is_fitted(self)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self.estimator_.score(X, y, **weights)

    def __sklearn_tags__(self) -> Any:
        """Return what the estimator is; sparse rows and missing values cannot be compared."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if self.estimator is not None:
            inner = get_tags(self.estimator)
            tags.estimator_type = inner.estimator_type
            tags.classifier_tags = inner.classifier_tags
            tags.regressor_tags = inner.regressor_tags
            if tags.classifier_tags is not None:
                # One label a row: sources are compared on one.
                tags.classifier_tags.multi_label = False
        return tags

    def __getstate__(self) -> Mapping[str, Any]:
        """Leave the Dask client behind: it belongs to this process."""
        state: dict[str, Any] = super().__getstate__()
        return state | {"client": None}


def _labels(sources: Any, m: int) -> Any:
    """Return labels (m,) that can be sorted."""
    owners = np.asarray(sources)
    if owners.shape != (m,):
        raise DataError(f"sources must have shape ({m},), one per row, got {owners.shape}")
    if owners.dtype == object and len(kinds := {type(one).__name__ for one in owners}) > 1:
        raise DataError(f"sources must be labels of one kind, got {', '.join(sorted(kinds))}")
    return owners


def _held(data: list[tuple[str, Data]], executor: Executor) -> list[Held]:
    """Deal named sources to the executor's places in turn."""
    places = executor.places[: len(data)]
    held: list[Held] = []
    for i, place in enumerate(places):
        mine = dict(list(enumerate(data))[i :: len(places)])
        host = executor.scatter(
            SimpleNamespace(data={rank: own for rank, (_, own) in mine.items()}), at=place
        )
        held += [
            Held(rank, info_of(name, own, place), host, place) for rank, (name, own) in mine.items()
        ]
    return sorted(held, key=lambda one: one.rank)
