"""The coordinate-wise median (Yin et al., ICML 2018)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.columnwise import Columnwise
from msl.aggregators.kept import kept_share, weighted_share
from msl.types import Rows, Vector
from msl_kernels.order import median, weighted_median

__all__ = ["Median"]


@dataclass(frozen=True)
class Median(Columnwise):
    """Median of each coordinate; withstands any minority of corrupted rows.

    For even n it is the mean of the two middle values. With unequal weights it is the value at
    half of the weight. `given` is the share of coordinates in which a row held a middle value.

    References
    ----------
    Yin, Chen, Ramchandran, Bartlett: Byzantine-robust distributed learning: towards optimal
    statistical rates. ICML 2018.

    Examples
    --------
    >>> import numpy as np
    >>> Median()(np.array([[0.0, 1.0], [1.0, 0.0], [1e6, -1e6]]))
    array([1., 0.], dtype=float32)
    """

    name: ClassVar[str] = "median"
    weighted: ClassVar[bool] = True

    def tolerates(self, n: int) -> int:
        """Return the largest minority of n."""
        return (n - 1) // 2

    def reduce(self, rows: Rows, weights: NDArray[Any]) -> Vector:
        """Return the median of the rows."""
        equal = weights.min() == weights.max()
        middle: Vector = median(rows) if equal else weighted_median(rows, weights)
        return middle

    def shares(self, rows: Rows, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Return how often a row was in the middle."""
        n = len(rows)
        if weights.min() == weights.max():
            return kept_share(rows, (n - 1) // 2, n // 2)
        return weighted_share(rows, weights, 0.5)
