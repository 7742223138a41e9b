"""Hypotheses of any learner, fitted to one source or to differ on two; where rows are at hand."""

import inspect
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError
from msl.trust.discrepancy import apart, halves, part
from msl.trust.ridge import Hypotheses, constants, fit, judged, shares, statistics
from msl.trust.targets import Targets
from msl.types import Data

__all__ = [
    "Learner",
    "Predict",
    "differ",
    "exchanged_halves",
    "fitted",
    "judge",
    "least_squares",
    "own",
]

Array = NDArray[np.float64]

Predict: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
Learner: TypeAlias = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], Predict]
"""``learner(X, y, weight) -> predict``, and ``predict(X)`` speaks the language of y.

X (m, p) float32; y (m,) class numbers of at least two classes, or real targets scaled into
[-1, 1]; weight (m,) of mean 1. Learner and ``predict`` must pickle to run on a cluster.
"""


@dataclass(frozen=True)
class _Fitted:
    """A learner of copies of an object with ``fit`` and ``predict``."""

    estimator: Any

    def __call__(self, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any]) -> Predict:
        """Fit a copy."""
        copy = deepcopy(self.estimator)
        if "sample_weight" in inspect.signature(copy.fit).parameters:
            copy.fit(X, y, sample_weight=weight)
        else:
            copy.fit(X, y)
        predict: Predict = copy.predict
        return predict


def fitted(estimator: Any) -> Learner:
    """Return a learner that fits copies of an estimator.

    An estimator whose ``fit`` has no ``sample_weight`` hears the larger source of a pair more:
    what it finds is still attained, but may be less.

    Parameters
    ----------
    estimator : object
        With ``fit(X, y)`` and ``predict(X)``, like those of scikit-learn or skorch.
    """
    return _Fitted(estimator)


def least_squares(X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any]) -> Predict:
    """Fit the ridge of `linear`, all rows with their own labels: a `Learner`."""
    targets = Targets(tuple(np.unique(y).tolist())) if y.dtype.kind in "iub" else Targets()
    return partial(_predict, targets, fit(statistics(targets, Data(X, y, weight))))


def _predict(targets: Targets, hypothesis: Hypotheses, X: NDArray[Any]) -> NDArray[Any]:
    scores = hypothesis.scores(X.astype(np.float64))[:, 0]
    if not targets.classes:
        return np.asarray(scores[:, 0])
    chosen = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(np.intp)
    return np.asarray(np.array(targets.classes)[chosen])


def own(learner: Learner, targets: Targets, data: Data) -> list[Predict]:
    """Return a source's own hypothesis; none when all its labels are equal.

    A constant hypothesis is then the best, and those are judged anyway.
    """
    return _fit(learner, data.X, targets.labels(data.y), shares(data))


def _against(learner: Learner, targets: Targets, right: Data, wrong: Data) -> list[Predict]:
    """Return the hypothesis that is right on one source and wrong on another, each weighing 1/2.

    Of K classes, a row to be wrong on stands there K - 1 times, once with each other class.
    """
    labels = targets.labels(wrong.y)
    if targets.classes:
        classes = np.array(targets.classes)
        others = labels[:, None] != classes
        copies, flipped = len(classes) - 1, np.broadcast_to(classes, others.shape)[others]
    else:
        copies, flipped = 1, -labels
    return _fit(
        learner,
        np.concatenate((right.X, np.repeat(wrong.X, copies, axis=0))),
        np.concatenate((targets.labels(right.y), flipped)),
        np.concatenate((shares(right), np.repeat(shares(wrong) / copies, copies))),
    )


def _fit(learner: Learner, X: NDArray[Any], y: NDArray[Any], share: Array) -> list[Predict]:
    if len(np.unique(y)) < 2:
        return []
    return [learner(X, y, share * (len(share) / share.sum()))]


def judge(targets: Targets, data: Data, predicts: Sequence[Predict]) -> Array:
    """Return what a source says of hypotheses, (S, 3, A): see `judged`.

    Constant hypotheses come first.

    Raises
    ------
    DataError
        When a hypothesis does not predict one number per row.
    """
    return judged(targets, data, _losses(targets, data, predicts))


def _losses(targets: Targets, data: Data, predicts: Sequence[Predict]) -> Array:
    """Return the losses (m, A) of constant hypotheses, then of these."""
    t, always = targets.code(data.y), constants(data.X.shape[1], targets.columns)
    found = [targets.losses(always.scores(data.X), t)]
    for predict in predicts:
        predicted = np.asarray(predict(data.X))
        if predicted.size != len(data):
            raise DataError(
                f"a learner must predict one label per row: {len(data)} rows gave an array of "
                f"shape {predicted.shape}"
            )
        found.append(targets.losses(targets.scores(predicted.reshape(-1)), t))
    return np.concatenate(found, axis=1)


def exchanged_halves(
    learner: Learner,
    targets: Targets,
    data: Data,
    others: Sequence[Predict],
    keys: Sequence[int],
) -> list[float]:
    """Return how halves of a source differ on their own hypotheses and those of other sources."""
    known, found = _losses(targets, data, others), []
    for key in keys:
        rows = halves(len(data), key)
        both = [part(data, some) for some in rows]
        predicts = [predict for half in both for predict in own(learner, targets, half)]
        losses = np.concatenate((known, _losses(targets, data, predicts)), axis=1)
        said = [judged(targets, h, losses[some]) for h, some in zip(both, rows, strict=True)]
        found.append(float(apart(*said)[0]))
    return found


def differ(learner: Learner, targets: Targets, a: Data, b: Data) -> tuple[float, float]:
    """Return how two sources differ on hypotheses fitted to that end, and its standard error.

    Two classes need a fit in one direction: its complement is the fit in the other one.
    """
    predicts = _against(learner, targets, a, b)
    if not targets.complements:
        predicts += _against(learner, targets, b, a)
    gap, error = apart(judge(targets, a, predicts), judge(targets, b, predicts))
    return float(gap), float(error)
