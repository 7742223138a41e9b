"""Any torch module as an estimator that learns from many sources."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import _check_partial_fit_first_call
from torch import nn

from msl.errors import DataError
from msl.estimators.torch_base import TorchMultiSource
from msl.estimators.torch_module import PerRow, TorchRegression, half_squared_error
from msl.models.torch import TorchModel

__all__ = ["MultiSourceTorchClassifier", "MultiSourceTorchRegressor"]


class MultiSourceTorchClassifier(ClassifierMixin, TorchMultiSource):  # type: ignore[misc]
    """A torch module that learns classes from many sources that keep their rows.

    Every round each source makes local steps of SGD, and what they changed is aggregated
    (federated averaging). Columns are scaled at the sources, from what they tell of them.

    Parameters
    ----------
    module : callable, optional
        A class of nn.Module, or a module-level function that returns one, which maps (m, p) to
        logits (m, C). It is told ``n_features`` and ``n_outputs`` if it has arguments of those
        names, and gets ``module__hidden=32`` as ``hidden=32``. One hidden layer of 64 when left
        out; ``module__hidden=(32, 16)`` gives it others. It runs in evaluation mode, also for
        gradients, and must not have buffers (use group or layer norm, not batch norm).
    criterion : callable, optional
        ``criterion(logits, y, reduction="none")``, a module-level function that returns a loss per
        row; cross entropy when left out.
    lr : float, default=0.1
        Local learning rate.
    epochs : int, default=2
        Passes over its rows that a source makes per round.
    batch : int, default=32
        Rows per local step.
    aggregator : str or Aggregator, default="mean"
        How the updates of a round become one; choose a robust one when sources may lie.
    codec : str or Codec, default="none"
        How updates are compressed.
    algorithm : str or Algorithm, default="fedavg"
        `lr`, `epochs` and `batch` are for ``"fedavg"``; others have settings of their own.
    trust : str or TrustRule, default="all"
        Whom to believe, before the first round.
    rounds : int, default=50
        Exchanges, at most.
    per_round : int, optional
        Sources drawn per round; all of them when left out.
    sampler : str or Sampler, default="uniform"
        How they are drawn; see ``msl list samplers``.
    waiting : str or Waiting, default="everyone"
        For whom a round waits: ``Deadline(30)`` leaves out who is slower; see ``msl list waiting``.
    tol : float, default=1e-4
        The least improvement of the score that early stopping waits for.
    early_stopping : bool, default=False
        Whether to set rows aside, stop when the score on them gets no better, and keep the best
        round's model.
    validation_fraction : float, default=0.1
        What part of the rows, or of the sources.
    validation : {"rows", "sources"}, default="rows"
        What is set aside.
    n_iter_no_change : int, default=5
        Rounds without improvement to wait for.
    warm_start : bool, default=False
        Whether `fit` begins at the last solution.
    n_sources : int, default=1
        Sources that rows are dealt to in turn when `fit` gets no labels.
    client : distributed.Client, optional
        Where to run; the current client when there is one, else this process. Never pickled.
    random_state : int, RandomState or None, default=0
        Root of every random draw, that of the module's first parameters too.
    **module_arguments
        ``module__...``, for the module.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    params_ : ndarray of shape (d,)
        The flat parameters, for scaled columns.
    n_features_in_, n_iter_, history_, trust_report_, ledger_, sources_, bytes_up_, bytes_down_
        As in `MultiSourceClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = MultiSourceTorchClassifier(module__hidden=(16,), rounds=30)
    >>> clf.fit(X, y, sources=np.arange(150) % 5).score(X, y) > 0.9
    True
    """

    _classifies: ClassVar[bool] = True

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        classes: Any = None,
        sources: Any = None,
        sample_weight: Any = None,
    ) -> Self:
        """Run one round more, on rows that may be new; `classes` at the first call."""
        first = not hasattr(self, "params_")
        if first or classes is not None:
            _check_partial_fit_first_call(self, classes)
        return self._fit_one_round(X, y, sources, sample_weight, first)

    def _outputs(self) -> int:
        if len(self.classes_) < 2:
            raise DataError(
                f"{type(self).__name__} needs samples of at least 2 classes, "
                f"got 1 class: {self.classes_[0]!r}"
            )
        return len(self.classes_)

    def _wrap(self, factory: Callable[..., nn.Module]) -> TorchModel:
        return TorchModel(factory, (), self.criterion or nn.functional.cross_entropy)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the label of the largest logit of each row, shape (m,)."""
        model, rows = self._asked(X)
        return np.asarray(self.classes_[model.predict(self.params_, rows)])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the softmax of the logits, (m, C)."""
        model, rows = self._asked(X)
        return model.predict_proba(self.params_, rows)


class MultiSourceTorchRegressor(RegressorMixin, TorchMultiSource):  # type: ignore[misc]
    """A torch module that learns real targets from many sources that keep their rows.

    The module has one output, (m, 1) or (m,), that of targets scaled to mean 0 and spread 1;
    `criterion` compares it with them, and is half the squared error when left out. All else is as
    in `MultiSourceTorchClassifier`.

    Parameters
    ----------
    module, criterion, lr, epochs, batch, aggregator, codec, algorithm, trust, rounds, tol
        As in `MultiSourceTorchClassifier`.
    early_stopping, validation_fraction, validation, n_iter_no_change, warm_start
        As there; the score is R2.
    per_round, sampler, waiting, n_sources, client, random_state, **module_arguments
        As there.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = MultiSourceTorchRegressor(module__hidden=(16,), lr=0.05, rounds=20)
    >>> reg.fit(X, y, sources=np.arange(442) % 5).score(X, y) > 0.4
    True
    """

    _classifies: ClassVar[bool] = False

    def partial_fit(
        self, X: Any, y: Any = None, sources: Any = None, sample_weight: Any = None
    ) -> Self:
        """Run one round more, on rows that may be new."""
        first = not hasattr(self, "params_")
        return self._fit_one_round(X, y, sources, sample_weight, first)

    def _outputs(self) -> int:
        return 1

    def _wrap(self, factory: Callable[..., nn.Module]) -> TorchModel:
        return TorchRegression(factory, (), PerRow(self.criterion or half_squared_error))

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return real values of shape (m,)."""
        model, rows = self._asked(X)
        found = model.predict(self.params_, rows) * self._scaling.target_scale
        return np.asarray(found + self._scaling.target_center, np.float64)
