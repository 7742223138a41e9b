"""The majority of signs (Bernstein et al., ICLR 2019)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.errors import PlanError
from msl.types import Aggregated, Memory, Rows
from msl_kernels.signs import pack
from msl_kernels.votes import majority

__all__ = ["SignMajority"]


@dataclass(frozen=True)
class SignMajority(Aggregator):
    """In each coordinate the sign most of the weight votes for, times a common size.

    Zeros do not vote, and a tie is 0: a coordinate that nobody wants to move stays. `given` is
    the share of coordinates in which a row voted with the result.

    Parameters
    ----------
    scale : float, optional
        Size of every coordinate, > 0; the median over the rows of their mean magnitude when left
        out, so that a step is as long as an honest one.

    References
    ----------
    Bernstein, Zhao, Azizzadenesheli, Anandkumar: signSGD with majority vote is communication
    efficient and fault tolerant. ICLR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> SignMajority(scale=1.0)(np.array([[3.0, -1.0], [1.0, -2.0], [-9.0, 5.0]]))
    array([ 1., -1.], dtype=float32)
    """

    scale: float | None = None
    name: ClassVar[str] = "sign_majority"
    weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.scale is not None and not self.scale > 0:
            raise PlanError(f"sign_majority needs scale > 0 or none, got {self.scale!r}")

    def tolerates(self, n: int) -> int:
        """Return the largest minority of n."""
        return (n - 1) // 2

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the signs of the vote."""
        vector, agreed = majority(rows, weights)
        scale = self.scale
        if scale is None:
            sizes = [pack(row)[1] for row in rows]
            scale = float(np.median(sizes))
        vector *= np.float32(scale)
        given = agreed * weights
        total = given.sum()
        return Aggregated(vector, given / total if total else weights / weights.sum())
