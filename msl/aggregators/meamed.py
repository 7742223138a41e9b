"""The mean around the median (Xie, Koyejo, Gupta, 2018)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.columnwise import Columnwise
from msl.aggregators.counted import Counted
from msl.aggregators.kept import near_share
from msl.types import Rows, Vector
from msl_kernels.order import meamed

__all__ = ["Meamed"]


@dataclass(frozen=True)
class Meamed(Columnwise, Counted):
    """Mean of the n - f values nearest to the median, coordinate by coordinate.

    Ties go to the smaller value. `given` is the share of coordinates in which a row's value
    counted.

    Parameters
    ----------
    f : int
        Corrupted rows, 2 f < n.

    References
    ----------
    Xie, Koyejo, Gupta: Generalized Byzantine-tolerant SGD. 2018, Definition 4.

    Examples
    --------
    >>> import numpy as np
    >>> Meamed(f=1)(np.array([[0.0], [1.0], [2.0], [1e6]]))
    array([1.], dtype=float32)
    """

    name: ClassVar[str] = "meamed"
    weighted: ClassVar[bool] = False

    def reduce(self, rows: Rows, weights: NDArray[Any]) -> Vector:
        """Return the mean of the nearest values."""
        mean: Vector = meamed(rows, self.f)
        return mean

    def shares(self, rows: Rows, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Return how often a row's value was among the nearest."""
        return near_share(rows, len(rows) - self.f)
