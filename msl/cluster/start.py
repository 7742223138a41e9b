"""Opening the executor a run asks for, and closing exactly what was opened."""

from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError

from msl.cluster.base import PATIENCE, Executor
from msl.cluster.dask import DaskExecutor
from msl.cluster.local import LocalExecutor
from msl.cluster.tls import Tls
from msl.errors import PlanError

__all__ = ["connect", "open_executor"]

CONNECT_SECONDS = 10
_PAGES = "distributed.nanny.pre-spawn-environ.MALLOC_{}_THRESHOLD_"
_KEEP_PAGES = {_PAGES.format(what): 1 << 26 for what in ("MMAP", "TRIM")}
"""Workers keep up to 64 MB of memory that they let go of: else every round gets its arrays from the
system, page by page, and gives them back."""


@contextmanager
def open_executor(
    scheduler: str | None = None,
    workers: int | None = None,
    client: Client | None = None,
    tls: Tls | None = None,
    at_least: int = 1,
    patience: float = PATIENCE,
    cache: int | None = None,
) -> Iterator[Executor]:
    """Yield an executor on a client, a running cluster, a new local cluster, or this process.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running cluster (``tcp://...`` or ``tls://...``); it is left running.
    workers : int, optional
        Size of a new local cluster of processes; 0 stays in this process. Default: 2.
    client : distributed.Client, optional
        Taken before anything else, and left open.
    tls : Tls, optional
        Who we are to a running cluster, or the certificate of a new one. Left out, Dask's own
        settings say it (``distributed.comm.tls``).
    at_least : int
        Workers of a running cluster to wait for before anything begins.
    patience : float
        Seconds to wait for workers without which a run cannot go on.
    cache : int, optional
        Bytes of rows that each worker keeps loaded; half of its memory when left out.

    Raises
    ------
    PlanError
        When the scheduler cannot be reached, does not let us in, or has too few workers.
    """
    if client is not None:
        with DaskExecutor(client, at_least=at_least, patience=patience, cache=cache) as executor:
            yield executor
    elif scheduler is not None:
        with (
            connect(scheduler, tls) as found,
            DaskExecutor(found, at_least=at_least, patience=patience, cache=cache) as executor,
        ):
            yield executor
    elif workers == 0:
        with LocalExecutor(cache) as local:
            yield local
    else:
        with (
            _local_cluster(workers or 2, tls) as cluster,
            Client(cluster) as found,
            DaskExecutor(found, patience=patience, cache=cache) as executor,
        ):
            yield executor


def _local_cluster(workers: int, tls: Tls | None) -> LocalCluster:
    """Return a new cluster of processes of one thread each."""
    with dask.config.set(_KEEP_PAGES):
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            security=tls and tls.security(),
        )


def connect(scheduler: str, tls: Tls | None = None) -> Client:
    """Return a client of a running cluster; raises PlanError in words when there is none."""
    if tls is not None and not scheduler.startswith("tls://"):
        raise PlanError(
            f"certificates were given for {scheduler}, which would be spoken to in the clear; "
            "write tls://host:port, or leave the certificates out"
        )
    try:
        # Without our files distributed looks for its own, and a security loader.
        return Client(scheduler, timeout=CONNECT_SECONDS, security=tls and tls.security())
    except (OSError, ValueError, TypeError) as error:
        # A missing certificate is a TypeError there.
        raise PlanError(_why(scheduler, error)) from error


def _why(scheduler: str, error: Exception) -> str:
    """Return what is wrong with a connection, and what to do."""
    if isinstance(error, TypeError):
        return (
            f"{scheduler} needs a certificate: give cluster.tls {{ca, cert, key}}, or Dask's own "
            "settings (DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...__CLIENT__CERT, ...__CLIENT__KEY)"
        )
    if isinstance(error, CommClosedError):
        if scheduler.startswith("tls://"):
            return (
                f"{scheduler} and we do not believe each other: {error}; our certificate and the "
                "scheduler's must both be signed by the authority in tls.ca, and be valid today"
            )
        return (
            f"{scheduler} hung up: {error}; if it speaks TLS, write tls:// and give cluster.tls "
            "{ca, cert, key}"
        )
    return (
        f"cannot reach a Dask scheduler at {scheduler}: {error}; start one with "
        "`dask scheduler` or leave the address out"
    )
