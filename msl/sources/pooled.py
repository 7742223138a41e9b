"""All rows in one place: what federated learning avoids, and the yardstick for it."""

from dataclasses import dataclass

import numpy as np

from msl.sources.base import Source, check_data
from msl.types import Data

__all__ = ["PooledSource"]


@dataclass(frozen=True)
class PooledSource(Source):
    """Loads several sources at one place and joins their rows; for baselines in simulations."""

    sources: tuple[Source, ...]
    name: str = "pooled"

    def load(self) -> Data:
        """Return the rows of all sources, in their order."""
        parts = [source.load() for source in self.sources]
        weight = None
        if any(part.weight is not None for part in parts):
            weight = np.concatenate(
                [np.ones(len(p), np.float32) if p.weight is None else p.weight for p in parts]
            )
        return check_data(
            self.name,
            np.concatenate([p.X for p in parts]),
            np.concatenate([p.y for p in parts]),
            weight,
        )
