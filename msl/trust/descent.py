"""Many smooth functions minimised at once, in step.

Whoever evaluates them is asked once a step for all: where that is a message to another place,
many searches wait no longer than one.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Numbers", "Objective", "Values", "Vectors", "descend"]

Numbers: TypeAlias = NDArray[np.intp]
Values: TypeAlias = NDArray[np.float64]
"""(k,)"""
Vectors: TypeAlias = NDArray[np.float64]
"""(k, size): a point or a gradient of each of k functions."""
Objective: TypeAlias = Callable[[Numbers, Vectors], tuple[Values, Vectors]]
"""From numbers (k,) of functions and a point of each to their values and gradients there."""
STEPS, MEMORY = 500, 10
FLAT, STILL, ENOUGH, SHORTEST = 1e-4, 2e-9, 1e-4, 1e-9
"""Ends: largest slope, relative gain; line search: share of the gain foreseen, shortest step."""


def descend(objective: Objective, w: Vectors) -> Vectors:
    """Minimise many functions at once by L-BFGS, from the rows of w; return the points found.

    Every step evaluates one trial point of each search that still goes on: a line search of one
    costs the others nothing. A search ends when flat, when it gains nothing, or after `STEPS`.
    """
    w, on = w.copy(), np.arange(len(w))
    value, slope = objective(on, w)
    curvature, step = Curvature(w), np.ones(len(w))
    way = -curvature.divide(on, slope)
    on = on[np.abs(slope).max(axis=1) > FLAT]
    for _ in range(STEPS):
        if not len(on):
            break
        move = step[on, None] * way[on]
        new, rise = objective(on, w[on] + move)
        gain = value[on] - new
        good = gain >= -ENOUGH * (move * slope[on]).sum(axis=1)
        step[on] = np.where(good, 1, step[on] / 2)
        went = on[good]
        curvature.learn(went, move[good], rise[good] - slope[went])
        w[went], value[went], slope[went] = w[went] + move[good], new[good], rise[good]
        way[went] = -curvature.divide(went, slope[went])
        idle = np.where(good, gain <= STILL * np.maximum(np.abs(new), 1), step[on] < SHORTEST)
        on = on[~idle & (np.abs(slope[on]).max(axis=1) > FLAT)]
    return w


class Curvature:
    """What the last moves of every search tell of the second derivatives of its function.

    Nocedal: Updating quasi-Newton matrices with limited storage. Math. Comp. 1980.
    """

    def __init__(self, like: Vectors) -> None:
        # Moves and changes of slope, latest last; weight 0 where there is none yet.
        self.moves, self.bends = np.zeros((2, MEMORY, *like.shape))
        self.weight = np.zeros((MEMORY, len(like)))

    def learn(self, on: Numbers, move: Vectors, bend: Vectors) -> None:
        """Note moves and the changes of slope along them, where these curve upwards."""
        product = (move * bend).sum(axis=1)
        up = product > 1e-10 * (bend**2).sum(axis=1)
        on = on[up]
        latest = (move[up], bend[up], 1 / product[up])
        for known, new in zip((self.moves, self.bends, self.weight), latest, strict=True):
            known[:-1, on] = known[1:, on]
            known[-1, on] = new

    def divide(self, on: Numbers, slope: Vectors) -> Vectors:
        """Return slopes divided by the curvature; the first time, of length 1 at most."""
        moves, bends, weight = self.moves[:, on], self.bends[:, on], self.weight[:, on]
        way, shares = slope.copy(), np.zeros_like(weight)
        for past in reversed(range(MEMORY)):
            shares[past] = weight[past] * (moves[past] * way).sum(axis=1)
            way -= shares[past, :, None] * bends[past]
        scale = weight[-1] * (bends[-1] ** 2).sum(axis=1)
        length = np.maximum(np.linalg.norm(slope, axis=1), 1)
        way /= np.where(scale > 0, scale, length)[:, None]
        for past in range(MEMORY):
            back = weight[past] * (bends[past] * way).sum(axis=1)
            way += (shares[past] - back)[:, None] * moves[past]
        return way
