"""Where calls run: in this process, or on the workers of a Dask cluster."""

from msl.cluster.base import Executor, Handle
from msl.cluster.dask import DaskExecutor
from msl.cluster.local import LocalExecutor
from msl.cluster.start import open_executor

__all__ = ["DaskExecutor", "Executor", "Handle", "LocalExecutor", "open_executor"]
