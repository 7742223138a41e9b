"""A Dask cluster made by hand, as an administrator would: processes on loopback addresses."""

import datetime
import ipaddress
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PATIENCE = 60


@contextmanager
def process(log: Path, *words: str, cwd: Path | None = None) -> Iterator[subprocess.Popen]:
    """Run `python -m ...`; end it with the block."""
    # Workers import what tests send them. One kernel thread: tests share two cores.
    here = str(Path(__file__).parent)
    env = {**os.environ, "NUMBA_NUM_THREADS": "1", "PYTHONPATH": here}
    with log.open("w") as out:
        started = subprocess.Popen(
            [sys.executable, "-m", *words], stdout=out, stderr=out, env=env, cwd=cwd
        )
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(15)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


@contextmanager
def by_hand(
    folder: Path,
    workers: Mapping[str, Sequence[str]],
    tls: Sequence[str] = (),
    cwds: Mapping[str, Path] | None = None,
) -> Iterator[str]:
    """Yield the address of a scheduler with these workers.

    Parameters
    ----------
    folder : Path
        For logs and the scheduler file.
    workers : mapping from str to sequence of str
        Name of a worker -> further words of its command line.
    tls : sequence of str
        Words that a scheduler and a worker share: ``--tls-ca-file ...``.
    cwds : mapping, optional
        Folders from which workers start; they import from there first.
    """
    found = folder / "scheduler.json"
    common = (*tls, "--no-dashboard")
    with ExitStack() as stack:
        stack.enter_context(
            process(
                folder / "scheduler.log", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0",
                "--scheduler-file", str(found), *common,
            )
        )  # fmt: skip
        for name, words in workers.items():
            cwd = (cwds or {}).get(name)
            stack.enter_context(join(folder, name, *tls, *words, cwd=cwd))
        _until(lambda: found.exists() and found.stat().st_size > 0, folder)
        for name in workers:
            log = folder / f"{name}.log"
            _until(lambda log=log: "Registered to:" in log.read_text(), folder)
        yield json.loads(found.read_text())["address"]


def join(folder: Path, name: str, *words: str, cwd: Path | None = None):
    """Run one more worker of the cluster in that folder; end it with the block."""
    return process(
        folder / f"{name}.log", "dask", "worker", "--scheduler-file",
        str(folder / "scheduler.json"), "--name", name, "--nthreads", "1", "--no-nanny",
        "--local-directory", str(folder), "--no-dashboard", *words, cwd=cwd,
    )  # fmt: skip


def _until(done, folder: Path) -> None:
    stop = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > stop:
            logs = "\n".join(f"{log.name}:\n{log.read_text()}" for log in folder.glob("*.log"))
            raise TimeoutError(f"no cluster after {PATIENCE} s\n{logs}")
        time.sleep(0.05)


class Authority:
    """A certificate authority of its own, and files in PEM that it signed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = _named("test authority")
        ca = _certificate(self._name, self._name, self._key, self._key, authority=True)
        self.ca = str(folder / "ca.pem")
        Path(self.ca).write_bytes(ca.public_bytes(serialization.Encoding.PEM))

    def issue(self, role: str) -> dict[str, str]:
        """Return the paths of authority, certificate and key for a role."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = _certificate(_named(role), self._name, key, self._key, authority=False)
        paths = {kind: self.folder / f"{role}.{kind}.pem" for kind in ("cert", "key")}
        paths["cert"].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        paths["key"].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return {"ca": self.ca, **{kind: str(path) for kind, path in paths.items()}}


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(subject, issuer, key, signer, *, authority: bool) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    local = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(local), critical=False)
        .sign(signer, hashes.SHA256())
    )


def tls_words(files: Mapping[str, str]) -> list[str]:
    """Return the words that `dask scheduler` and `dask worker` take."""
    return ["--tls-ca-file", files["ca"], "--tls-cert", files["cert"], "--tls-key", files["key"]]
