"""A row against the honest mean, long enough to turn the result around."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from msl.attacks.base import Attack, Scene
from msl.attacks.optimal import Optimal
from msl.attacks.rows import copies, mean_of
from msl.errors import PlanError
from msl.types import Memory, Rows

__all__ = ["InnerProduct"]


@dataclass(frozen=True)
class InnerProduct(Attack):
    """Every corrupted row is -eps times the honest mean, so that their inner product is negative.

    A small eps passes rules that look at distances; a large one turns the mean around.

    Parameters
    ----------
    eps : float or None
        None searches it against the aggregator in use, as ``Optimal("inner_product")`` does.

    References
    ----------
    Xie, Koyejo, Gupta: Fall of empires: breaking Byzantine-tolerant SGD by inner product
    manipulation. UAI 2019.

    Examples
    --------
    >>> import numpy as np
    >>> InnerProduct(eps=0.5)(np.array([[2.0, 0.0], [4.0, -2.0]], np.float32), 1, key=0)
    array([[-1.5,  0.5]], dtype=float32)
    """

    eps: float | None = 2.0
    name: ClassVar[str] = "inner_product"

    def __post_init__(self) -> None:
        if self.eps is not None and not isfinite(self.eps):
            raise PlanError(f"eps must be finite, got {self.eps}")

    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Return equal rows; the key is not used.

        Raises
        ------
        PlanError
            When eps is to be searched: honest rows alone name no aggregator.
        """
        if self.eps is None:
            return Optimal("inner_product")(honest, n_corrupted, key)
        return copies(-self.eps * mean_of(honest), n_corrupted)

    def forge(self, scene: Scene, memory: Memory) -> tuple[Rows, Memory]:
        """Return equal rows.

        Raises
        ------
        PlanError
            When eps is to be searched and the aggregator is not known.
        """
        if self.eps is None:
            return Optimal("inner_product").forge(scene, memory)
        return super().forge(scene, memory)
