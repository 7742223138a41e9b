"""Opening the executor a run asks for, and closing exactly what was opened."""

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, LocalCluster

from msl.cluster.base import Executor
from msl.cluster.dask import DaskExecutor
from msl.cluster.local import LocalExecutor
from msl.errors import PlanError

__all__ = ["open_executor"]

CONNECT_SECONDS = 10


@contextmanager
def open_executor(
    scheduler: str | None = None, workers: int | None = None, client: Client | None = None
) -> Iterator[Executor]:
    """Yield an executor on a client, a running cluster, a new local cluster, or this process.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running cluster (``tcp://...``); it is left running.
    workers : int, optional
        Size of a new local cluster of processes; 0 stays in this process. Default: 2.
    client : distributed.Client, optional
        Taken before anything else, and left open.

    Raises
    ------
    PlanError
        When the scheduler cannot be reached.
    """
    if client is not None:
        with DaskExecutor(client) as executor:
            yield executor
    elif scheduler is not None:
        with _connect(scheduler) as found, DaskExecutor(found) as executor:
            yield executor
    elif workers == 0:
        with LocalExecutor() as local:
            yield local
    else:
        with (
            LocalCluster(
                n_workers=workers or 2,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
            ) as cluster,
            Client(cluster) as found,
            DaskExecutor(found) as executor,
        ):
            yield executor


def _connect(scheduler: str) -> Client:
    try:
        return Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise PlanError(
            f"cannot reach a Dask scheduler at {scheduler}: {error}; start one with "
            "`dask scheduler` or leave the address out"
        ) from error
