"""Labels as numbers in [-1, 1], coded alike at every source, and the losses of hypotheses.

One loss serves all kinds of labels: ((h - t) / 2)^2 for a prediction and a target in [-1, 1]. For
two classes, coded -1 and 1, it is the 0/1 loss. Of more than two classes a hypothesis is a row of
scores, judged by the 0/1 loss of its highest score.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.errors import DataError
from msl.types import Data, SourceInfo

__all__ = ["Scale", "Targets", "agree", "check_rows", "described", "scale_of"]

Array = NDArray[np.float64]

Scale = tuple[float, float]
"""Mean and standard deviation of a source's real targets."""


@dataclass(frozen=True)
class Targets:
    """How labels are coded.

    Parameters
    ----------
    classes : tuple of int
        Class numbers in order; empty for real targets.
    centre, scale : float
        Real targets y become (y - centre) / scale, clipped to [-1, 1].
    by_class : bool
        Whether sources are compared on each class by itself, so that their shares do not matter.
    """

    classes: tuple[int, ...] = ()
    centre: float = 0.0
    scale: float = 1.0
    by_class: bool = False

    @property
    def columns(self) -> int:
        """Numbers per label: one, or one per class when there are more than two."""
        return len(self.classes) if len(self.classes) > 2 else 1

    @property
    def complements(self) -> bool:
        """Whether a hypothesis and its opposite differ alike on two sources: of two classes."""
        return len(self.classes) == 2

    def code(self, y: NDArray[Any]) -> Array:
        """Return targets (m, columns) in [-1, 1]."""
        if not self.classes:
            real = (y[:, None].astype(np.float64) - self.centre) / self.scale
            return np.asarray(np.clip(real, -1, 1))
        shown = self.classes if len(self.classes) > 2 else self.classes[-1:]
        return np.where(y[:, None] == np.array(shown), 1.0, -1.0)

    def labels(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return what a learner is given: class numbers, or real targets in [-1, 1]."""
        return y if self.classes else self.code(y)[:, 0]

    def scores(self, predicted: NDArray[Any]) -> Array:
        """Return scores (m, 1, columns) of what a learner predicts for labels like `labels`."""
        if self.classes:
            return self.code(predicted)[:, None]
        return np.asarray(predicted, dtype=np.float64)[:, None, None]

    def losses(self, scores: Array, targets: Array) -> Array:
        """Return losses (m, P) of P hypotheses.

        Parameters
        ----------
        scores : ndarray of shape (m, P, columns)
            The sign decides, or the largest of more than one.
        targets : ndarray of shape (m, columns)
        """
        if self.columns == 1:
            said = np.where(scores[:, :, 0] > 0, 1.0, -1.0)
            return np.asarray(((said - targets) / 2) ** 2)
        right = targets.argmax(axis=1)[:, None]
        return np.asarray(scores.argmax(axis=2) != right, dtype=np.float64)


def described(sources: Sequence[Data]) -> list[SourceInfo]:
    """Return what `agree` asks of rows at hand."""
    return [
        SourceInfo(
            f"source {number}",
            len(data),
            data.X.shape[1],
            tuple(np.unique(data.y).tolist()) if data.y.dtype.kind in "iub" else (),
            "",
        )
        for number, data in enumerate(sources)
    ]


def scale_of(data: Data) -> Scale:
    """Return mean and standard deviation of real targets."""
    return float(data.y.mean(dtype=np.float64)), float(data.y.std(dtype=np.float64))


def check_rows(infos: Sequence[SourceInfo]) -> None:
    """Raise DataError for a source without rows, or with other features than the first."""
    if empty := [info.name for info in infos if not info.rows]:
        raise DataError(f"sources without rows cannot be compared; leave them out: {empty}")
    if odd := [info.name for info in infos if info.features != infos[0].features]:
        raise DataError(
            f"sources must have the {infos[0].features} features of {infos[0].name!r}, "
            f"these have others: {odd}"
        )


def agree(infos: Sequence[SourceInfo], scales: Callable[[], Sequence[Scale]]) -> Targets:
    """Return the coding of the labels of all sources.

    Real targets are centred at the median of the sources' means and scaled by twice the median of
    their standard deviations, which less than half of the sources cannot move far.

    Parameters
    ----------
    infos : sequence of SourceInfo
    scales : callable
        Asked for the scale of each source when they have real targets.

    Raises
    ------
    DataError
        When a source has no rows, other features than the first, or labels of another kind.
    """
    check_rows(infos)
    real = [info.name for info in infos if not info.classes]
    if not real:
        classes = {number for info in infos for number in info.classes}
        if len(classes) == 1:
            # A hypothesis may say another class than the only one there is.
            classes.add(1 if 0 in classes else 0)
        return Targets(tuple(sorted(classes)))
    if len(real) < len(infos):
        raise DataError(
            "sources must all have class numbers or all have real targets; these have real "
            f"targets, unlike others: {real}"
        )
    centre, spread = np.median(np.array(scales()), axis=0)
    return Targets((), float(centre), 2 * float(spread) or 1.0)
