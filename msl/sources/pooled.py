"""All rows in one place: what federated learning avoids, and the yardstick for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from msl.errors import PlanError
from msl.sources.base import Source, check_data, is_sparse
from msl.types import Data

__all__ = ["PooledSource"]


@dataclass(frozen=True)
class PooledSource(Source):
    """Loads several sources at one place and joins their rows; for baselines in simulations."""

    sources: tuple[Source, ...]
    name: str = "pooled"

    def __post_init__(self) -> None:
        for source in self.sources:
            if source.machine is not None:
                raise PlanError(
                    f"source {source.name!r} lives on {source.machine!r}: its rows cannot be "
                    "brought together with others"
                )

    @property
    def in_memory(self) -> bool:
        """Whether the rows of any source are."""
        return any(source.in_memory for source in self.sources)

    def load(self) -> Data:
        """Return the rows of all sources, in their order; sparse when those of one source are."""
        parts = [source.load() for source in self.sources]
        weight = None
        if any(part.weight is not None for part in parts):
            weight = np.concatenate(
                [np.ones(len(p), np.float32) if p.weight is None else p.weight for p in parts]
            )
        return check_data(
            self.name,
            _stacked([p.X for p in parts]),
            np.concatenate([p.y for p in parts]),
            weight,
        )


def _stacked(parts: Sequence[Any]) -> Any:
    """Return rows below each other; a few dense ones do not make the others dense."""
    if not any(is_sparse(X) for X in parts):
        return np.concatenate(parts)
    from scipy.sparse import csr_array, vstack

    return vstack([csr_array(X) for X in parts], format="csr")
