"""The scikit-learn face of a run: rows in one array, `sources` says whose they are."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from msl import aggregators, algorithms, codecs, models
from msl.aggregators.base import Aggregator
from msl.aggregators.mean import Mean
from msl.cluster import open_executor
from msl.codecs.base import Codec
from msl.errors import DataError
from msl.plan import Plan
from msl.rounds import Result, train
from msl.sources import ArraySource

__all__ = ["MultiSourceClassifier"]


class MultiSourceClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Multinomial logistic regression learned from many sources, by robust federated averaging.

    Parameters
    ----------
    aggregator : str or Aggregator, default="geometric_median"
        How the updates of a round become one; see ``msl list aggregators``.
    codec : str or Codec, default="none"
        How updates are compressed; see ``msl list codecs``.
    rounds : int, default=50
        Exchanges.
    epochs : int, default=2
        Passes over its rows that a source makes per round.
    batch : int, default=16
        Rows per local step.
    lr : float, default=0.5
        Local learning rate on standardised features.
    l2 : float, default=1e-4
        Penalty on the weights.
    n_sources : int, default=1
        Sources that rows are dealt to in turn when `fit` gets none.
    client : distributed.Client, optional
        A Dask client to run on; this process by default. Never pickled.
    random_state : int, default=0
        Root of every random draw; the same bits on any number of workers.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    params_ : ndarray of shape (d,)
        The flat parameters, for standardised features.
    n_iter_ : int
        Rounds that were run.
    sources_ : list of SourceInfo
        Name, rows and digest of each source.
    bytes_up_, bytes_down_ : int
        Exact payload bytes of the whole fit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = MultiSourceClassifier(rounds=20).fit(X, y, sources=np.arange(150) % 5)
    >>> clf.score(X, y) > 0.9
    True
    """

    def __init__(
        self,
        aggregator: str | Aggregator = "geometric_median",
        codec: str | Codec = "none",
        rounds: int = 50,
        epochs: int = 2,
        batch: int = 16,
        lr: float = 0.5,
        l2: float = 1e-4,
        n_sources: int = 1,
        client: Any = None,
        random_state: int = 0,
    ) -> None:
        self.aggregator = aggregator
        self.codec = codec
        self.rounds = rounds
        self.epochs = epochs
        self.batch = batch
        self.lr = lr
        self.l2 = l2
        self.n_sources = n_sources
        self.client = client
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sources: Any = None) -> Self:
        """Learn from rows that belong to sources.

        Parameters
        ----------
        X : array-like of shape (m, p)
        y : array-like of shape (m,)
            Class labels of any kind.
        sources : array-like of shape (m,), optional
            Whose each row is; any hashable labels.

        Raises
        ------
        ValueError
            When shapes differ, values are not finite, or there is only one class.
        """
        X, y = validate_data(self, X, y, dtype=np.float32, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"{type(self).__name__} needs samples of at least 2 classes, "
                f"got 1 class: {self.classes_[0]!r}"
            )
        owners = self._owners(sources, len(X))
        # float64 sums: a column of large, nearly equal values would lose its spread in float32.
        self.mean_ = X.mean(axis=0, dtype=np.float64)
        spread = X.std(axis=0, dtype=np.float64)
        self.scale_ = np.where(spread > 0, spread, 1.0)
        held = self._sources(self._standardised(X), codes, owners)
        result = self._train(held)
        self.params_, self.sources_ = result.params, list(result.sources)
        self.n_iter_ = len(result.reports)
        self.bytes_up_ = sum(report.bytes_up for report in result.reports)
        self.bytes_down_ = sum(report.bytes_down for report in result.reports)
        return self

    def _owners(self, sources: Any, m: int) -> Any:
        if sources is None:
            return np.arange(m) % min(self.n_sources, m)
        owners = np.asarray(sources)
        if owners.shape != (m,):
            raise DataError(f"sources must have shape ({m},), one per row, got {owners.shape}")
        return owners

    def _sources(self, X: Any, y: Any, owners: Any) -> list[ArraySource]:
        return [
            ArraySource(str(owner), X[owners == owner], y[owners == owner])
            for owner in np.unique(owners)
        ]

    def _plan(self) -> Plan:
        aggregator, codec = self.aggregator, self.codec
        return Plan(
            model=self._model(),
            algorithm=algorithms.make("fedavg", epochs=self.epochs, batch=self.batch, lr=self.lr),
            aggregator=aggregators.make(aggregator) if isinstance(aggregator, str) else aggregator,
            codec=codecs.make(codec) if isinstance(codec, str) else codec,
            rounds=self.rounds,
            seed=self.random_state,
        )

    def _model(self) -> models.Model:
        return models.make(
            "softmax",
            n_features=self.n_features_in_,
            n_classes=len(self.classes_),
            l2=self.l2,
        )

    def _train(self, sources: list[ArraySource]) -> Result:
        plan = self._plan()
        if len(sources) == 1:
            # One row is its own aggregate under every rule, but not every rule takes one.
            plan = replace(plan, aggregator=Mean())
        with open_executor(client=self.client, workers=0) as executor:
            return train(plan, sources, executor)

    def _standardised(self, X: Any) -> Any:
        return ((X - self.mean_) / self.scale_).astype(np.float32)

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        return self._standardised(validate_data(self, X, dtype=np.float32, reset=False))

    def predict(self, X: Any) -> Any:
        """Return the most likely label of each row, shape (m,)."""
        rows = self._checked(X)
        return self.classes_[self._model().predict(self.params_, rows)]

    def predict_proba(self, X: Any) -> Any:
        """Return probabilities of shape (m, n_classes), columns as in `classes_`."""
        rows = self._checked(X)
        return self._model().predict_proba(self.params_, rows)

    def __getstate__(self) -> Mapping[str, Any]:
        """Leave the Dask client behind: it belongs to this process."""
        state: dict[str, Any] = super().__getstate__()
        return state | {"client": None}
