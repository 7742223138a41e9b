"""Where rows come from: recipes that load on the worker, and ways to deal one data set to many."""

from collections.abc import Mapping
from typing import Any

from msl.parts import make_part
from msl.sources.array import ArraySource
from msl.sources.base import Source, check_data, info_of
from msl.sources.corrupted import CorruptedSource
from msl.sources.dataset import DATASETS, dataset
from msl.sources.file import FileSource
from msl.sources.loader import LoaderSource
from msl.sources.partition import ByColumn, Dirichlet, FeatureShift, Iid, Partitioner, Quantity
from msl.sources.partitioned import HeldOut, PartitionSource, held_out_split
from msl.sources.pinned import Pinned
from msl.sources.pooled import PooledSource

__all__ = [
    "DATASETS",
    "PARTITIONERS",
    "ArraySource",
    "ByColumn",
    "CorruptedSource",
    "Dirichlet",
    "FeatureShift",
    "FileSource",
    "HeldOut",
    "Iid",
    "LoaderSource",
    "PartitionSource",
    "Partitioner",
    "Pinned",
    "PooledSource",
    "Quantity",
    "Source",
    "check_data",
    "dataset",
    "held_out_split",
    "info_of",
    "make",
]

PARTITIONERS: Mapping[str, type[Partitioner]] = {
    "iid": Iid,
    "dirichlet": Dirichlet,
    "quantity": Quantity,
    "feature_shift": FeatureShift,
    "by_column": ByColumn,
}


def make(name: str, **arguments: Any) -> Partitioner:
    """Return the partitioner of this name.

    Raises
    ------
    PlanError
        When the name, an argument or a value is not known; lists what is.

    Examples
    --------
    >>> make("dirichlet", alpha=0.1)
    Dirichlet(alpha=0.1, min_rows=None)
    """
    return make_part("partitioner", PARTITIONERS, name, arguments)
