"""The coordinate-wise trimmed mean (Yin et al., ICML 2018)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.columnwise import Columnwise
from msl.aggregators.counted import Counted
from msl.aggregators.kept import kept_share, weighted_share
from msl.types import Rows, Vector
from msl_kernels.order import trimmed_mean, weighted_trimmed_mean

__all__ = ["TrimmedMean"]


@dataclass(frozen=True)
class TrimmedMean(Columnwise, Counted):
    """Mean of each coordinate without its f smallest and f largest values.

    With unequal weights the share f / n of the weight is cut from each end, the value at the cut
    counting in part. `given` is the share of coordinates in which a row's value was kept.

    Parameters
    ----------
    f : int
        Corrupted rows to withstand, 2 f < n.

    References
    ----------
    Yin, Chen, Ramchandran, Bartlett: Byzantine-robust distributed learning: towards optimal
    statistical rates. ICML 2018.

    Examples
    --------
    >>> import numpy as np
    >>> TrimmedMean(f=1)(np.array([[0.0], [1.0], [2.0], [1e6]]))
    array([1.5], dtype=float32)
    """

    name: ClassVar[str] = "trimmed_mean"
    weighted: ClassVar[bool] = True

    def reduce(self, rows: Rows, weights: NDArray[Any]) -> Vector:
        """Return the mean of what is left in each coordinate."""
        equal = weights.min() == weights.max()
        mean: Vector = (
            trimmed_mean(rows, self.f)
            if equal
            else weighted_trimmed_mean(rows, weights, self.f / len(rows))
        )
        return mean

    def shares(self, rows: Rows, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Return how much of a row was left."""
        n = len(rows)
        if weights.min() == weights.max():
            return kept_share(rows, self.f, n - 1 - self.f)
        return weighted_share(rows, weights, self.f / n)
