"""What listens to the rounds of `fit`: early stopping, and scikit-learn's callbacks."""

from collections.abc import Callable
from typing import Any

from msl.types import Vector

__all__ = ["Patience", "RoundTasks"]


class Patience:
    """Waits for a better score, and keeps the parameters of the best.

    Parameters
    ----------
    tol : float
        What counts as better.
    rounds : int
        Rounds without it before it is enough.
    """

    def __init__(self, tol: float, rounds: int) -> None:
        self.tol, self.rounds = tol, rounds
        self.target, self.best, self.waited = -float("inf"), -float("inf"), 0
        self.params: Vector | None = None

    def ended(self, score: float, params: Callable[[], Vector]) -> bool:
        """Return whether the round with this score was the last worth waiting for."""
        if score > self.best:
            self.best, self.params = score, params().copy()
        self.waited = 0 if score >= self.target else self.waited + 1
        self.target = max(self.target, score + self.tol)
        return self.waited >= self.rounds


class RoundTasks:
    """Tells the callbacks of an estimator when `fit` and each of its rounds begin and end.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The one that is fitted.
    rounds : int
        The most there can be.
    given : dict
        X, y and metadata, for callbacks that score; empty when the rows are elsewhere.
    """

    def __init__(self, estimator: Any, rounds: int, given: dict[str, Any]) -> None:
        self.estimator, self.rounds, self.given = estimator, rounds, given
        self.whole = estimator._init_callback_context(max_subtasks=rounds)
        self.whole.call_on_fit_task_begin(estimator=estimator, **given)
        self.task = self._next()

    def _next(self) -> Any:
        task = self.whole.subcontext(task_name="round")
        return task.call_on_fit_task_begin(estimator=self.estimator, **self.given)

    def ended(self, last: bool, fitted: Callable[[], dict[str, Any]]) -> bool:
        """Tell of the end of a round; return whether a callback asks for the end of all.

        Parameters
        ----------
        last : bool
            Whether no round comes after it.
        fitted : callable
            Returns the attributes of an estimator that were fitted up to this round.
        """
        attributes = fitted if self.given else None
        stop = self.task.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=attributes, **self.given
        )
        if not (last or stop):
            self.task = self._next()
        return bool(stop)

    def close(self) -> None:
        """Tell of the end of `fit`."""
        attributes: dict[str, Any] | None = {} if self.given else None
        self.whole.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=attributes, **self.given
        )
