"""A real `mlflow server` process, for `make test-server` and `make test-ui`."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from conftest import ROOT

GRID = ROOT / "tests" / "small_grid.yaml"
CELLS = [
    f"{rule} {attack}"
    for rule in ("mean", "median", "meamed")
    for attack in ("label_flip", "sign_flip")
]
"""Names of the cells of `GRID`."""


def only_when_named(folder: Path) -> Callable[[pytest.Config], bool | None]:
    """Return a collection hook that keeps a folder out of every run that does not name it."""

    def pytest_ignore_collect(config: pytest.Config) -> bool | None:
        named = [Path(arg.partition("::")[0]).resolve() for arg in config.args]
        return None if any(path.is_relative_to(folder) for path in named) else True

    return pytest_ignore_collect


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@contextmanager
def serving(folder: Path, store: str) -> Iterator[str]:
    """Start a server by `mlflow/server.env`, but on this store and a free port; yield its URL."""
    port = free_port()
    own = {
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
        "MLFLOW_PORT": str(port),
    }
    settings = str(ROOT / "mlflow" / "server.env")
    log = folder / "server.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "--env-file", settings, "server"],
            cwd=folder,
            env=os.environ | own,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, server, log)
        yield address
    finally:
        # The server has workers of its own: the whole group has to go.
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers; making the tables of a new store takes a while."""
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(f"{address}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"mlflow server did not come up:\n{log.read_text()[-3000:]}")


def run(module: str, *arguments: str, **environment: str) -> str:
    """Run `python -m module` as a person would; return what it printed."""
    # An entry point of a project asks the path for its python.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compare(address: str) -> None:
    """Run the small grid against a tracking server."""
    run("msl.cli", "compare", str(GRID), "--set", f"tracking.uri={address}")
