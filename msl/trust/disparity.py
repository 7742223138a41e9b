"""How differently two sources judge accuracy and fairness of linear classifiers.

Iofinova, Konstantinov, Lampert: FLEA: provably robust fair multisource learning from unreliable
training data. TMLR 2022, section 3. Labels y and the protected attribute a are 0 or 1.

Discrepancy is the largest difference of 0/1 risks over classifiers, disparity that of their
demographic parity gaps |P(f = 1 | a = 0) - P(f = 1 | a = 1)|, disbalance that of the shares of
a = 1. The first two are sought by smooth surrogates, so they are found from below. A surrogate is
a sum of a part per source, so that a search can ask sources for values and gradients.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from msl.errors import DataError

__all__ = ["Census", "Rows", "census", "fit_against", "judge", "part", "rows_of"]

Vector: TypeAlias = NDArray[np.float64]
"""(p + 1,): slopes, then the intercept."""
Kind: TypeAlias = Literal["right", "wrong", "protected", "gap"]
Ask: TypeAlias = Callable[[Kind, Vector], tuple[float, Vector]]
ETA, STEPS, LIMIT, SOFT = 1.0, 500, 20.0, 1e-8


class Rows(NamedTuple):
    """Rows of a source: X (m, p), y (m,), a (m,), and shares (m,) that sum to 1."""

    X: NDArray[np.float64]
    y: NDArray[np.float64]
    a: NDArray[np.bool_]
    share: NDArray[np.float64]

    def group(self, protected: bool) -> NDArray[np.float64]:
        """Return the shares of the rows inside a protected group; 0 outside of it."""
        inside = self.share * (self.a == protected)
        total = inside.sum()
        return np.asarray(inside / total)


class Census(NamedTuple):
    """What a pair must know of a source: moments of features, share of a = 1, rows."""

    mean: NDArray[np.float64]
    square: NDArray[np.float64]
    protected: float
    rows: int


def rows_of(
    X: NDArray[Any], y: NDArray[Any], a: NDArray[Any], weight: NDArray[Any] | None = None
) -> Rows:
    """Return checked rows.

    Raises
    ------
    DataError
        When a label or the attribute is neither 0 nor 1, or lengths differ.
    """
    X, y, a = np.asarray(X, dtype=np.float64), np.asarray(y), np.asarray(a)
    if X.ndim != 2 or not len(X) or y.shape != (len(X),) or a.shape != y.shape:
        raise DataError(f"X (m, p), y (m,) and a (m,) needed, got {X.shape}, {y.shape}, {a.shape}")
    if not (np.isin(y, (0, 1)).all() and np.isin(a, (0, 1)).all()):
        raise DataError("flea needs labels and a protected attribute of 0 and 1 only")
    share = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    if not share.sum() > 0:
        raise DataError("the weights of the rows are all zero; leave that source out")
    return Rows(X, y.astype(np.float64), a == 1, share / share.sum())


def census(rows: Rows) -> Census:
    """Return what pairs must know."""
    present = rows.a[rows.share > 0]
    # A group that is missing must be told exactly, not up to the rounding of a sum.
    whole = present.all() or not present.any()
    protected = float(present[0]) if whole else float(rows.share @ rows.a)
    return Census(rows.share @ rows.X, rows.share @ rows.X**2, protected, len(rows.y))


def part(rows: Rows, kind: Kind, w: Vector) -> tuple[float, Vector]:
    """Return a source's part of an objective and its gradient.

    Logistic loss of the labels ("right"), of flipped labels ("wrong"), or of the protected
    attribute with both groups of equal weight ("protected"); or the difference of the groups'
    mean probabilities ("gap").
    """
    z = rows.X @ w[:-1] + w[-1]
    inside = np.abs(z) < LIMIT
    z = np.clip(z, -LIMIT, LIMIT)
    p = 1 / (1 + np.exp(-z))
    if kind == "gap":
        signed = rows.group(True) - rows.group(False)
        value, slope = float(signed @ p), signed * p * (1 - p)
    else:
        target = {"right": rows.y, "wrong": 1 - rows.y, "protected": rows.a}[kind]
        share = rows.share
        if kind == "protected":
            share = (rows.group(True) + rows.group(False)) / 2
        value, slope = float(share @ (np.logaddexp(0, z) - target * z)), share * (p - target)
    slope = slope * inside
    return value, np.append(slope @ rows.X, slope.sum())


def judge(rows: Rows, w: Vector) -> tuple[float, float]:
    """Return the 0/1 risk and the demographic parity gap of a classifier on a source."""
    said = rows.X @ w[:-1] + w[-1] > 0
    gap = rows.group(True) @ said - rows.group(False) @ said
    return float(rows.share @ (said != rows.y)), float(abs(gap))


def fit_against(ours: Ask, theirs: Ask, sets: tuple[Census, Census], disparity: bool) -> Vector:
    """Return the classifier that ought to tell two sources apart.

    For discrepancy: right on ours and wrong on theirs. For disparity: unfair on ours, by telling
    the protected attribute, and fair on theirs; not convex, so it starts from a shrunk fit of the
    attribute. Features are standardised over both sources.
    """
    mean = (sets[0].mean + sets[1].mean) / 2
    spread = np.sqrt(np.maximum((sets[0].square + sets[1].square) / 2 - mean**2, 0))
    # A constant feature says nothing; its spread is rounding.
    spread[spread <= 1e-6 * np.maximum(np.abs(mean), 1e-300)] = np.inf

    def raw(w: Vector) -> Vector:
        slopes = w[:-1] / spread
        return np.append(slopes, w[-1] - slopes @ mean)

    def scaled(ask: Ask, kind: Kind, w: Vector) -> tuple[float, Vector]:
        value, slope = ask(kind, raw(w))
        return value, np.append((slope[:-1] - slope[-1] * mean) / spread, slope[-1])

    def discrepancy(w: Vector) -> tuple[float, Vector]:
        (right, up), (wrong, down) = scaled(ours, "right", w), scaled(theirs, "wrong", w)
        return right + wrong, up + down

    def shrunk(w: Vector) -> tuple[float, Vector]:
        value, slope = scaled(ours, "protected", w)
        pull = np.append(w[:-1], 0.0) / sets[0].rows
        return value + float(pull @ w) / 2, slope + pull

    def unfair(w: Vector) -> tuple[float, Vector]:
        (value, slope), (gap, change) = scaled(ours, "protected", w), scaled(theirs, "gap", w)
        root = np.sqrt(gap**2 + SOFT)
        soft, bend = gap**2 / root, gap * (gap**2 + 2 * SOFT) / root**3
        return value + ETA * soft, slope + ETA * bend * change

    start: Vector = np.zeros(len(mean) + 1)
    for objective in (shrunk, unfair) if disparity else (discrepancy,):
        start = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"gtol": 1e-4, "maxiter": STEPS},
        ).x
    return raw(start)
