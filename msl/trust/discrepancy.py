"""How differently two sources judge the same hypotheses: sup over h of |R_i(h) - R_j(h)|.

R_i(h) is the mean loss of h on the rows of source i, in [0, 1] (Konstantinov, Frantar, Alistarh,
Lampert: On the sample complexity of adversarial multi-source PAC learning, ICML 2020).
`thresholds` finds the supremum over its class. All others look at hypotheses that were fitted to
differ: what they return is attained, so it is at most the supremum; it may miss a difference and
never invents one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError
from msl.random import generator
from msl.trust.ridge import (
    Statistics,
    constants,
    fit,
    flipped,
    risks,
    shares,
    statistics,
    together,
)
from msl.trust.targets import Targets, agree, described, scale_of
from msl.types import Data

__all__ = [
    "Discrepancy",
    "apart",
    "halves",
    "judge_pairs",
    "linear",
    "part",
    "targets_of",
    "thresholds",
    "widest",
]

Array = NDArray[np.float64]
TINY = np.finfo(np.float64).tiny
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Discrepancy:
    """What pairs of n sources differ by.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        In [0, 1], symmetric, zeros on the diagonal.
    error : ndarray of shape (n, n)
        Standard error of each difference of risks, at the hypothesis that was found. It does not
        know that this hypothesis was chosen on the same rows: fitted to p features, sources that
        are alike differ by about sqrt(p / m), which is more.
    null : ndarray of shape (B, n), optional
        Discrepancies between two random halves of each source, B times, found in the same way:
        what chance puts between two sets of half its rows, about sqrt(2) times as much as between
        sources.
    """

    matrix: Array
    error: Array
    null: Array | None = None


def thresholds(a: Data, b: Data) -> float:
    """Return the supremum over x >= c -> 1 and x >= c -> 0, for all c, in O(m log m).

    Raises
    ------
    DataError
        Unless both have rows, one feature, and labels 0 and 1.

    Examples
    --------
    >>> x = np.arange(4.0)[:, None]
    >>> thresholds(Data(x, np.array([0, 0, 1, 1])), Data(x, np.array([0, 0, 0, 1])))
    0.25
    """
    for data in (a, b):
        if not len(data) or data.X.shape[1] != 1 or not np.isin(data.y, (0, 1)).all():
            raise DataError(
                "thresholds need rows with one feature and labels 0 or 1, got X of shape "
                f"{data.X.shape} and labels {np.unique(data.y)[:5].tolist()}"
            )
    # A cut between two values moves the rows below it to "0"; the other sense negates all gaps.
    x = np.concatenate((a.X[:, 0], b.X[:, 0]))
    gain = np.concatenate((shares(a), -shares(b))) * np.where(np.append(a.y, b.y) == 1, 1, -1)
    order = np.argsort(x, kind="stable")
    x, moved = x[order], np.cumsum(gain[order])
    base = shares(a) @ (a.y == 0) - shares(b) @ (b.y == 0)
    gaps = base + np.append(0.0, moved[np.append(x[1:] > x[:-1], True)])
    return min(1.0, float(np.abs(gaps).max()))


def linear(sources: Sequence[Data], targets: Targets | None = None) -> Discrepancy:
    """Return discrepancies over linear hypotheses with an offset, from below.

    For each pair the label-flip ridge fit (see `ridge`), in both directions unless they are
    complements, and all constant hypotheses are judged; the largest difference counts. Two
    classes: the 0/1 loss of the sign. More: the 0/1 loss of the highest score. Real targets:
    ((h - t) / 2)^2 of targets t scaled into [-1, 1] and hypotheses that say -1 or 1, which are
    limits of clipped linear ones.

    Parameters
    ----------
    sources : sequence of Data
        All with class numbers or all with real targets; the same features. Rows count by their
        weights.
    targets : Targets, optional
        How labels are coded; from these sources when left out.

    Raises
    ------
    DataError
        For empty sources, and features or labels of different kinds.

    Examples
    --------
    >>> x = np.arange(4.0)[:, None]
    >>> y = np.array([0, 0, 1, 1])
    >>> linear([Data(x, y), Data(x, 1 - y), Data(x, y)]).matrix.tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    coding = targets or targets_of(sources)
    moments = [statistics(coding, data) for data in sources]
    return widest(judge_pairs(coding, dict(enumerate(sources)), moments))


