"""Linear and generalised linear regression from many sources."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from msl.aggregators.base import Aggregator
from msl.algorithms.base import Algorithm
from msl.codecs.base import Codec
from msl.errors import DataError, PlanError
from msl.estimators.linear import LinearMultiSource
from msl.estimators.preparing import Scaling, Told
from msl.models import Linear
from msl.models.penalty import L2
from msl.samplers.base import Sampler
from msl.trust.base import TrustRule
from msl.types import Vector
from msl.waiting.base import Waiting

__all__ = ["MultiSourceRegressor"]

CRITERIA = {
    "squared_error": "squared",
    "huber": "huber",
    "quantile": "quantile",
    "poisson": "poisson",
}


class MultiSourceRegressor(RegressorMixin, LinearMultiSource):  # type: ignore[misc]
    """Linear regression learned from many sources that keep their rows.

    It minimises the sum of the losses of all rows plus alpha ||w||^2 / 2. So with the squared
    error (halved) alpha is that of scikit-learn's Ridge, and by default the optimum is the same;
    the alpha of PoissonRegressor, which takes the mean of the losses, has to be multiplied by the
    number of rows. Columns and targets are scaled at the sources, which changes neither the
    optimum nor `coef_`.

    The default aggregator believes everybody. When sources may lie, choose one that does not
    (``"geometric_median"``, ``TrimmedMean(f=2)``, ...), a trust rule, or both.

    Parameters
    ----------
    loss : {"squared_error", "huber", "quantile", "poisson"}, default="squared_error"
        Half the squared error; the same up to `epsilon` and linear beyond; the pinball loss; or
        half the Poisson deviance of a mean exp(z).
    epsilon : float, default=1.35
        Where huber turns linear, in units of y, > 0.
    quantile : float, default=0.5
        Which one, in (0, 1).
    aggregator : str or Aggregator, default="mean"
        How the updates of a round become one; see ``msl list aggregators``.
    codec : str or Codec, default="none"
        How updates are compressed; see ``msl list codecs``. Its settings, like those of the other
        parts, are parameters too: ``codec__bits``.
    algorithm : str or Algorithm, default="lbfgs"
        What sources and the server do; see ``msl list algorithms``.
    trust : str or TrustRule, default="all"
        Whom to believe, before the first round; see ``msl list trust``.
    rounds : int, default=500
        Exchanges, at most.
    per_round : int, optional
        Sources drawn per round; all of them when left out.
    sampler : str or Sampler, default="uniform"
        How they are drawn; see ``msl list samplers``.
    waiting : str or Waiting, default="everyone"
        For whom a round waits: ``Deadline(30)`` leaves out who is slower; see ``msl list waiting``.
    tol : float, default=1e-5
        Done when the gradient is this fraction of the longest so far; and the least improvement
        of the score that early stopping waits for.
    alpha : float, default=1.0
        Penalty, >= 0.
    early_stopping : bool, default=False
        Whether to set rows aside, stop when R2 on them gets no better, and keep the best round's
        model.
    validation_fraction : float, default=0.1
        What part of the rows, or of the sources.
    validation : {"rows", "sources"}, default="rows"
        What is set aside: rows, which must be in one array, or whole sources.
    n_iter_no_change : int, default=5
        Rounds without improvement to wait for.
    warm_start : bool, default=False
        Whether `fit` begins at the last solution.
    n_sources : int, default=1
        Sources that rows are dealt to in turn when `fit` gets no labels.
    client : distributed.Client, optional
        Where to run; the current client when there is one, else this process. Never pickled.
    random_state : int, RandomState or None, default=0
        Root of every random draw; an int gives the same bits on any number of workers.

    Attributes
    ----------
    coef_ : ndarray of shape (p,)
        In the units of X and y.
    intercept_ : float
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (p,)
        When X has column names.
    n_iter_ : int
        Rounds that were run.
    history_ : DataFrame
        A row per round: bytes, losses at the sources (of scaled targets), times.
    trust_report_ : DataFrame
        A row per source: rows, trust, its mean share in the rounds, and why.
    ledger_ : Ledger
        The same; ``ledger_.html()`` is a page to send to the sources.
    guarantee_ : dict
        What is guaranteed of the risk after the last round; empty for real targets.
    sources_ : list of SourceInfo
        Name, rows and digest of each source, as it was learned from.
    bytes_up_, bytes_down_ : int
        Exact payload bytes of the whole fit.
    params_ : ndarray of shape (p + 1,)
        The flat parameters, for scaled columns and targets.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> ours = MultiSourceRegressor().fit(X, y, sources=np.arange(442) % 7)
    >>> bool(np.allclose(ours.coef_, Ridge().fit(X, y).coef_, rtol=1e-3))
    True
    """

    _classifies: ClassVar[bool] = False

    def __init__(
        self,
        loss: str = "squared_error",
        *,
        epsilon: float = 1.35,
        quantile: float = 0.5,
        aggregator: str | Aggregator = "mean",
        codec: str | Codec = "none",
        algorithm: str | Algorithm = "lbfgs",
        trust: str | TrustRule = "all",
        rounds: int = 500,
        per_round: int | None = None,
        sampler: str | Sampler = "uniform",
        waiting: str | Waiting = "everyone",
        tol: float = 1e-5,
        alpha: float = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        validation: str = "rows",
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        n_sources: int = 1,
        client: Any = None,
        random_state: Any = 0,
    ) -> None:
        self.loss = loss
        self.epsilon = epsilon
        self.quantile = quantile
        self.aggregator = aggregator
        self.codec = codec
        self.algorithm = algorithm
        self.trust = trust
        self.rounds = rounds
        self.per_round = per_round
        self.sampler = sampler
        self.waiting = waiting
        self.tol = tol
        self.alpha = alpha
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.validation = validation
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.n_sources = n_sources
        self.client = client
        self.random_state = random_state

    def partial_fit(
        self, X: Any, y: Any = None, sources: Any = None, sample_weight: Any = None
    ) -> Self:
        """Run one round more: on the same rows it is a step of `fit`, new ones are met as they are.

        Scales of columns and targets stay those of the first call. What sources keep between
        rounds, such as the residuals of a codec, does not outlive a call.
        """
        first = not hasattr(self, "params_")
        return self._fit_one_round(X, y, sources, sample_weight, first)

    @property
    def _curvature(self) -> float:
        return 1.0

    def _penalty(self) -> float:
        if self.loss not in CRITERIA:
            raise PlanError(f"loss must be one of {', '.join(CRITERIA)}, got {self.loss!r}")
        if not self.alpha >= 0:
            raise PlanError(f"alpha must be >= 0, got {self.alpha}")
        return self.alpha

    def _scaled(self, told: Sequence[Told]) -> Scaling:
        found = super()._scaled(told)
        if self.loss != "poisson":
            return found
        # A deviance allows a factor, and nothing to be added.
        if any(one.target.low[0] < 0 for one in told if one.target):
            raise DataError("poisson needs targets >= 0")
        return replace(found, target_center=0.0, target_scale=abs(found.target_center) or 1.0)

    def _model(self, l2: L2) -> Linear:
        unit = self._scaling.target_scale
        if self.loss in ("quantile", "poisson") and isinstance(l2, tuple):
            # These losses grow with the unit of y, squared ones and penalties with its square.
            factor = unit if self.loss == "quantile" else 1 / unit
            l2 = tuple(one * factor for one in l2)
        return Linear(
            self.n_features_in_,
            criterion=CRITERIA[self.loss],
            l2=l2,
            epsilon=self.epsilon / unit,
            quantile=self.quantile,
        )

    def _fitted(self, params: Vector) -> dict[str, Any]:
        weight, bias = self._natural(params)
        unit, center = self._scaling.target_scale, self._scaling.target_center
        if self.loss == "poisson":
            return {"coef_": weight[0], "intercept_": float(bias[0] + np.log(unit))}
        return {"coef_": weight[0] * unit, "intercept_": float(bias[0] * unit + center)}

    def _scaled_params(self, weight: NDArray[Any], bias: NDArray[Any]) -> Vector:
        unit, center = self._scaling.target_scale, self._scaling.target_center
        if self.loss == "poisson":
            return super()._scaled_params(weight, bias - np.log(unit))
        return super()._scaled_params(weight / unit, (bias - center) / unit)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return real values of shape (m,); means of counts for poisson."""
        model, params, rows = self._asked(X)
        return np.asarray(model.predict(params, rows), np.float64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.loss == "poisson"
        return tags
