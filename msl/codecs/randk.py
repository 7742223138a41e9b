"""Random-k: positions that both ends draw from a seed, so that only values travel."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.codecs.base import Shape, refuse_non_finite
from msl.codecs.checks import check_density
from msl.codecs.payload import Payload
from msl.codecs.sparsifier import Sparsifier, kept_of
from msl.errors import PayloadError
from msl.types import Vector
from msl_kernels.strata import positions, widths

__all__ = ["RandK"]


@dataclass(frozen=True)
class RandK(Sparsifier):
    """One number from each of k equal strata, 32 bits for each; unbiased, or for error feedback.

    Parameters
    ----------
    density : float
        Share of numbers sent, in (0, 1]; k = ceil(density d).
    scaled : bool
        Whether values are multiplied by the width of their stratum (about d / k), which makes the
        codec unbiased. Under error feedback they must not be.

    References
    ----------
    Konecny, Richtarik: Randomized distributed mean estimation. 2018.

    Examples
    --------
    >>> import numpy as np
    >>> RandK(0.5).encode(np.ones(4, np.float32))[0].decode().sum()
    np.float32(4.0)
    """

    density: float = 0.01
    scaled: bool = True
    name: ClassVar[str] = "randk"
    wire_id: ClassVar[int | None] = 11
    fields: ClassVar[frozenset[str]] = frozenset({"count", "seed"})

    def __post_init__(self) -> None:
        check_density("randk", self.density)

    @property
    def unbiased(self) -> bool:
        """Whether the values are scaled."""
        return self.scaled

    @property
    def diverges(self) -> bool:
        """Scaled values lose d / k - 1 times |x|^2."""
        return self.scaled and self.density < 1

    def omega(self, size: int) -> float | None:
        """Width of the widest stratum - 1."""
        return float(-(-size // kept_of(size, self.density)) - 1) if self.scaled and size else None

    def delta(self, size: int) -> float | None:
        """One over the width of the widest stratum."""
        return 1 / -(-size // kept_of(size, self.density)) if size and not self.scaled else None

    def select(
        self, vector: Vector, key: int
    ) -> tuple[tuple[NDArray[Any], ...], NDArray[np.uint32], Vector, int]:
        """Return the values at the drawn positions; those say nothing on the wire."""
        refuse_non_finite(vector)
        k = kept_of(len(vector), self.density)
        drawn = positions(len(vector), k, key)
        values = vector[drawn]
        if self.scaled:
            values *= widths(len(vector), k)
        return (), drawn, values, key

    def where(self, size: int, count: int) -> list[Shape]:
        """Nothing."""
        return []

    def positions(self, payload: Payload) -> NDArray[np.uint32]:
        """Draw the positions again."""
        return positions(payload.size, payload.count, payload.seed)

    def count(self, size: int) -> int:
        """Return k."""
        return kept_of(size, self.density)

    def check(self, payload: Payload) -> None:
        """Refuse more values than numbers."""
        if payload.count > payload.size or payload.size >= 2**32:
            raise PayloadError(f"randk cannot keep {payload.count} of {payload.size} numbers")
