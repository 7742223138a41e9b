"""The mean around the median (Xie, Koyejo, Gupta, 2018)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from msl.aggregators.counted import Counted
from msl.aggregators.kept import near_share
from msl.types import Aggregated, Memory, Rows
from msl_kernels.order import meamed

__all__ = ["Meamed"]


@dataclass(frozen=True)
class Meamed(Counted):
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

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the mean of the nearest values."""
        return Aggregated(meamed(rows, self.f), near_share(rows, len(rows) - self.f))
