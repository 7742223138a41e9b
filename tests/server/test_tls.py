"""A cluster that speaks TLS, from certificates made here: who is let in, and who is not."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from distributed import Client
from hand_made import Authority, by_hand, tls_words
from tasks import blobs, pid, plan
from typer.testing import CliRunner

from msl import cli
from msl.cluster import LocalExecutor, open_executor
from msl.cluster.tls import Tls
from msl.errors import PlanError
from msl.rounds import train


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def user(authority: Authority) -> dict[str, str]:
    return authority.issue("user")


@pytest.fixture(scope="module")
def address(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a scheduler and two workers, each with a certificate of its own role."""
    words = ["--protocol", "tls", *tls_words(authority.issue("cluster"))]
    hosts = {"north": ["--host", "127.0.0.1"], "south": ["--host", "127.0.0.2"]}
    with by_hand(tmp_path_factory.mktemp("cluster"), hosts, words) as found:
        assert found.startswith("tls://")
        yield found


def test_a_run_over_tls_gives_the_bits_of_one_process(address: str, user: dict[str, str]) -> None:
    short = plan(rounds=3)
    with LocalExecutor() as local:
        alone = train(short, blobs(), local)
    with open_executor(address, tls=Tls(**user)) as executor:
        # Payloads go from worker to worker, so these speak TLS too.
        assert [place.partition(":")[0] for place in executor.places] == ["tls", "tls"]
        together = train(short, blobs(), executor)
    np.testing.assert_array_equal(together.params, alone.params)
    assert len({info.place for info in together.sources}) == 2


def test_the_command_line_takes_dasks_own_settings(address: str, user: dict[str, str]) -> None:
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    settings = {
        f"{prefix}CA_FILE": user["ca"],
        f"{prefix}CLIENT__CERT": user["cert"],
        f"{prefix}CLIENT__KEY": user["key"],
    }
    done = subprocess.run(
        [
            sys.executable, "-m", "msl.cli", "run", "configs/quickstart.yaml",
            "--scheduler", address, "--set", "rounds=2", "--set", "tracking.uri=none",
        ],
        env={**os.environ, **settings}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_without_a_certificate_nobody_comes_in(address: str) -> None:
    with pytest.raises(PlanError, match=r"needs a certificate: give cluster\.tls"):
        enter(address)


def test_in_the_clear_nobody_comes_in(address: str) -> None:
    with pytest.raises(PlanError, match=r"hung up: .*if it speaks TLS, write tls://"):
        enter(address.replace("tls://", "tcp://"))


def test_a_stranger_does_not_believe_the_cluster(address: str, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "theirs").issue("user")
    with pytest.raises(PlanError, match="do not believe each other"):
        enter(address, Tls(**stranger))


def test_the_cluster_does_not_believe_a_stranger(
    address: str, user: dict[str, str], tmp_path: Path
) -> None:
    """One who knows our authority, which is no secret, and has a certificate of another one."""
    stranger = Authority(tmp_path / "theirs").issue("user")
    with pytest.raises(PlanError, match="do not believe each other"):
        enter(address, Tls(user["ca"], stranger["cert"], stranger["key"]))


def test_a_cluster_of_our_own_speaks_tls_too(user: dict[str, str]) -> None:
    with open_executor(workers=1, tls=Tls(**user)) as executor:
        (place,) = executor.places
        assert place.startswith("tls://")
        assert executor.gather([executor.submit(pid)]) != [os.getpid()]
        # Loopback is open to every user of a machine; the certificate is what keeps them out.
        with pytest.raises(PlanError, match="needs a certificate"):
            enter(executor.client.scheduler.address)


def test_certificates_are_not_given_to_an_address_in_the_clear(user: dict[str, str]) -> None:
    with pytest.raises(PlanError, match="in the clear; write tls://host:port"):
        enter("tcp://127.0.0.1:1", Tls(**user))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ca": "nowhere.pem"}, r"tls\.ca: there is no file nowhere\.pem"),
        ({"key": "nowhere.pem"}, r"tls\.key: there is no file nowhere\.pem"),
        ({"ca": __file__}, r"tls\.ca: .* holds no certificate in PEM"),
        ({"cert": __file__}, r"tls\.cert, tls\.key: .* its own key"),
        ({"key": None}, r"tls\.cert, tls\.key: .* its own key"),
    ],
)
def test_files_that_are_none_are_said_so(
    user: dict[str, str], change: dict[str, str | None], why: str
) -> None:
    with pytest.raises(PlanError, match=why):
        Tls(**{**user, **change})


def test_a_key_of_another_certificate_is_said_so(
    authority: Authority, user: dict[str, str]
) -> None:
    with pytest.raises(PlanError, match="its own key"):
        Tls(user["ca"], user["cert"], authority.issue("other")["key"])


def test_a_key_may_stand_in_the_file_of_its_certificate(
    address: str, user: dict[str, str], tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text(Path(user["cert"]).read_text() + Path(user["key"]).read_text())
    enter(address, Tls(user["ca"], str(both)))


def test_a_client_of_the_user_is_taken_as_it_is(address: str, user: dict[str, str]) -> None:
    security = Tls(**user).security()
    with Client(address, security=security) as client, open_executor(client=client) as executor:
        assert len(executor.places) == 2


def test_the_certificates_of_the_page_let_us_in(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: the commands of docs/security.md were not tried")
    text = Path("docs/security.md").read_text()
    (commands,) = [block for block in text.split("```")[1::2] if "openssl" in block]
    subprocess.run(["sh", "-ec", commands], cwd=tmp_path, check=True, capture_output=True)
    ours = [str(tmp_path / name) for name in ("ca.pem", "north.pem", "north.key")]
    with open_executor(workers=1, tls=Tls(*ours)) as executor:
        assert executor.places[0].startswith("tls://")


def enter(address: str, tls: Tls | None = None) -> None:
    with open_executor(address, tls=tls) as executor:
        assert executor.places


def test_a_configuration_says_who_we_are(
    address: str, user: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "tls.yaml"
    cluster = {"scheduler": address, "tls": user}
    path.write_text(
        Path("configs/quickstart.yaml").read_text() + yaml.safe_dump({"cluster": cluster})
    )
    words = ["run", str(path), "--set", "rounds=2", "--set", "tracking.uri=none"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
