"""Source weights that trade closeness to a reference against the number of rows.

Konstantinov and Lampert: Robust learning from untrusted sources. ICML 2019.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msl.errors import DataError, PlanError
from msl.random import derive, generator
from msl.trust.reference import discrepancies_to_reference

__all__ = [
    "LAMBDAS",
    "LambdaChoice",
    "choose_lambda",
    "cross_validated_lambda",
    "deal_folds",
    "fit_weighted",
    "source_weights",
]

Set: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
"""X of shape (m, p) and class numbers y of shape (m,)."""
Predict: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
Fit: TypeAlias = Callable[[NDArray[Any], NDArray[Any], NDArray[np.float64]], Predict]
"""From X, y and row weights of mean 1 to what predicts the classes of rows."""

LAMBDAS: tuple[float, ...] = (0.0, *(2.0**power for power in range(-10, 10)), 1e4)
"""The grid of the paper's experiments."""


def source_weights(discrepancies: ArrayLike, sizes: ArrayLike, lam: float) -> NDArray[np.float64]:
    """Return the weights that minimise the part of the risk bound they are in (Theorem 1).

    The minimiser over the simplex of sum_i a_i d_i + lam sqrt(sum_i a_i^2 / m_i) is
    a_i ~ m_i max(nu - d_i, 0), where sum_i m_i max(nu - d_i, 0)^2 = lam^2: that nu is the root of
    a quadratic once it is known how many sources it exceeds.

    Parameters
    ----------
    discrepancies : array of shape (N,)
        To the reference, finite.
    sizes : array of shape (N,)
        Rows m_i > 0.
    lam : float
        In [0, inf]. At 0 all mass is on the closest source; sources that are equally close share
        it by their sizes, which is also the limit from above. At inf weights are m_i / sum m.

    Returns
    -------
    ndarray of shape (N,)
        Sums to 1.

    Raises
    ------
    PlanError
        When lam is negative or NaN.
    DataError
        When there is no source, or a discrepancy or size is impossible.

    Examples
    --------
    >>> source_weights([0.0, 0.1, 0.9], [100, 100, 100], lam=2.0).round(3).tolist()
    [0.689, 0.311, 0.0]
    """
    d, m = np.asarray(discrepancies, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    if not lam >= 0:
        raise PlanError(f"lam must be in [0, inf], got {lam}")
    if d.ndim != 1 or not len(d) or d.shape != m.shape:
        raise DataError(f"one discrepancy and size per source needed, got {d.shape} and {m.shape}")
    if not (np.isfinite(d).all() and np.isfinite(m).all() and (m > 0).all()):
        raise DataError("discrepancies must be finite and sizes > 0; leave out empty sources")
    # Seen from the closest source, so that a small lam is not lost in rounding.
    d = d - d.min()
    excess = (d == 0).astype(np.float64)
    if lam == inf:
        excess = np.ones_like(d)
    elif lam > 0:
        order = np.argsort(d, kind="stable")
        sums = [np.cumsum(m[order] * d[order] ** power) for power in range(3)]
        # At nu = d_i: what the sources no farther than i then add up to.
        reached = sums[0] * d[order] ** 2 - 2 * sums[1] * d[order] + sums[2]
        last = np.flatnonzero(reached < lam**2)[-1]
        s0, s1, s2 = (total[last] for total in sums)
        excess = np.maximum((s1 + np.sqrt(s1**2 + s0 * (lam**2 - s2))) / s0 - d, 0)
    found: NDArray[np.float64] = m * excess / (m * excess).sum()
    return found


@dataclass(frozen=True)
class LambdaChoice:
    """What cross-validation chose, and the error of every candidate on the reference set."""

    lam: float
    lambdas: tuple[float, ...]
    errors: tuple[float, ...]


def deal_folds(y: NDArray[Any], folds: int, key: int) -> NDArray[np.intp]:
    """Return the fold of each row of the reference set, (m,); classes are dealt evenly.

    Raises
    ------
    PlanError
        Unless folds >= 2.
    DataError
        When there are fewer rows than folds, or only one class: all hypotheses that say that
        class are then equally right, and nothing can be chosen.
    """
    if folds < 2:
        raise PlanError(f"cross-validation needs at least 2 folds, got {folds}")
    if len(y) < folds:
        raise DataError(f"{folds} folds need as many reference rows, got {len(y)}")
    if len(np.unique(y)) < 2:
        raise DataError(
            f"all {len(y)} reference rows are of class {y[0]}, so they cannot choose lam: give a "
            "reference with rows of every class, or set lam"
        )
    order = generator(derive(key, "folds")).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    dealt = np.empty(len(y), dtype=np.intp)
    dealt[order] = np.arange(len(y)) % folds
    return dealt


def choose_lambda(
    lambdas: Sequence[float],
    folds: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    wrong: Callable[[int, NDArray[np.float64]], float],
    rows: float,
) -> LambdaChoice:
    """Return the lambda whose weights do best; the smallest, most cautious one among equals.

    Parameters
    ----------
    lambdas : sequence of float
        Candidates.
    folds : sequence of tuple of ndarray
        Discrepancies (N,) and sizes (N,) without the rows of each fold.
    wrong : callable
        From the number of a fold and weights (N,) to the errors made on the fold's rows.
    rows : float
        Rows of all folds.
    """
    errors = []
    for lam in lambdas:
        weights = [source_weights(*fold, lam) for fold in folds]
        errors.append(sum(wrong(k, a) for k, a in enumerate(weights)) / rows)
    best = min(range(len(errors)), key=lambda i: (errors[i], lambdas[i]))
    return LambdaChoice(lambdas[best], tuple(lambdas), tuple(errors))


def fit_weighted(sets: Sequence[Set], weights: ArrayLike, fit: Fit) -> Predict:
    """Fit to sources of given weights; rows of weight 0 are left out, and the mean weight is 1.

    The mean matters: a learner's own regularisation is measured against the sum of the weights.
    Rows of one class make a constant prediction, which many learners refuse.
    """
    kept = [(X, y, a / len(y)) for (X, y), a in zip(sets, np.asarray(weights), strict=True) if a]
    X, y = (np.concatenate([one[i] for one in kept]) for i in (0, 1))
    row = np.concatenate([np.full(len(y), each) for _, y, each in kept])
    if (y == y[0]).all():
        return lambda rows: np.full(len(rows), y[0])
    return fit(X, y, row / row.mean())


def cross_validated_lambda(
    reference: Set,
    sources: Sequence[Set],
    fit: Fit,
    *,
    lambdas: Sequence[float] = LAMBDAS,
    folds: int = 5,
    key: int = 0,
    n_classes: int = 2,
    discrepancies: Callable[
        [Set, Sequence[Set], int], NDArray[np.float64]
    ] = discrepancies_to_reference,
) -> LambdaChoice:
    """Choose lambda by K-fold cross-validation on the reference set alone.

    The reference is the first of the sources that are weighed, with discrepancy 0. Discrepancies
    are found again for every fold without its rows: else the weights have seen the rows that
    judge them.

    Parameters
    ----------
    reference : tuple of ndarray
        X and y of the rows that are believed.
    sources : sequence of tuple of ndarray
        X and y of all others.
    fit : callable
        From X, y and row weights to a prediction; called folds * len(lambdas) times.
    lambdas : sequence of float
        Candidates in [0, inf].
    folds : int
        K >= 2.
    key : int
        For the deal of the rows, 0 <= key < 2**64.
    n_classes : int
        Classes of the task, >= 2.
    discrepancies : callable
        From reference, sources and n_classes to (N,); by default those of linear hypotheses.

    Raises
    ------
    PlanError, DataError
        As `deal_folds`, when the reference set cannot be dealt.
    """
    X, y = reference
    dealt = deal_folds(y, folds, key)
    kept: list[list[Set]] = []
    judged = []
    for fold in range(folds):
        ours = (X[dealt != fold], y[dealt != fold])
        kept.append([ours, *sources])
        found = np.append(0.0, discrepancies(ours, sources, n_classes))
        judged.append((found, np.array([float(len(labels)) for _, labels in kept[-1]])))

    def wrong(fold: int, weights: NDArray[np.float64]) -> float:
        rows = dealt == fold
        return float((fit_weighted(kept[fold], weights, fit)(X[rows]) != y[rows]).sum())

    return choose_lambda(lambdas, judged, wrong, len(y))