def targets_of(sources: Sequence[Data]) -> Targets:
    """Return the coding of labels for rows at hand; raises as `agree` does."""
    return agree(described(sources), lambda: [scale_of(data) for data in sources])


def judge_pairs(
    targets: Targets, data: Mapping[int, Data], moments: Sequence[Statistics]
) -> dict[int, Array]:
    """Return how some of n sources judge the label-flip fits of each and every other one.

    Per source an array (n, S, 3, A): for each other one what it says (see `judged`) of A
    hypotheses, constants among them.

    Parameters
    ----------
    targets : Targets
    data : mapping from int to Data
        Rows of those sources, by their number.
    moments : sequence of Statistics
        Of all n sources.
    """
    n = len(moments)
    pairs = np.array([p for p in combinations(range(n), 2) if p[0] in data or p[1] in data])
    pairs = pairs.reshape(-1, 2).astype(np.intp)
    # Both sources of a pair must judge the very same hypothesis: (i, j) with i < j.
    turned = [pairs] if targets.complements else [pairs, pairs[:, ::-1]]
    hypotheses = [flipped(moments, some) for some in turned if len(pairs)]
    # Few rows far away can bend the fit to a pair, but not the other source's own.
    alone = together([fit(one) for one in moments])
    found = {}
    for number, rows in data.items():
        always = risks(targets, rows, constants(rows.X.shape[1], targets.columns))
        fitted = np.zeros((n, *always.shape[:2], len(hypotheses)))
        mine = np.flatnonzero((pairs == number).any(axis=1))
        others = pairs[mine].sum(axis=1) - number
        for turn, some in enumerate(hypotheses):
            fitted[others, ..., turn] = np.moveaxis(risks(targets, rows, some[mine]), 2, 0)
        both = np.sort(np.stack((np.arange(n), np.full(n, number)), axis=1), axis=1)
        own = np.moveaxis(risks(targets, rows, alone)[..., both], 2, 0)
        constant = np.broadcast_to(always, (n, *always.shape))
        found[number] = np.concatenate((fitted, own, constant), axis=3)
    return found


def apart(ours: Array, theirs: Array) -> tuple[Array, Array]:
    """Return the largest differences of mean losses, and their standard errors.

    Strata count as in Mantel and Haenszel's difference of risks: by m_i m_j / (m_i + m_j), which
    is about the inverse of the variance, and is 0 for what only one source has. Sources without
    a stratum in common differ by 1: nothing speaks for them.

    Parameters
    ----------
    ours, theirs : ndarray of shape (..., S, 3, A)
        See `judged`.

    References
    ----------
    Greenland and Robins: Estimation of a common effect parameter from sparse follow-up data.
    Biometrics 41, 1985.
    """
    sizes = ours[..., 2, :], theirs[..., 2, :]
    weight = sizes[0] * sizes[1] / np.maximum(sizes[0] + sizes[1], TINY)
    total = weight.sum(axis=-2, keepdims=True)
    weight = weight / np.maximum(total, TINY)
    gap = np.abs((weight * (ours[..., 0, :] - theirs[..., 0, :])).sum(axis=-2))
    gap = np.where(total[..., 0, :] > 0, gap, 1)
    square = (weight**2 * (ours[..., 1, :] + theirs[..., 1, :])).sum(axis=-2)
    best = gap.argmax(axis=-1)[..., None]
    error = np.sqrt(np.take_along_axis(square, best, axis=-1)[..., 0])
    widest = np.take_along_axis(gap, best, axis=-1)[..., 0]
    # Means of numbers in [0, 1] may miss 0 and 1 by their rounding.
    return np.where(widest < ROUNDING, 0, np.minimum(widest, 1)), error


def widest(judged: Mapping[int, Array]) -> Discrepancy:
    """Return the discrepancies of n sources that judged, by number, as `judge_pairs` returns."""
    n = len(judged)
    matrix, error = np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        theirs = np.stack([judged[j][i] for j in range(n)])
        matrix[i], error[i] = apart(judged[i], theirs)
    np.fill_diagonal(matrix, 0)
    np.fill_diagonal(error, 0)
    return Discrepancy(matrix, error)


def halves(rows: int, key: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the row numbers of two random halves of a source with at least two rows."""
    order = generator(key).permutation(rows)
    return order[: rows // 2], order[rows // 2 :]


def part(data: Data, rows: NDArray[np.intp]) -> Data:
    """Return some rows of a source."""
    weight = None if data.weight is None else data.weight[rows]
    return Data(data.X[rows], data.y[rows], weight)
