"""What every test stands on: the environment numba and matplotlib read, and one cluster."""

import os
import shutil
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

ROOT = Path(__file__).resolve().parent.parent


def kernels_key(root: Path = ROOT) -> str:
    """Return the name of the kernels' state; the Makefile's KEY, so both share one cache."""
    files = sorted((root / "kernels").rglob("*.py"), key=lambda f: f.as_posix())
    return sha1(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]


# numba reads these at its first import, and the workers of the cluster inherit them.
# Without a GPU the CUDA kernels run on numba's simulator; CPU kernels do not notice it.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".cache" / "numba" / kernels_key()))
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Client]:
    """Yield a client of a real cluster: two worker processes of one thread, no dashboard."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as started,
        Client(started) as client,
    ):
        yield client
