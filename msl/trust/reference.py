"""How differently sources and a reference judge linear hypotheses, without moving rows.

The discrepancy of two sources is the largest difference of their 0/1 risks over a class of
hypotheses (Konstantinov and Lampert, ICML 2019, section 3). It is sought by flipping labels, as in
the experiments of that paper (see `ridge`). Such a fit needs moments only, so a source learns the
moments of the reference, and the reference learns the hypothesis; rows stay.

What is found is a lower bound of the discrepancy: it may miss a difference, and never invents one
beyond what chance puts between two samples. With as many features as rows every pair differs by
nearly 1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError
from msl.trust.discrepancy import apart
from msl.trust.ridge import (
    Hypotheses,
    Statistics,
    constants,
    fit,
    flipped,
    risks,
    statistics,
    together,
)
from msl.trust.targets import Targets
from msl.types import Data

__all__ = ["discrepancies_to_reference", "telling"]


def telling(source: Statistics, reference: Statistics) -> Hypotheses:
    """Return what both are to judge: label-flip fits in both directions, own fits, constants."""
    fitted = flipped([source, reference], np.array([[0, 1], [1, 0]]))
    return together([fitted, fit(source), fit(reference), constants(*source.cross.shape)])


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
    targets = Targets(tuple(range(n_classes)))
    ours, *others = (_checked(Data(*one), n_classes) for one in (reference, *sources))
    told, found = statistics(targets, ours), []
    for theirs in others:
        hypotheses = telling(statistics(targets, theirs), told)
        judged = [risks(targets, one, hypotheses) for one in (theirs, ours)]
        found.append(float(apart(*judged)[0]))
    return np.array(found)


def _checked(data: Data, n_classes: int) -> Data:
    y = data.y
    if y.dtype.kind not in "iub" or not len(y) or y.min() < 0 or y.max() >= n_classes:
        raise DataError(
            f"a discrepancy needs rows labelled by class numbers 0..{n_classes - 1}, got "
            f"{len(y)} rows of type {y.dtype}"
        )
    return data
