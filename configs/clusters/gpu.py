"""The GPUs of one machine: one worker of one thread per card, each seeing its own as device 0.

    pip install 'msl[cuda]' dask-cuda
    python configs/clusters/gpu.py

It prints the address to give to msl, and runs until it is stopped. On several machines start
`dask scheduler` on one and on each `dask cuda worker ADDRESS --nthreads 1 --resources GPU=1`.
"""

import signal

from dask_cuda import LocalCUDACluster


def main() -> None:
    """Start, print the address, wait."""
    with LocalCUDACluster(
        threads_per_worker=1,
        resources={"GPU": 1},
        # Values of a run lie beside Dask's store, so there is nothing to spill from a card.
        device_memory_limit=0,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:8787",
    ) as cluster:
        print(f"msl run FILE --scheduler {cluster.scheduler_address}", flush=True)
        signal.sigwait([signal.SIGINT, signal.SIGTERM])


if __name__ == "__main__":
    main()
