"""Real servers: only for `make test-server`."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import free_port, only_when_named

pytest_ignore_collect = only_when_named(Path(__file__).parent)


def _programs() -> Path | None:
    """Return the folder of PostgreSQL's own programs; Debian keeps them off the path."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    kept = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return kept[-1].parent if kept else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Yield the URI of a database cluster of this test's own, which goes with it."""
    programs = _programs()
    if programs is None:
        pytest.skip("not run: PostgreSQL is missing (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="not run: pip install '.[server]' brings psycopg")
    # PostgreSQL refuses to run as root; its package brings a user for that.
    who = {"user": "postgres", "group": "postgres", "extra_groups": ()} if not os.geteuid() else {}
    place = Path(tempfile.mkdtemp(prefix="msl-pg-"))
    data, key, word, port = place / "data", place / "key", secrets.token_hex(16), free_port()
    key.write_text(word)
    if who:
        for path in (place, key):
            shutil.chown(path, "postgres", "postgres")

    def call(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(programs / program), "-D", str(data), *arguments],
            cwd=place, check=True, stdout=subprocess.DEVNULL, **who,
        )  # fmt: skip

    try:
        call("initdb", "--username=mlflow", "--auth=scram-sha-256", f"--pwfile={key}")
        call(
            "pg_ctl", "start", "-w", "-l", str(place / "log"),
            "-o", f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off",
        )  # fmt: skip
        try:
            yield f"postgresql+psycopg://mlflow:{word}@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "stop", "-m", "fast")
    finally:
        shutil.rmtree(place, ignore_errors=True)
