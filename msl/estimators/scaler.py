"""Scaling features that lie at many sources, by what the sources tell of them."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    validate_data,
)

from msl.errors import DataError, PlanError
from msl.estimators.asking import Told, ask, named, of_features
from msl.estimators.inputs import FLOATS, Raw, is_dask, of_rows
from msl.sources.base import is_sparse
from msl.sources.summary import Summary, carry, merged

__all__ = ["FederatedScaler"]


class FederatedScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Subtracts a centre and divides by a scale that are those of all sources' rows together.

    Every source tells moments, extremes and, for ``"robust"``, `n_quantiles` numbers per feature;
    no row leaves it. Means and variances equal those of the pooled rows (Chan, Golub, LeVeque
    1979). A source that lies can move them at will, but the quantiles only by its share of the
    rows.

    Parameters
    ----------
    method : {"standard", "minmax", "robust"}, default="standard"
        Mean and standard deviation; minimum and range; or median and distance between the
        quantiles of `quantile_range`.
    with_mean : bool, default=True
        Whether to subtract the centre; sparse rows have to be scaled without.
    with_std : bool, default=True
        Whether to divide by the scale.
    quantile_range : tuple of float, default=(25.0, 75.0)
        For ``"robust"``, in percent.
    n_quantiles : int, default=256
        The k of the quantiles: their rank among all rows is off by at most 1 / 2k of the rows (and
        one row) after `fit`, and by another log2(b) / 2k after b calls of `partial_fit`. A source
        then tells k p numbers.
    n_sources : int, default=1
        Sources that rows are dealt to in turn when `fit` gets no labels.
    client : distributed.Client, optional
        A Dask client on whose workers sources are read; by default the current one, or else
        this process. Never pickled.

    Attributes
    ----------
    mean_, var_ : ndarray of shape (p,)
        Of all rows, float64, whatever the method.
    data_min_, data_max_ : ndarray of shape (p,)
    quantiles_ : ndarray of shape (3, p) or None
        Lower quantile, median and upper quantile; None unless ``"robust"``.
    center_, scale_ : ndarray of shape (p,) or None
        What is subtracted, and what is divided by: 1 for a constant feature.
    n_samples_seen_ : int or float
        Rows, or the sum of their weights.
    sources_ : list of SourceInfo
        Of the last call: name, rows, features and place; no digest, as targets are not looked at.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (p,)

    Examples
    --------
    >>> X = np.array([[1.0, 10], [3, 10], [5, 10], [7, 10]])
    >>> scaler = FederatedScaler().fit(X, sources=["north", "north", "south", "south"])
    >>> scaler.transform(X)[:, 0].round(2).tolist()
    [-1.34, -0.45, 0.45, 1.34]
    >>> [(info.name, info.rows) for info in scaler.sources_]
    [('north', 2), ('south', 2)]
    """

    def __init__(
        self,
        method: str = "standard",
        with_mean: bool = True,
        with_std: bool = True,
        quantile_range: tuple[float, float] = (25.0, 75.0),
        n_quantiles: int = 256,
        n_sources: int = 1,
        client: Any = None,
    ) -> None:
        self.method = method
        self.with_mean = with_mean
        self.with_std = with_std
        self.quantile_range = quantile_range
        self.n_quantiles = n_quantiles
        self.n_sources = n_sources
        self.client = client

    def fit(self, X: Any, y: Any = None, sources: Any = None, sample_weight: Any = None) -> Self:
        """Ask the sources, and forget what was known.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (m, p), or list or dict of sources
            Rows; or (X, y), (X, y, weight), functions that return them, or `Source`. Functions and
            sources are called on the workers of `client`, and only summaries leave them. In a dict
            targets may be missing.
        y : None
            Ignored.
        sources : array-like of shape (m,), optional
            Whose each row is.
        sample_weight : array-like of shape (m,), optional
            Of the rows; those of weight 0 are not there.

        Raises
        ------
        ValueError
            When shapes differ, values are not finite, or there is no row with a weight.
        """
        return self._see(X, sources, sample_weight, first=True)

    def partial_fit(
        self, X: Any, y: Any = None, sources: Any = None, sample_weight: Any = None
    ) -> Self:
        """Add rows to those seen so far; arguments and errors as in `fit`."""
        return self._see(X, sources, sample_weight, first=not hasattr(self, "_levels"))

    def _see(self, X: Any, sources: Any, sample_weight: Any, first: bool) -> Self:
        k = self._points()
        if (raws := of_features(X, sample_weight)) is None:
            told = ask(self._rows(X, sources, sample_weight, first), k, self.client)
        elif sources is not None or (sample_weight is not None and not is_dask(X)):
            raise DataError("a list or dict of sources says whose rows they are and their weights")
        else:
            told = ask(raws, k, self.client)
            self._note_columns(told, first)
        seen = merged([summary for _, summary, _ in told])
        if not seen.weight > 0:
            raise DataError("all rows have weight 0; there is nothing to scale by")
        self.sources_ = [info for info, *_ in told]
        self._levels: list[Summary | None] = carry([] if first else self._levels, seen, k)
        self._settle(merged([level for level in self._levels if level is not None]))
        return self

    def _points(self) -> int:
        low, high = self.quantile_range
        if self.method not in ("standard", "minmax", "robust"):
            raise PlanError(f"method must be standard, minmax or robust, got {self.method!r}")
        if not 0 <= low < high <= 100 or self.n_quantiles < 2 or self.n_sources < 1:
            raise PlanError(
                "quantile_range must be two rising numbers in 0..100, n_quantiles >= 2 and "
                f"n_sources >= 1, got {self.quantile_range}, {self.n_quantiles}, {self.n_sources}"
            )
        return self.n_quantiles if self.method == "robust" else 0

    def _rows(self, X: Any, sources: Any, sample_weight: Any, first: bool) -> list[Raw]:
        """Return the sources of rows in one array."""
        X = self._checked(X, reset=first)
        m = X.shape[0]
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        owners = np.arange(m) % self.n_sources if sources is None else sources
        return of_rows(X, np.zeros(m), weight, owners)

    def _note_columns(self, told: list[Told], first: bool) -> None:
        """Check or set number and names of the columns that sources elsewhere have."""
        width = told[0][0].features if first else self.n_features_in_
        for info, *_ in told:
            if info.features != width:
                raise DataError(f"source {info.name!r} has {info.features} features, not {width}")
        self.n_features_in_: int = width
        columns = named(told)
        if not first and columns and columns != list(getattr(self, "feature_names_in_", columns)):
            raise DataError("columns have other names than in the first call, or another order")
        if first:
            self.__dict__.pop("feature_names_in_", None)
            if columns:
                self.feature_names_in_ = np.array(columns, dtype=object)

    def _settle(self, seen: Summary) -> None:
        self.mean_, self.var_ = seen.mean, seen.var
        self.data_min_, self.data_max_ = seen.low, seen.high
        self.n_samples_seen_ = seen.rows if seen.weight == seen.rows else seen.weight
        center, scale = seen.mean, np.sqrt(seen.var)
        if self.method == "minmax":
            center, scale = seen.low, seen.high - seen.low
        self.quantiles_ = None
        if self.method == "robust":
            low, high = self.quantile_range
            self.quantiles_ = seen.quantiles((low / 100, 0.5, high / 100))
            center, scale = self.quantiles_[1], self.quantiles_[2] - self.quantiles_[0]
        # Below that a scale is nothing but the rounding of equal values.
        largest = np.maximum(np.abs(seen.low), np.abs(seen.high))
        flat = scale <= 10 * np.finfo(np.float64).eps * largest
        self.center_ = center if self.with_mean else None
        self.scale_ = np.where(flat, 1.0, scale) if self.with_std else None

    def transform(self, X: Any) -> Any:
        """Return scaled rows of shape (m, p), in their own float type; sparse ones as CSR."""
        check_is_fitted(self)
        X = self._checked(X, reset=False, copy=True)
        if self.center_ is not None:
            X -= self.center_.astype(X.dtype)
        return X if self.scale_ is None else _times(X, 1 / self.scale_)

    def inverse_transform(self, X: Any) -> Any:
        """Return rows of shape (m, p) in the units that `fit` saw."""
        check_is_fitted(self)
        X = check_array(X, accept_sparse="csr", dtype=FLOATS, copy=True, force_writeable=True)
        if X.shape[1] != self.n_features_in_:
            raise DataError(f"rows have {X.shape[1]} features, fitted were {self.n_features_in_}")
        self._refuse_centring(X)
        X = X if self.scale_ is None else _times(X, self.scale_)
        if self.center_ is not None:
            X += self.center_.astype(X.dtype)
        return X

    def _checked(self, X: Any, reset: bool, copy: bool = False) -> Any:
        X = validate_data(
            self, X, reset=reset, copy=copy, accept_sparse="csr", dtype=FLOATS,
            force_writeable=copy,
        )  # fmt: skip
        self._refuse_centring(X)
        return X

    def _refuse_centring(self, X: Any) -> None:
        if is_sparse(X) and self.with_mean:
            raise DataError("sparse rows less a centre would be dense: set with_mean=False")

    def __sklearn_tags__(self) -> Any:
        """Return that sparse rows are welcome when nothing is subtracted."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.with_mean
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def __getstate__(self) -> Mapping[str, Any]:
        """Leave the Dask client behind: it belongs to this process."""
        state: dict[str, Any] = super().__getstate__()
        return state | {"client": None}


def _times(X: Any, factor: Any) -> Any:
    """Multiply the features of rows in place, sparse or not."""
    factor = factor.astype(X.dtype)
    if is_sparse(X):
        X.data *= factor[X.indices]
    else:
        X *= factor
    return X
