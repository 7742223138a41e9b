"""How n rows become one direction: the mean, and rules that withstand corrupted rows."""

from collections.abc import Mapping
from typing import Any

from msl.aggregators.base import Aggregator, check_rows
from msl.aggregators.bucketing import Bucketing
from msl.aggregators.bulyan import Bulyan
from msl.aggregators.caf import Caf
from msl.aggregators.centered_clipping import CenteredClipping
from msl.aggregators.clipping import AdaptiveRobustClipping, Clipping
from msl.aggregators.geometric_median import GeometricMedian
from msl.aggregators.krum import Krum, MultiKrum
from msl.aggregators.mda import Mda
from msl.aggregators.meamed import Meamed
from msl.aggregators.mean import Mean
from msl.aggregators.median import Median
from msl.aggregators.monna import Monna
from msl.aggregators.nnm import NearestNeighbourMixing
from msl.aggregators.safeguard import Safeguard
from msl.aggregators.sign_majority import SignMajority
from msl.aggregators.smea import Smea
from msl.aggregators.trimmed_mean import TrimmedMean
from msl.aggregators.zeno import Zeno
from msl.finite import finite_rows
from msl.parts import make_part

__all__ = [
    "AGGREGATORS",
    "AdaptiveRobustClipping",
    "Aggregator",
    "Bucketing",
    "Bulyan",
    "Caf",
    "CenteredClipping",
    "Clipping",
    "GeometricMedian",
    "Krum",
    "Mda",
    "Meamed",
    "Mean",
    "Median",
    "Monna",
    "MultiKrum",
    "NearestNeighbourMixing",
    "Safeguard",
    "SignMajority",
    "Smea",
    "TrimmedMean",
    "Zeno",
    "check_rows",
    "finite_rows",
    "make",
]

AGGREGATORS: Mapping[str, type[Aggregator]] = {
    "mean": Mean,
    "median": Median,
    "trimmed_mean": TrimmedMean,
    "krum": Krum,
    "multi_krum": MultiKrum,
    "geometric_median": GeometricMedian,
    "centered_clipping": CenteredClipping,
    "mda": Mda,
    "monna": Monna,
    "meamed": Meamed,
    "caf": Caf,
    "smea": Smea,
    "bulyan": Bulyan,
    "sign_majority": SignMajority,
    "zeno": Zeno,
    "safeguard": Safeguard,
    "nnm": NearestNeighbourMixing,
    "bucketing": Bucketing,
    "clipping": Clipping,
    "arc": AdaptiveRobustClipping,
}


def make(name: str, **arguments: Any) -> Aggregator:
    """Return the aggregator of this name.

    Raises
    ------
    PlanError
        When the name, an argument or a value is not known; lists what is.

    Examples
    --------
    >>> make("trimmed_mean", f=2)
    TrimmedMean(f=2)
    >>> make("nnm", f=2, then={"name": "median"})
    NearestNeighbourMixing(f=2, then=Median())
    """
    return make_part("aggregator", AGGREGATORS, name, arguments)
