"""Samples of every aggregator."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl.aggregators import (
    AdaptiveRobustClipping,
    Aggregator,
    Bucketing,
    Bulyan,
    Caf,
    CenteredClipping,
    Clipping,
    GeometricMedian,
    Krum,
    Mda,
    Meamed,
    Mean,
    Median,
    Monna,
    MultiKrum,
    NearestNeighbourMixing,
    Safeguard,
    SignMajority,
    Smea,
    TrimmedMean,
    Zeno,
)


def distance_to_ones(direction: NDArray[np.float32]) -> float:
    """A judge that wants a vector of ones."""
    return float(np.square(direction - 1.0, dtype=np.float64).sum())


NEEDED: dict[str, dict[str, Any]] = {
    **{name: {"f": 1} for name in ("krum", "multi_krum", "mda", "monna", "meamed", "caf", "smea")},
    **{name: {"f": 1} for name in ("trimmed_mean", "bulyan", "zeno", "nnm", "arc")},
    "safeguard": {"short": 2, "calibrate": 2},
}
"""Arguments without which a rule cannot be made; good for seven rows."""

SAMPLES: list[Aggregator] = [
    Mean(),
    Median(),
    TrimmedMean(f=0),
    TrimmedMean(f=2),
    Krum(f=2),
    Krum(f=3, closest="n-f-1"),
    MultiKrum(f=2),
    MultiKrum(f=3, m=4),
    GeometricMedian(),
    CenteredClipping(),
    CenteredClipping(tau=2.0, iterations=5),
    Mda(f=3),
    Monna(f=3),
    Meamed(f=3),
    Caf(f=3),
    Smea(f=3),
    Bulyan(f=2),
    SignMajority(),
    SignMajority(scale=0.5),
    Zeno(f=3, loss=distance_to_ones),
    Safeguard(**NEEDED["safeguard"]),
    NearestNeighbourMixing(f=3, then=Median()),
    NearestNeighbourMixing(f=2),
    Bucketing(s=2, then=GeometricMedian()),
    Clipping(radius=3.0, then=Median()),
    AdaptiveRobustClipping(f=3, then=TrimmedMean(f=3)),
]
