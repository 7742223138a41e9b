"""The coordinate-wise trimmed mean (Yin et al., ICML 2018)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from msl.aggregators.base import Aggregator
from msl.aggregators.kept import kept_share
from msl.errors import PlanError
from msl.types import Aggregated, Memory, Rows
from msl_kernels.order import trimmed_mean

__all__ = ["TrimmedMean"]


@dataclass(frozen=True)
class TrimmedMean(Aggregator):
    """Mean of each coordinate without its f smallest and f largest values.

    Weights are not read. `given` is the share of coordinates in which a row's value was kept,
    see `msl.aggregators.kept.kept_share`.

    Parameters
    ----------
    f : int
        Corrupted rows to withstand, 0 <= f < n / 2.

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

    f: int
    name: ClassVar[str] = "trimmed_mean"
    weighted: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.f, int) or self.f < 0:
            raise PlanError(f"trimmed_mean needs a whole number f >= 0, got {self.f!r}")

    def tolerates(self, n: int) -> int:
        """Return f, whatever n."""
        return self.f

    def check(self, n: int) -> None:
        """Raise PlanError unless 2 f < n."""
        super().check(n)
        if 2 * self.f >= n:
            raise PlanError(
                f"trimmed_mean with f={self.f} needs more than {2 * self.f} rows, got {n}; "
                f"the largest f for {n} rows is {(n - 1) // 2}"
            )

    def aggregate(self, rows: Rows, weights: NDArray[Any], memory: Memory) -> Aggregated:
        """Return the mean of what is left in each coordinate."""
        share = kept_share(rows, self.f, len(rows) - 1 - self.f)
        return Aggregated(trimmed_mean(rows, self.f), share)
