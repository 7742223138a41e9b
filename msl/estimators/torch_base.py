"""What the estimators around any nn.Module have in common."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from msl import algorithms
from msl.aggregators.base import Aggregator
from msl.algorithms.base import Algorithm
from msl.codecs.base import Codec
from msl.errors import PlanError
from msl.estimators.base import MultiSource
from msl.estimators.inputs import FLOATS
from msl.estimators.preparing import Scaling, Told
from msl.estimators.torch_module import factory_of
from msl.models.torch import TorchModel
from msl.plan import Plan
from msl.rounds import Start
from msl.samplers.base import Sampler
from msl.trust.base import TrustRule
from msl.types import Vector
from msl.waiting.base import Waiting

__all__ = ["TorchMultiSource"]


class TorchMultiSource(MultiSource):
    """A module and its arguments, learned by local steps and averages."""

    _sparse: ClassVar[bool] = False

    def __init__(
        self,
        module: Any = None,
        *,
        criterion: Callable[..., Any] | None = None,
        lr: float = 0.1,
        epochs: int = 2,
        batch: int = 32,
        aggregator: str | Aggregator = "mean",
        codec: str | Codec = "none",
        algorithm: str | Algorithm = "fedavg",
        trust: str | TrustRule = "all",
        rounds: int = 50,
        per_round: int | None = None,
        sampler: str | Sampler = "uniform",
        waiting: str | Waiting = "everyone",
        tol: float = 1e-4,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        validation: str = "rows",
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        n_sources: int = 1,
        client: Any = None,
        random_state: Any = 0,
        **module_arguments: Any,
    ) -> None:
        self.module = module
        self.criterion = criterion
        self.lr = lr
        self.epochs = epochs
        self.batch = batch
        self.aggregator = aggregator
        self.codec = codec
        self.algorithm = algorithm
        self.trust = trust
        self.rounds = rounds
        self.per_round = per_round
        self.sampler = sampler
        self.waiting = waiting
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.validation = validation
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.n_sources = n_sources
        self.client = client
        self.random_state = random_state
        for key, value in module_arguments.items():
            setattr(self, key, value)

    @abstractmethod
    def _outputs(self) -> int:
        """Return how many outputs the module has."""

    @abstractmethod
    def _wrap(self, factory: Any) -> TorchModel:
        """Return the model around the module."""

    def _shape(self, told: Sequence[Told], total: float, first: bool) -> TorchModel:
        self._check_names()
        if first:
            scaling = Scaling.of(told, self._trusting)
            self._scaling = scaling.conditioned(0.0, 1.0)
        model = self._model()
        probe = model._logits(model.init(0), np.zeros((2, self.n_features_in_), np.float32))
        if probe.size != 2 * self._outputs():
            raise PlanError(
                f"the module must turn 2 rows of {self.n_features_in_} features into outputs of "
                f"shape (2, {self._outputs()}), it gave {probe.shape}"
            )
        return model

    def _model(self) -> TorchModel:
        given = {key.partition("__")[2]: value for key, value in self._module_arguments().items()}
        return self._wrap(factory_of(self.module, given, self.n_features_in_, self._outputs()))

    def _plan(self, model: Any, n: int, rounds: int) -> Plan:
        plan = super()._plan(model, n, rounds)
        if self.algorithm != "fedavg":
            return plan
        found = algorithms.make("fedavg", lr=self.lr, epochs=self.epochs, batch=self.batch)
        return replace(plan, algorithm=found)

    def _fitted(self, params: Vector) -> dict[str, Any]:
        return {"params_": params}

    def _warm(self, model: Any, before: Mapping[str, Any]) -> Start | None:
        same = np.array_equal(before.get("classes_", ()), getattr(self, "classes_", ()))
        fits = same and before["params_"].size == model.layout.size
        return Start(before["params_"]) if fits else None

    def _asked(self, X: Any) -> tuple[TorchModel, NDArray[Any]]:
        """Return the model, and X, checked and scaled."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        return self._model(), self._scaling.features(X)

    def _module_arguments(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key.startswith("module__")}

    def _check_names(self) -> None:
        """Raise PlanError for what `__init__` had to take: estimators only complain in `fit`."""
        known = self.get_params(deep=False)
        strange = [k for k in vars(self) if k not in known and not (k[0] == "_" or k[-1] == "_")]
        if strange:
            raise PlanError(
                f"{type(self).__name__} has no parameter {', '.join(strange)}; arguments of the "
                "module begin with module__"
            )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, with those of the module, ``module__hidden``."""
        return super().get_params(deep=deep) | self._module_arguments()

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also those of the module, ``module__hidden=(32,)``."""
        # Like __init__, it takes all that is meant for the module; fit says what is not.
        own = {key: value for key, value in params.items() if key.startswith("module_")}
        super().set_params(**{key: value for key, value in params.items() if key not in own})
        for key, value in own.items():
            setattr(self, key, value)
        return self
