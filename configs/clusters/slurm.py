"""SLURM: a scheduler here, on the login node, and one job per machine with a worker per core.

    pip install dask-jobqueue
    python configs/clusters/slurm.py --jobs 40

It prints the address to give to msl, and runs until it is stopped; the jobs end with it. Change
`machine` to what your site has. Certificates: docs/security.md.
"""

import argparse
import signal
from typing import Any

from dask_jobqueue import SLURMCluster

from msl.cluster.tls import Tls


def machine(tls: Tls | None) -> dict[str, Any]:
    """Return what one job asks for: a whole machine, cut into workers of one thread."""
    return {
        "queue": "normal",
        "account": None,
        "cores": 32,
        "processes": 32,
        "memory": "120GB",
        "walltime": "12:00:00",
        "interface": "eth0",
        "local_directory": "/tmp",
        "log_directory": "runs/slurm",
        # A worker that SLURM moves or ends gives its place back before the time is over.
        "worker_extra_args": ["--lifetime", "11h30m", "--lifetime-stagger", "10m"],
        "job_extra_directives": ["--exclusive"],
        # Jobs use this very Python and read the certificate where it lies: both on a shared folder.
        "protocol": "tls://" if tls else "tcp://",
        "security": tls and tls.security(),
    }


def main() -> None:
    """Start, print the address, wait."""
    parser = argparse.ArgumentParser(description="Dask for msl on SLURM.")
    parser.add_argument("--jobs", type=int, default=2, help="machines")
    for kind in ("ca", "cert", "key"):
        parser.add_argument(f"--{kind}", help=f"TLS: the {kind} in PEM")
    asked = parser.parse_args()
    tls = Tls(asked.ca, asked.cert, asked.key) if asked.cert else None
    with SLURMCluster(**machine(tls)) as cluster:
        cluster.scale(jobs=asked.jobs)
        print(f"msl run FILE --scheduler {cluster.scheduler_address}", flush=True)
        signal.sigwait([signal.SIGINT, signal.SIGTERM])


if __name__ == "__main__":
    main()
