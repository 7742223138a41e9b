"""How differently sources and a reference judge linear hypotheses, without moving rows.

The discrepancy of two sources is the largest difference of their 0/1 risks over a class of
hypotheses (Konstantinov and Lampert, ICML 2019, section 3). It is sought by flipping labels: a
least-squares fit that is right on one source and wrong on the other one, both of equal weight, as
in the experiments of that paper. Such a fit needs moments only, so a source learns the moments of
the reference, and the reference learns the hypothesis; rows stay.

What is found is a lower bound of the discrepancy: it may miss a difference, and never invents one
beyond what chance puts between two samples. With as many features as rows every pair differs by
nearly 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError

__all__ = [
    "Coefficients",
    "Moments",
    "contrast",
    "discrepancies_to_reference",
    "discrepancy",
    "moments",
    "regress",
    "risk",
]

Coefficients: TypeAlias = NDArray[np.float64]
"""(p + 1, C): scores of the classes, the last row their intercepts; the largest score decides."""
RIDGE = 1e-6
"""Of the variance of each feature: only what keeps a singular system solvable."""


@dataclass(frozen=True)
class Moments:
    """All that least squares needs of a source; means over its rows, weighted by their weights.

    Parameters
    ----------
    mean : ndarray of shape (p,)
        Of the features.
    second : ndarray of shape (p, p)
        Of the products of features.
    classes : ndarray of shape (C,)
        Share of each class.
    cross : ndarray of shape (p, C)
        Of features times indicators of the classes.
    """

    mean: NDArray[np.float64]
    second: NDArray[np.float64]
    classes: NDArray[np.float64]
    cross: NDArray[np.float64]

    def flipped(self) -> "Moments":
        """Return the moments after each label gave way to all the others in equal parts."""
        others = len(self.classes) - 1
        cross = (self.mean[:, None] - self.cross) / others
        return Moments(self.mean, self.second, (1 - self.classes) / others, cross)

    @staticmethod
    def mixed(parts: Sequence["Moments"], shares: Sequence[float] | NDArray[Any]) -> "Moments":
        """Return the moments of a mixture of sources; shares sum to 1."""
        each = zip(*(vars(part).values() for part in parts), strict=True)
        return Moments(*(np.tensordot(shares, np.stack(values), 1) for values in each))


def moments(
    X: NDArray[Any], y: NDArray[Any], n_classes: int, weight: NDArray[Any] | None = None
) -> Moments:
    """Return the moments of rows X (m, p) with class numbers y (m,) below n_classes >= 2.

    Raises
    ------
    DataError
        When there is no row of positive weight, or a label is no class number.
    """
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
    if y.dtype.kind not in "iub" or not len(y) or y.min() < 0 or y.max() >= n_classes:
        raise DataError(
            f"a discrepancy needs rows labelled by class numbers 0..{n_classes - 1}, got "
            f"{len(y)} rows of type {y.dtype}"
        )
    share = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    if not share.sum() > 0:
        raise DataError("the weights of the rows are all zero; leave that source out")
    share = share / share.sum()
    weighed = X * share[:, None]
    one_hot = np.eye(n_classes)[y.astype(np.intp)]
    return Moments(weighed.sum(axis=0), X.T @ weighed, share @ one_hot, weighed.T @ one_hot)


def regress(pooled: Moments) -> Coefficients:
    """Return the least-squares fit of the classes' indicators; the intercept is not shrunk."""
    centred = pooled.second - np.outer(pooled.mean, pooled.mean)
    scale = np.sqrt(np.maximum(centred.diagonal(), 0))
    # A constant feature says nothing; its variance is rounding.
    scale[scale <= 1e-9 * np.sqrt(np.maximum(pooled.second.diagonal(), 1e-300))] = np.inf
    system = centred / scale / scale[:, None] + RIDGE * np.eye(len(scale))
    target = (pooled.cross - np.outer(pooled.mean, pooled.classes)) / scale[:, None]
    slopes = np.linalg.solve(system, target) / scale[:, None]
    return np.vstack([slopes, pooled.classes - pooled.mean @ slopes])


def contrast(right: Moments, wrong: Moments) -> Coefficients:
    """Return the hypothesis fitted to be right on one source and wrong on another."""
    return regress(Moments.mixed((right, wrong.flipped()), (0.5, 0.5)))


def risk(
    hypothesis: Coefficients, X: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None = None
) -> float:
    """Return the share of rows that a hypothesis gets wrong, in [0, 1]."""
    found = np.argmax(X @ hypothesis[:-1] + hypothesis[-1], axis=1)
    return float(np.average(found != y, weights=weight))


def directions(source: Moments, reference: Moments) -> tuple[Coefficients, ...]:
    """Return the hypotheses to be judged by both sides.

    Two classes need one: its complement is the fit in the other direction.
    """
    first = contrast(source, reference)
    return (first,) if len(source.classes) == 2 else (first, contrast(reference, source))


def discrepancy(
    at_source: Sequence[float],
    at_reference: Sequence[float],
    source: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> float:
    """Return the largest difference of risks, over fitted hypotheses and constant ones.

    Parameters
    ----------
    at_source, at_reference : sequence of float
        Risks of the same hypotheses on both.
    source, reference : ndarray of shape (C,)
        Shares of the classes: all that the risk of a constant hypothesis depends on.
    """
    fitted = np.abs(np.subtract(at_source, at_reference)).max()
    return float(max(fitted, np.abs(source - reference).max()))


def discrepancies_to_reference(
    reference: tuple[NDArray[Any], NDArray[Any]],
    sources: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    n_classes: int = 2,
) -> NDArray[np.float64]:
    """Return the empirical discrepancy of each source to the reference, (N,) in [0, 1].

    Parameters
    ----------
    reference : tuple of ndarray
        X of shape (m, p) and class numbers y of shape (m,); one class may be missing.
    sources : sequence of tuple of ndarray
        The same of each source.
    n_classes : int
        Classes of the task, >= 2.

    Raises
    ------
    DataError
        When a set has no rows or other labels than 0..n_classes-1.

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> y = np.array([0, 0, 1, 1])
    >>> discrepancies_to_reference((X, y), [(X, y), (X, 1 - y)]).tolist()
    [0.0, 1.0]
    """
    ours, found = moments(*reference, n_classes), []
    for source in sources:
        theirs = moments(*source, n_classes)
        tried = directions(theirs, ours)
        at_source = [risk(hypothesis, *source) for hypothesis in tried]
        at_reference = [risk(hypothesis, *reference) for hypothesis in tried]
        found.append(discrepancy(at_source, at_reference, theirs.classes, ours.classes))
    return np.array(found)
