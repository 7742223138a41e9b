"""How many threads the libraries below us may use at one place.

BLAS always gets one: sources run one after another per place, and a matrix product split over
threads may round differently, which would tie the result to the number of cores.
"""

import sys
from typing import Any

import numba
from threadpoolctl import threadpool_limits

__all__ = ["limit_threads"]


def limit_threads(kernel_threads: int) -> Any:
    """Give BLAS one thread and our kernels `kernel_threads`; return the BLAS limiter.

    Call it on the thread that will run the work: numba's setting is per thread. The returned
    limiter restores BLAS when its ``restore_original_limits()`` is called.
    """
    numba.set_num_threads(max(1, min(kernel_threads, numba.config.NUMBA_NUM_THREADS)))
    # torch is limited only where somebody imported it: importing it costs seconds.
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    return threadpool_limits(limits=1, user_api="blas")
