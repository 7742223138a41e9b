"""How differently two sources judge accuracy and fairness of linear classifiers.

Iofinova, Konstantinov, Lampert: FLEA: provably robust fair multisource learning from unreliable
training data. TMLR 2022, section 3. Labels y and the protected attribute a are 0 or 1.

Discrepancy is the largest difference of 0/1 risks over classifiers, disparity that of their
demographic parity gaps |P(f = 1 | a = 0) - P(f = 1 | a = 1)|, disbalance that of the shares of
a = 1. The first two are sought by smooth surrogates, so they are found from below. A surrogate is
a sum of a part per source, so that a search asks sources for values and gradients; the searches
of all pairs go in step, so that it asks them once a step for all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError
from msl.trust.descent import Numbers, Values, Vectors, descend

__all__ = [
    "Ask",
    "Census",
    "Pairs",
    "Question",
    "Rows",
    "answer",
    "census",
    "judge",
    "part",
    "rows_of",
]

Kind: TypeAlias = Literal["right", "wrong", "protected", "gap", "judge"]
Question: TypeAlias = tuple[int, Kind, Vectors]
"""Number of a source, what is asked of it, of which classifiers."""
Ask: TypeAlias = Callable[[Sequence[Question]], list[tuple[Values, Any]]]
ETA, LIMIT, SOFT = 1.0, 20.0, 1e-8


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


def part(rows: Rows, kind: Kind, w: Vectors) -> tuple[Values, Vectors]:
    """Return a source's part of an objective and its gradient, for k classifiers.

    Logistic loss of the labels ("right"), of flipped labels ("wrong"), or of the protected
    attribute with both groups of equal weight ("protected"); or the difference of the groups'
    mean probabilities ("gap").
    """
    z = w[:, :-1] @ rows.X.T + w[:, -1:]
    inside = np.abs(z) < LIMIT
    odds = np.exp(np.clip(z, -LIMIT, LIMIT))
    p = odds / (1 + odds)
    if kind == "gap":
        signed = rows.group(True) - rows.group(False)
        value, slope = p @ signed, signed * p * (1 - p)
    else:
        target = {"right": rows.y, "wrong": 1 - rows.y, "protected": rows.a}[kind]
        share = rows.share
        if kind == "protected":
            share = (rows.group(True) + rows.group(False)) / 2
        value = (np.log1p(odds) - target * np.log(odds)) @ share
        slope = share * (p - target)
    slope = slope * inside
    return value, np.column_stack([slope @ rows.X, slope.sum(axis=1)])


def judge(rows: Rows, w: Vectors) -> tuple[Values, Values]:
    """Return the 0/1 risk and the demographic parity gap of k classifiers on a source."""
    said = w[:, :-1] @ rows.X.T + w[:, -1:] > 0
    gap = said @ (rows.group(True) - rows.group(False))
    return (said != rows.y) @ rows.share, np.abs(gap)


def answer(rows: Mapping[int, Rows], questions: Sequence[Question]) -> list[tuple[Values, Any]]:
    """Return what sources say of their rows, one answer a question."""
    return [
        judge(rows[source], w) if kind == "judge" else part(rows[source], kind, w)
        for source, kind, w in questions
    ]


class Pairs:
    """Pairs of sources, each with a search for a classifier that tells the two apart.

    The searches go in step: `ask` gets the questions of all pairs at once.

    Parameters
    ----------
    sides : ndarray of shape (2, k)
        Numbers of the sources: a classifier is right, or unfair, on the first.
    """

    def __init__(self, sides: Numbers, told: Sequence[Census], ask: Ask) -> None:
        self.sides, self.ask = sides, ask
        self.rows = np.array([one.rows for one in told])[sides[0], None]
        # Features are standardised over both sources of a pair.
        self.mean = np.array([one.mean for one in told])[sides].mean(axis=0)
        square = np.array([one.square for one in told])[sides].mean(axis=0)
        self.spread = np.sqrt(np.maximum(square - self.mean**2, 0))
        # A constant feature says nothing; its spread is rounding.
        constant = self.spread <= 1e-6 * np.maximum(np.abs(self.mean), 1e-300)
        self.spread[constant] = np.inf

    def discrepancies(self) -> Values:
        """Return (k,) differences of risk, by classifiers right on the first, wrong on the other.

        In one order of a pair only, as the class holds complements.
        """
        w = descend(self._opposed, self._zeros())
        (ours, _), (theirs, _) = self._judged(w)
        return np.asarray(np.abs(ours - theirs))

    def disparities(self) -> Values:
        """Return (k,) differences of gap, by classifiers unfair on the first, fair on the other.

        Unfair by telling the protected attribute. Not convex, so the search starts from a shrunk
        fit of the attribute.
        """
        w = descend(self._unfair, descend(self._shrunk, self._zeros()))
        (_, ours), (_, theirs) = self._judged(w)
        return np.asarray(np.abs(ours - theirs))

    def _zeros(self) -> Vectors:
        return np.zeros((len(self.mean), self.mean.shape[1] + 1))

    def _opposed(self, on: Numbers, w: Vectors) -> tuple[Values, Vectors]:
        (right, up), (wrong, down) = self._sloped(on, w, "right", "wrong")
        return right + wrong, up + down

    def _shrunk(self, on: Numbers, w: Vectors) -> tuple[Values, Vectors]:
        [(value, slope)] = self._sloped(on, w, "protected")
        pull = np.column_stack([w[:, :-1], np.zeros(len(w))]) / self.rows[on]
        return value + (pull * w).sum(axis=1) / 2, slope + pull

    def _unfair(self, on: Numbers, w: Vectors) -> tuple[Values, Vectors]:
        (value, slope), (gap, change) = self._sloped(on, w, "protected", "gap")
        root = np.sqrt(gap**2 + SOFT)
        bend = gap * (gap**2 + 2 * SOFT) / root**3
        return value + ETA * gap**2 / root, slope + ETA * bend[:, None] * change

    def _sloped(self, on: Numbers, w: Vectors, *kinds: Kind) -> list[tuple[Values, Vectors]]:
        """Return values and gradients of the first sources, and of the second."""
        mean, spread = self.mean[on], self.spread[on]
        return [
            (
                value,
                np.column_stack([(slope[:, :-1] - slope[:, -1:] * mean) / spread, slope[:, -1]]),
            )
            for value, slope in self._heard(on, w, *kinds)
        ]

    def _judged(self, w: Vectors) -> list[tuple[Any, Any]]:
        return self._heard(np.arange(len(w)), w, "judge", "judge")

    def _heard(self, on: Numbers, w: Vectors, *kinds: Kind) -> list[tuple[Any, Any]]:
        """Ask the first sources of the pairs for the first kind, the second for the second."""
        slopes = w[:, :-1] / self.spread[on]
        raw = np.column_stack([slopes, w[:, -1] - (slopes * self.mean[on]).sum(axis=1)])
        # Sources in order, so that each is asked once a side, of all its pairs.
        order = np.argsort(self.sides[: len(kinds), on], axis=1, kind="stable")
        questions: list[Question] = []
        for kind, source, of in zip(kinds, self.sides[:, on], order, strict=False):
            for one in np.split(of, np.flatnonzero(np.diff(source[of])) + 1):
                questions.append((int(source[one[0]]), kind, raw[one]))
        answers = iter(self.ask(questions))
        heard = []
        for source, of in zip(self.sides[:, on], order, strict=False):
            first, second = zip(*(next(answers) for _ in np.unique(source)), strict=True)
            back = np.argsort(of)
            heard.append((np.concatenate(first)[back], np.concatenate(second)[back]))
        return heard
