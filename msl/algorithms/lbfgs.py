"""Quasi-Newton steps from one gradient per source and round: the pooled optimum in few rounds."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.algorithms.base import Algorithm, LocalSolver, ServerRule
from msl.algorithms.fedavg import check_counts
from msl.algorithms.fedsgd import OneGradient
from msl.algorithms.pace import Pace, length
from msl.errors import PlanError
from msl.models.base import Model
from msl.types import Vector

__all__ = ["Lbfgs"]

Pair: TypeAlias = tuple[Vector, Vector]

CURVED = 1e-3
"""Least cosine between a step and the change of the gradient that is believed to be curvature."""
STEEP = 0.9
"""A slope that is still this fraction of the one before the step says that it was too short; of
the other sign, too long (the strong Wolfe condition)."""
GROWTH = 4.0
"""A step is at most this many times as long as the last one."""
TRIES = 5
"""Shortened steps from one place, until the gradient there is no longer believed."""


@dataclass(frozen=True)
class Place:
    """Where the server stands, and what it has learned of the surface on the way there.

    Parameters
    ----------
    params, gradient : ndarray of shape (d,)
        The place, and the aggregated gradient there.
    norm, largest : float
        Length of that gradient, and of the longest one so far.
    move : ndarray of shape (d,)
        The step from there that is being tried.
    pace : Pace
        What fraction of full steps to take.
    pairs : tuple of (step, change of the gradient)
        The last ones that show positive curvature, oldest first.
    stretch : float
        Factor on the full step, > 1 after steps that were too short.
    tries : int
        Steps from here that were too long.
    """

    params: Vector
    gradient: Vector
    norm: float
    largest: float
    move: Vector
    pace: Pace
    pairs: tuple[Pair, ...] = ()
    stretch: float = 1.0
    tries: int = 0


@dataclass(frozen=True)
class QuasiNewton(ServerRule):
    """Steps -H g where H comes from the last steps and changes of the gradient."""

    settings: "Lbfgs"

    def step(self, params: Vector, direction: Vector, state: Any) -> tuple[Vector, Any]:
        """Return the next parameters to try, and the place they are tried from."""
        if self.converged(state):
            # For good, so that rounds queued beyond this one change nothing.
            return state.params.copy(), state
        gradient = -direction
        if state is None:
            norm = length(gradient)
            move = direction * np.float32(self.settings.lr / max(1.0, norm))
            place = Place(params, gradient, norm, norm, move, Pace(params, norm))
        elif (part := _too_long(state, gradient)) is not None:
            move = state.move * np.float32(part)
            place = replace(state, move=move, tries=state.tries + 1)
        else:
            place = self._arrive(state, params, gradient)
        # A place with a gradient is worth more than one more step into the unknown.
        moved: Vector = place.params + (0 if self.converged(place) else place.move)
        return moved, place

    def converged(self, state: Any) -> bool:
        """Whether the gradient has shrunk to `tolerance`, or steps only follow noise."""
        return state is not None and (
            state.norm <= self.settings.tolerance * state.largest or state.pace.over
        )

    def _arrive(self, before: Place, params: Vector, gradient: Vector) -> Place:
        """Return the new place, wiser by the curvature on the way, and the next step to try."""
        step, change = params - before.params, gradient - before.gradient
        norm, curvature = length(gradient), _dot(step, change)
        pairs, slope = before.pairs, -_dot(step, before.gradient)
        if curvature > CURVED * length(step) * length(change):
            pairs = (*pairs, (step, change))[-self.settings.memory :]
        short = curvature < (1 - STEEP) * before.pace.rate * slope
        stretch = GROWTH * before.stretch if short else 1.0
        pace = before.pace.after(params, step, norm)
        move = _newton(pairs, gradient, self.settings.lr / max(1.0, norm))
        move *= -pace.rate * stretch
        longest = GROWTH * length(before.move)
        if (far := length(move)) > longest:
            move *= longest / far
        largest = max(norm, before.largest)
        return Place(params, gradient, norm, largest, move.astype(np.float32), pace, pairs, stretch)


def _too_long(state: Place, gradient: Vector) -> float | None:
    """Return which part of the tried step to try instead: up to slope 0, by the secant.

    None when it was not too long, or shorter ones have been tried in vain.
    """
    before, after = max(0.0, -_dot(state.move, state.gradient)), _dot(state.move, gradient)
    if after <= STEEP * before or state.tries == TRIES:
        return None
    return float(np.clip(before / (before + after), 0.1, 0.5))


def _newton(pairs: tuple[Pair, ...], gradient: Vector, scale: float) -> NDArray[np.float64]:
    """Return H g by the two-loop recursion; scale * g when there are no pairs."""
    found = gradient.astype(np.float64)
    if not pairs:
        return found * scale
    parts = []
    for step, change in reversed(pairs):
        part = _dot(step, found) / _dot(step, change)
        found -= part * change
        parts.append(part)
    step, change = pairs[-1]
    found *= _dot(step, change) / _dot(change, change)
    for (step, change), part in zip(pairs, reversed(parts), strict=True):
        found += (part - _dot(change, found) / _dot(step, change)) * step
    return found


def _dot(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(a.astype(np.float64) @ b)


@dataclass(frozen=True)
class Lbfgs(Algorithm):
    """One full gradient per source and round; the server takes quasi-Newton steps.

    Nothing but gradients travels, as with `fedsgd`, but the rounds grow with the logarithm of the
    precision and little with the condition of the data. There is no search by losses, which
    robust rules could not vouch for: the next gradient judges a step, which is tried again,
    shorter, when the slope along it has turned. What is aggregated need not be the gradient of
    anything, so curvature is believed only where a step and the change of the gradient agree, no
    step is more than 4 times as long as the one before, and steps that only follow noise (of a
    codec, of sources drawn by turns, at a kink of the loss) become ever smaller until the model
    stands still.

    It soon stands where the aggregator wants it. With liars among the sources that can be a worse
    place than the way there: then evaluate, and stop early, or give the model more l2.

    Parameters
    ----------
    lr : float
        The first step is the gradient times lr, but no longer than lr; > 0. Later steps find
        their own length.
    memory : int
        Steps remembered, >= 1; the server holds twice as many vectors of d numbers.
    tolerance : float
        Done when the aggregated gradient is this fraction of the longest so far, >= 0. Float32
        gradients reach about 1e-7.

    References
    ----------
    Nocedal and Wright: Numerical Optimization, 2nd edition, 2006, Algorithm 7.4 (the direction),
    equation 7.20 (its scale) and 3.7 (the judgement of a step).
    Li and Fukushima: On the global convergence of the BFGS method for nonconvex unconstrained
    optimization problems. SIAM Journal on Optimization 11, 2001 (which curvature to believe).
    """

    lr: float = 1.0
    memory: int = 10
    tolerance: float = 1e-5
    name: ClassVar[str] = "lbfgs"
    in_step: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.lr > 0 and self.tolerance >= 0):
            raise PlanError(
                f"lbfgs needs lr > 0 and tolerance >= 0, got {self.lr} and {self.tolerance}"
            )
        check_counts(memory=self.memory)

    def solver(self, model: Model) -> LocalSolver:
        """Return one gradient on all rows."""
        return OneGradient(model, None)

    def server(self) -> ServerRule:
        """Return the quasi-Newton step."""
        return QuasiNewton(self)
