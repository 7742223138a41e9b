"""What all multi-source estimators do: gather what to learn from, and run rounds."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from msl import algorithms
from msl.aggregators.mean import Mean
from msl.algorithms import Lbfgs
from msl.cluster import Executor, open_executor
from msl.errors import DataError
from msl.estimators.books import WithBooks
from msl.estimators.callbacks import Patience, RoundTasks
from msl.estimators.gathering import current_client, gathered, survey_all
from msl.estimators.inputs import Raw
from msl.estimators.parts import WithParts, part_of
from msl.estimators.preparing import Prepared, Scaling, Told
from msl.estimators.resumed import resumed
from msl.models import Model
from msl.plan import Plan
from msl.rounds import Result, Start, train
from msl.sources import PooledSource, Source
from msl.tracking import NullTracker
from msl.trust.all import TrustAll
from msl.types import Report

__all__ = ["MultiSource"]


class MultiSource(CallbackSupportMixin, WithBooks, WithParts):  # type: ignore[misc]
    """A supervised estimator whose rows lie at many sources."""

    aggregator: Any
    codec: Any
    per_round: int | None
    sampler: Any
    waiting: Any
    algorithm: Any
    trust: Any
    rounds: int
    tol: float
    early_stopping: bool
    validation_fraction: float
    validation: str
    n_iter_no_change: int
    warm_start: bool
    n_sources: int
    client: Any
    random_state: Any

    n_features_in_: int

    _classifies: ClassVar[bool]
    _sparse: ClassVar[bool] = True

    # What kinds of models differ in.

    @abstractmethod
    def _shape(self, told: Sequence[Told], total: float, first: bool) -> Model:
        """Return the model, after `_scaling` is set on the first call; `total` weight of rows."""

    def _warm(self, model: Model, before: Mapping[str, Any]) -> Start | None:
        """Return where a new `fit` begins, from the attributes of the last one."""
        return None

    def _class_weights(self, told: Sequence[Told]) -> NDArray[np.float64] | None:
        """Return what rows of each class count, if not the same."""
        return None

    # Fitting.

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None, sources: Any = None, sample_weight: Any = None) -> Self:
        """Learn from rows that belong to sources.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (m, p), Dask collection, or list or dict of sources
            Rows in one array. Or a Dask array or data frame, each partition of which is a source
            and stays on its worker. Or sources by name or number, each (X, y), (X, y, weight), a
            function that returns one of them on a worker, a `Source`, or a torch Dataset.
        y : array-like of shape (m,)
            Targets; left out when the sources have them.
        sources : array-like of shape (m,), optional
            Whose each row is; any labels. Rows are dealt to `n_sources` when left out.
        sample_weight : array-like of shape (m,), optional
            Non-negative; rows of weight 0 are not there.

        Raises
        ------
        ValueError
            When shapes differ, values are not finite, or parameters do not fit each other.
        """
        before = dict(vars(self)) if self.warm_start and hasattr(self, "params_") else {}
        self.__dict__.pop("classes_", None)
        raws, judges = gathered(self, X, y, sources, sample_weight, first=True)
        given: dict[str, Any] = {}
        if all(raw.checked for raw in raws):
            weights = {} if sample_weight is None else {"sample_weight": sample_weight}
            given = {"X": X, "y": y, "metadata": weights}
        tasks = None
        if getattr(self, "_skl_callbacks", None):
            tasks = RoundTasks(self, self.rounds, given)
        patience = Patience(self.tol, self.n_iter_no_change) if self.early_stopping else None

        def watch(report: Report, params: Any) -> bool:
            stop = patience is not None and patience.ended(report.accuracy or 0.0, params)
            last = stop or report.converged or report.round + 1 == self.rounds
            asked = tasks is not None and tasks.ended(last, lambda: self._fitted(params()))
            return stop or asked

        with open_executor(client=self.client or current_client(), workers=0) as executor:
            plan, held, held_out = self._set_up(raws, judges, executor, self.rounds, True)
            start = self._warm(plan.model, before) if before else None
            if start and isinstance(plan.algorithm, Lbfgs):
                plan = replace(plan, algorithm=resumed(plan.algorithm, before["_server"]))
            left = train(
                plan, held, executor, held_out=held_out, start=start, keep_server=True,
                watch=watch if tasks or patience else None,
            )  # fmt: skip
        self._told = []
        self._keep(left, patience.params if patience else None)
        if tasks:
            tasks.close()
        if isinstance(plan.algorithm, Lbfgs) and not patience:
            self._warn_unless_converged(left)
        return self

    def _warn_unless_converged(self, left: Result) -> None:
        """Warn when the gradient has not shrunk to `tol`, and say what to do."""
        if not left.reports[-1].converged:
            if self.n_iter_ < self.rounds:
                return  # stopped by whoever listened
            why = f"{self.rounds} rounds were not enough for tol={self.tol}: give more rounds"
        elif left.server.norm > self.tol * left.server.largest:
            shrunk = left.server.norm / left.server.largest
            why = (
                f"the gradient stopped shrinking at {shrunk:.1e} of its largest, above "
                f"tol={self.tol}, as it does at a kink of the loss or when updates are noisy"
            )
        else:
            return
        # A decorator of scikit-learn lies between.
        warnings.warn(f"{why}, or a larger tol", ConvergenceWarning, stacklevel=4)

    def _fit_one_round(self, X: Any, y: Any, sources: Any, sample_weight: Any, first: bool) -> Self:
        """Run one more round, on rows that may be new; scales stay those of the first call."""
        raws, _ = gathered(self, X, y, sources, sample_weight, first=first, split=False)
        with open_executor(client=self.client or current_client(), workers=0) as executor:
            done = 0 if first else self.n_iter_
            plan, held, _ = self._set_up(raws, [], executor, done + 1, first)
            start = None
            if not first:
                rule = plan.algorithm.server()
                # Rows may have changed since it was done.
                server = None if rule.converged(self._server) else self._server
                start = Start(self.params_, server, done)
            # A run per round is nothing that msl.autolog() should make.
            left = train(plan, held, executor, start=start, keep_server=True, tracker=NullTracker())
        if first:
            self._told = []
        self._keep(left)
        return self

    # The run.

    def _set_up(
        self, raws: list[Raw], judges: list[Raw], executor: Executor, rounds: int, first: bool
    ) -> tuple[Plan, list[Source], Source | None]:
        """Ask all for what they tell, and return the plan, the sources and the judges."""
        told = survey_all([*raws, *judges], self._classifies, executor)
        self._agree(told, first)
        known = told[: len(raws)]
        classes = self.classes_ if self._classifies else None
        counted = self._class_weights(known)
        if classes is not None and counted is not None:
            known = [one.counting(classes, counted) for one in known]
        # Before the moments are looked at: those of no rows are no numbers.
        weights = [one.weight for one in known]
        if not any(weights):
            raise DataError("the weights of all rows are zero; there is nothing to learn from")
        raws = [raw for raw, weight in zip(raws, weights, strict=True) if weight]
        known = [one for one, weight in zip(known, weights, strict=True) if weight]
        model = self._shape(known, self._total(known), first)

        def ready(raw: Raw) -> Source:
            source = Prepared(raw.name, raw, self._scaling, classes, counted)
            return source.loaded() if raw.here else source

        held_out = PooledSource(tuple(ready(raw) for raw in judges)) if judges else None
        return self._plan(model, len(raws), rounds), [ready(raw) for raw in raws], held_out

    def _agree(self, told: Sequence[Told], first: bool) -> None:
        """Set the columns, and on the first call the classes, that the sources have in common."""
        width = len(told[0].features.mean) if first else self.n_features_in_
        if wrong := [len(one.features.mean) for one in told if len(one.features.mean) != width]:
            raise DataError(
                f"all sources need the same columns; some have {width} of them, one {wrong[0]}"
            )
        self.n_features_in_ = width
        if named := [one.columns for one in told if one.columns]:
            if any(names != named[0] for names in named):
                raise DataError("sources have columns of different names, or in another order")
            known = None if first else getattr(self, "feature_names_in_", None)
            if known is not None and list(known) != named[0]:
                raise DataError("columns have other names than in the first call, or another order")
            if first:
                self.feature_names_in_ = np.array(named[0], dtype=object)
        if self._classifies and not hasattr(self, "classes_"):
            self.classes_ = np.unique(np.concatenate([one.classes for one in told]))

    def _total(self, told: Sequence[Told]) -> float:
        """Return the weight of all rows; where some may lie, as if all had what the median has."""
        weights = [one.weight for one in told]
        return sum(weights) if self._trusting else len(weights) * float(np.median(weights))

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    _scaling: Scaling

    @property
    def _trusting(self) -> bool:
        """Whether every source is believed whatever it says."""
        rule, trust = part_of("aggregator", self.aggregator), part_of("trust", self.trust)
        return isinstance(rule, Mean) and isinstance(trust, TrustAll)

    def _plan(self, model: Model, n: int, rounds: int) -> Plan:
        algorithm = self.algorithm
        if algorithm == "lbfgs":
            algorithm = algorithms.make("lbfgs", tolerance=self.tol)
        # One row is its own aggregate under every rule, but not every rule takes one.
        aggregator = Mean() if n == 1 else part_of("aggregator", self.aggregator)
        return Plan(
            model,
            part_of("algorithm", algorithm),
            aggregator,
            part_of("codec", self.codec),
            trust=part_of("trust", self.trust),
            rounds=rounds,
            per_round=self.per_round,
            sampler=part_of("sampler", self.sampler),
            waiting=part_of("waiting", self.waiting),
            seed=self._seed(),
            n_classes=len(self.classes_) if self._classifies else None,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self._sparse
        return tags
