"""The doctor: each fault of a cluster or a store is found, named, and told how to mend."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from hand_made import Authority, by_hand, tls_words
from rich.console import Console
from typer.testing import CliRunner

from msl import cli
from msl.checkpoints.store import Folder
from msl.cluster import ask, gpus
from msl.cluster.ask import Facts, Gpus, Survey, Told, survey
from msl.cluster.tls import Tls
from msl.config import Config, load_config
from msl.doctor import diagnose, findings_table
from msl.doctor_cluster import Finding, judge
from msl.tracking.mlflow import MlflowTracker
from msl.tracking.probe import left_in
from msl.tracking.spool import Spool

# MLflow's own queries, not ours.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

GIB = 2**30
VERSIONS = {"python": "3.11.7", "msl": "0.1.0", "numpy": "2.4.6", "distributed": "2026.8.0"}
FACTS = Facts("big", 4, 16 * GIB, "abc", Gpus((), "", False, None))
WORKER = Told("north", 1, 4 * GIB, {}, VERSIONS, FACTS, skew=0.001, doubt=0.002)
CARD = Gpus(("H100",), "580.1", True, "0,1")


def asked_of(*workers: Told, **changes: Any) -> Survey:
    told = Survey("tcp://127.0.0.1:8786", VERSIONS, "abc", workers, VERSIONS)
    return replace(told, **changes)


def but(facts: dict[str, Any] | None = None, **changes: Any) -> Told:
    """Return the worker `south`, which differs from `north` as told."""
    return replace(WORKER, name="south", facts=replace(FACTS, **(facts or {})), **changes)


def of(findings: list[Finding], check: str) -> list[Finding]:
    return [f for f in findings if f.check == check]


def test_a_sound_cluster_is_all_well() -> None:
    found = judge(asked_of(WORKER, but()))
    assert {f.level for f in found} == {"ok"}
    assert {f.check for f in found} >= {"workers", "versions", "clocks", "cores", "memory", "GPU"}


@pytest.mark.parametrize(
    ("told", "check", "level", "found", "fix"),
    [
        (asked_of(), "workers", "fail", "none", "dask worker tcp://127.0.0.1:8786"),
        (
            asked_of(WORKER, replace(WORKER, name="south", facts=None, trouble="silence")),
            "workers",
            "fail",
            "silence (south)",
            "the same install as here",
        ),
        (
            asked_of(WORKER, but(versions={**VERSIONS, "msl": "0.0.9"})),
            "versions",
            "fail",
            "msl 0.0.9 (worker south), here 0.1.0",
            "install msl 0.1.0 there",
        ),
        (
            asked_of(WORKER, but(versions={**VERSIONS, "numpy": "2.3.0"})),
            "versions",
            "warn",
            "numpy 2.3.0 (worker south), here 2.4.6; equal bits are not promised",
            "install numpy 2.4.6 there",
        ),
        (
            asked_of(WORKER, but(versions={k: VERSIONS[k] for k in VERSIONS if k != "numpy"})),
            "versions",
            "fail",
            "numpy missing (worker south)",
            "install numpy",
        ),
        (
            asked_of(WORKER, scheduler_versions={**VERSIONS, "python": "3.12.1"}),
            "versions",
            "fail",
            "python 3.12.1 (the scheduler)",
            "install python 3.11.7",
        ),
        (
            asked_of(WORKER, but({"code": "other"})),
            "code",
            "fail",
            "other files than here (south)",
            "same commit",
        ),
        (
            asked_of(WORKER, scheduler="tcp://10.0.0.1:8786"),
            "encryption",
            "warn",
            "whoever reaches tcp://10.0.0.1:8786 runs code",
            "docs/security.md",
        ),
        (
            asked_of(WORKER, certificate_ends=time.time() + 3 * 86400 + 60),
            "encryption",
            "warn",
            "valid for 3 more days",
            "renew it",
        ),
        (
            asked_of(WORKER, but(skew=-2.5, doubt=0.1)),
            "clocks",
            "warn",
            "-2.500 s, give or take 0.100 s (worker south)",
            "chrony",
        ),
        (
            asked_of(WORKER, but(threads=8)),
            "cores",
            "warn",
            "more than one thread (south)",
            "--nthreads 1",
        ),
        (
            asked_of(*[but(memory_limit=GIB) for _ in range(5)]),
            "cores",
            "warn",
            "big: 5 workers on 4 cores",
            "one worker per core",
        ),
        (
            asked_of(WORKER, but(memory_limit=14 * GIB)),
            "memory",
            "warn",
            "big: its workers may take 18.0 GiB of 16.0 GiB",
            "--memory-limit auto",
        ),
        (asked_of(but(memory_limit=0)), "memory", "warn", "may take no limit", "auto"),
        (
            asked_of(WORKER, but(resources={"GPU": 1.0})),
            "GPU",
            "fail",
            "has the resource GPU, but no card (south)",
            "nvidia-smi",
        ),
        (
            asked_of(but({"gpus": replace(CARD, usable=False)})),
            "GPU",
            "warn",
            "numba cannot use H100, driver 580.1",
            "msl[cuda]",
        ),
        (
            asked_of(but({"gpus": replace(CARD, usable=False)}, resources={"GPU": 1.0})),
            "GPU",
            "fail",
            "numba cannot use H100",
            "msl[cuda]",
        ),
        (
            asked_of(replace(WORKER, facts=replace(FACTS, gpus=CARD)), but({"gpus": CARD})),
            "GPU",
            "warn",
            "north, south share card 0 of big",
            "dask cuda worker",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault_is_named_and_told_how_to_mend(
    told: Survey, check: str, level: str, found: str, fix: str
) -> None:
    (fault,) = [f for f in judge(told) if f.level != "ok"]
    assert (fault.check, fault.level) == (check, level)
    assert found in fault.found
    assert fix in fault.fix


def test_forty_workers_with_one_fault_are_one_line() -> None:
    many = [replace(WORKER, name=f"w{i}", versions={**VERSIONS, "msl": "0"}) for i in range(40)]
    (fault,) = of(judge(asked_of(*many)), "versions")
    assert "worker w0, worker w1, worker w2, worker w3 and 36 more" in fault.found


def test_a_clock_within_the_doubt_is_no_fault() -> None:
    (clocks,) = of(judge(asked_of(but(skew=3.0, doubt=2.5))), "clocks")
    assert clocks.level == "ok"


def test_each_worker_with_a_card_of_its_own_is_well() -> None:
    cards = [replace(CARD, visible=visible) for visible in ("0,1", "1,0")]
    found = of(judge(asked_of(*[but({"gpus": card}) for card in cards])), "GPU")
    assert [(f.level, f.found) for f in found] == [("ok", "2 workers with a card")]


def test_cards_are_read_from_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100, 580.95.05'\necho 'NVIDIA H100, 580.95.05'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    found = gpus.gpus_here()
    assert found == Gpus(("NVIDIA H100", "NVIDIA H100"), "580.95.05", False, "1,0")
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    assert gpus.gpus_here().cards == ()


def settings(**changes: Any) -> Config:
    listed = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    return load_config("configs/quickstart.yaml", ["tracking.uri=none", *listed])


def test_this_machine_alone() -> None:
    found = diagnose(settings())
    assert {f.level for f in found} == {"ok"}
    assert of(found, "source source-00")[0].found.startswith("40 rows of 64 features")
    assert not of(found, "source source-01")  # there is one place, and one source is tried at each
    assert of(found, "source held_out")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Tls]]:
    """Yield a cluster over TLS: north is well, south has a broken msl."""
    files = Authority(tmp_path_factory.mktemp("tls") / "ours").issue("cluster")
    broken = tmp_path_factory.mktemp("broken")
    (broken / "msl").mkdir()
    (broken / "msl" / "__init__.py").write_text("raise ImportError('half an install')")
    workers = {
        "north": ["--host", "127.0.0.1"],
        "south": ["--host", "127.0.0.2", "--resources", "GPU=1"],
    }
    words = ["--protocol", "tls", *tls_words(files)]
    folder = tmp_path_factory.mktemp("cluster")
    with by_hand(folder, workers, words, {"south": broken}) as address:
        yield address, Tls(**files)


def test_a_cluster_is_asked_over_tls(started: tuple[str, Tls]) -> None:
    told = survey(*started)
    workers = {worker.name: worker for worker in told.workers}
    assert set(workers) == {"north", "south"}
    assert workers["north"].facts is not None
    assert workers["north"].facts.code == told.code
    assert workers["north"].versions == told.ours
    assert workers["south"].resources == {"GPU": 1.0}
    assert abs(workers["north"].skew) <= workers["north"].doubt + 0.01
    assert told.certificate_ends == pytest.approx(time.time() + 86400, abs=60)


def test_a_worker_whose_msl_is_broken_is_named(started: tuple[str, Tls]) -> None:
    found = diagnose(settings(), *started)
    (fault,) = [f for f in found if f.level == "fail"]
    assert fault.check == "workers"
    assert "half an install" in fault.found
    assert "(south)" in fault.found
    # What needs msl there is not tried; what does not is known all the same.
    assert not of(found, "source source-00")
    assert of(found, "versions")[0].level == "ok"


def test_a_silent_worker_is_named_in_time(
    started: tuple[str, Tls], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "_SECONDS", 1.0)
    pid = pid_of(*started, "north")
    os.kill(pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        found = diagnose(None, *started)
        took = time.monotonic() - start
    finally:
        os.kill(pid, signal.SIGCONT)
    assert took < 10
    assert "TimeoutError: no answer in 1 s (north)" in {f.found for f in of(found, "workers")}


def pid_of(address: str, tls: Tls, name: str) -> int:
    with Client(address, security=tls.security()) as client:
        known = client.scheduler_info(n_workers=-1)["workers"]
        (place,) = [place for place, worker in known.items() if worker["name"] == name]
        return int(client.run(os.getpid, workers=[place])[place])


def test_no_cluster_is_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    from msl.cluster import start

    monkeypatch.setattr(start, "CONNECT_SECONDS", 1)
    (fault,) = [f for f in diagnose(settings(), "tcp://127.0.0.1:1") if f.level == "fail"]
    assert (fault.check, fault.level) == ("scheduler", "fail")
    assert "cannot reach a Dask scheduler at tcp://127.0.0.1:1" in fault.found


def test_a_source_that_does_not_load_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: {files: [{name: south, path: /nowhere.csv}]}\n"
        "model: {name: softmax, n_features: 2, n_classes: 2}\n"
        "tracking: {uri: none}\n"
    )
    (fault,) = [f for f in diagnose(load_config(path)) if f.level == "fail"]
    assert fault.check == "source south"
    assert "/nowhere.csv" in fault.found
    assert "on the worker too" in fault.fix


def test_the_folder_of_checkpoints_is_written_by_all(cluster: Client, tmp_path: Path) -> None:
    address = cluster.scheduler.address
    asked = settings(checkpoint__every=10, checkpoint__folder=tmp_path)
    (found,) = of(diagnose(asked, address), "checkpoints")
    assert found.level == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    asked = settings(checkpoint__every=10, checkpoint__folder=tmp_path / "file")
    (found,) = of(diagnose(asked, address), "checkpoints")
    assert found.level == "fail"
    assert found.found.count("tcp://127.0.0.1") == 2
    assert "all workers and the client share" in found.fix


def test_a_folder_that_each_worker_has_for_itself_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Folder, "names", lambda _: [])
    asked = settings(checkpoint__every=10, checkpoint__folder=tmp_path)
    (found,) = of(diagnose(asked), "checkpoints")
    assert "cannot be seen from here (local)" in found.found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("http://127.0.0.1:9", "127.0.0.1:9"),
        ("sqlite:///{file}/mlflow.db", "no file can be written in"),
        ("jsonl:{file}/runs", "no file can be written in"),
    ],
)
def test_a_store_that_takes_nothing_is_named(uri: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    uri = uri.format(file=tmp_path / "file")
    (fault,) = [f for f in diagnose(settings(tracking__uri=uri)) if f.level == "fail"]
    assert fault.check == "store"
    assert why in fault.found
    assert "tracking.uri" in fault.fix


def test_a_store_that_does_not_exist_yet_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "mlflow.db"
    (store,) = of(diagnose(settings(tracking__uri=f"sqlite:///{file}")), "store")
    assert store.level == "ok"
    assert "will be made by the first run" in store.found
    assert not file.parent.exists()


def test_a_store_is_written_and_left_as_it_was(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with MlflowTracker(uri, experiment="quickstart", run_name="a run"):
        pass
    (store,) = of(diagnose(settings(tracking__uri=uri)), "store")
    assert (store.level, store.found[-9:]) == ("ok", "d deleted")
    (unmade,) = of(diagnose(settings(tracking__uri=uri, tracking__experiment="other")), "store")
    assert "the first run makes experiment 'other'" in unmade.found
    client = MlflowClient(uri)
    assert client.get_experiment_by_name("other") is None
    known = client.get_experiment_by_name("quickstart")
    assert [run.info.run_name for run in client.search_runs([known.experiment_id])] == ["a run"]


def test_what_waits_in_the_spool_is_told(tmp_path: Path) -> None:
    left, going_on = (Spool.new(tmp_path, uri="sqlite:///x.db") for _ in range(2))
    left.put({"do": "metrics"})
    going_on.put({"do": "metrics"})
    left.release()
    assert left_in(tmp_path) == {left.name: 1}
    assert left.folder.exists()
    (spool,) = of(diagnose(settings(tracking__spool=tmp_path)), "spool")
    assert spool.level == "warn"
    assert spool.found.startswith("1 run(s) with 1 entries wait in")
    assert spool.fix == f"msl sync {tmp_path}"
    going_on.discard()


def test_the_table_shows_names_with_brackets_as_they_are() -> None:
    console = Console(width=120)
    with console.capture() as shown:
        console.print(findings_table([Finding("source [x]", "warn", "has [bold] rows", "mend it")]))
    for word in ("source", "warn", "has [bold] rows", "mend it"):
        assert word in shown.get()


def test_the_command_ends_with_1_when_something_would_break_a_run() -> None:
    words = ["doctor", "configs/quickstart.yaml", "--set", "tracking.uri=none"]
    well = CliRunner().invoke(cli.app, words)
    assert (well.exit_code, "source-00" in well.stdout) == (0, True)
    ill = CliRunner().invoke(cli.app, [*words, "--scheduler", "tcp://127.0.0.1:1"])
    assert (ill.exit_code, "scheduler" in ill.stdout) == (1, True)
