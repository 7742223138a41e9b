"""A server that is away stops no run, and gets all of it once when it is back."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.request import urlopen

import mlflow
import numpy as np
import pytest
from conftest import ROOT
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run

from msl.errors import TrackingError
from msl.models import Softmax
from msl.tracking import flush, make_tracker, spool_of, unfinished
from msl.tracking import queue as queue_module
from msl.tracking.queue import SpoolQueue
from msl.tracking.spool import Spool
from msl.types import Report, SourceInfo

# mlflow's own, from its imports and its tables.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        "The ``noload`` loader strategy is deprecated",
        ".*Any type hint is inferred as AnyType",
    )
]


class Store:
    """Takes entries, or not."""

    def __init__(self) -> None:
        self.got: list[Mapping[str, Any]] = []
        self.error: Exception | None = None
        self.asked = 0
        self.arrived = Event()

    def ready(self) -> None:
        self.asked += 1
        if self.error:
            raise self.error

    def send(self, entry: Mapping[str, Any]) -> None:
        if entry["do"] == "bad":
            raise TrackingError("never")
        self.got.append(entry)
        self.arrived.set()

    @property
    def rows(self) -> list[Any]:
        return [tuple(row) for entry in self.got for row in entry.get("rows", ())]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.new(tmp_path, uri="any")


def started(spool: Spool, store: Store) -> SpoolQueue:
    queue = SpoolQueue(spool, store, "the store", interval=0.002)
    queue.start()
    return queue


def row(number: int) -> queue_module.Row:
    return ("m", float(number), 0, number)


def test_metrics_keep_their_order_and_come_in_batches(spool: Spool) -> None:
    store = Store()
    queue = started(spool, store)
    for start in range(0, 5000, 50):
        queue.put_metrics([row(number) for number in range(start, start + 50)])
    assert queue.close()
    assert store.rows == [row(number) for number in range(5000)]
    assert max(len(entry["rows"]) for entry in store.got) <= 1000


def test_entries_stay_between_the_metrics_before_and_after_them(spool: Spool) -> None:
    store = Store()
    store.error = OSError("away")
    queue = started(spool, store)
    for number in range(3):
        queue.put_metrics([row(number)])
        queue.put({"do": "text", "number": number})
    store.error = None
    assert queue.close()
    assert [e["rows"][0][3] if "rows" in e else e["number"] for e in store.got] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


def test_a_store_that_is_away_is_asked_again_ever_more_slowly_and_told_of_once(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    store.error = OSError("gone")
    queue = started(spool, store)
    queue.put_metrics([row(1), row(2)])
    start = time.monotonic()
    while store.asked < 5:
        time.sleep(0.001)
    assert time.monotonic() - start > 0.002 * (2 + 4 + 8)
    queue.put_metrics([row(3)])
    assert not queue.close()
    told = [r.getMessage() for r in caplog.records if "is away" in r.getMessage()]
    assert len(told) == 1
    assert "gone" in told[0]
    assert str(spool.folder) in told[0]
    waiting = [tuple(r) for _, entry in spool.entries() for r in entry["rows"]]
    assert (waiting, queue.missing) == ([row(1), row(2), row(3)], [])


def test_what_is_refused_is_set_aside_and_the_rest_goes_on(spool: Spool) -> None:
    store = Store()
    queue = started(spool, store)
    queue.put({"do": "bad", "name": "picture"})
    queue.put({"do": "good"})
    assert queue.close()
    assert [entry["do"] for entry in store.got] == ["good"]
    assert queue.missing == ["picture (never)"]
    spool.release()
    assert len(list((spool.folder / "refused").iterdir())) == 1


def test_one_entry_that_fails_does_not_hold_up_the_others(spool: Spool) -> None:
    class Once(Store):
        def send(self, entry: Mapping[str, Any]) -> None:
            if entry["do"] == "hard" and not self.arrived.is_set():
                raise OSError("busy")
            super().send(entry)

    store = Once()
    queue = started(spool, store)
    queue.put({"do": "hard"})
    queue.put({"do": "easy"})
    assert store.arrived.wait(10)
    assert queue.close()
    assert [entry["do"] for entry in store.got] == ["easy", "hard"]


def test_a_full_disk_keeps_metrics_in_memory(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    monkeypatch.setattr("msl.tracking.spool.LIMIT", 10)
    queue = started(spool, store)
    queue.put_metrics([row(1)])
    queue.put({"do": "text", "name": "lost"})
    assert queue.close()
    assert store.rows == [row(1)]
    assert len(queue.missing) == 1
    assert "lost" in queue.missing[0]


def test_the_limit_counts_what_waits_not_what_was(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msl.tracking.spool.LIMIT", 3000)
    for _ in range(10):
        place = spool.place("big.txt")
        place.write_text("x" * 2000)
        spool.keep({"do": "file"}, place)
        for path, entry in spool.entries():
            assert (spool.folder / entry["file"]).read_text() == "x" * 2000
            spool.drop(path, entry)
    place = spool.place("too big.txt")
    place.write_text("x" * 4000)
    with pytest.raises(OSError, match="holds"):
        spool.keep({"do": "file"}, place)
    assert not place.exists()
    spool.release()
    assert not spool.folder.exists()


def test_a_folder_is_worked_on_by_one_at_a_time(spool: Spool) -> None:
    assert Spool.take(spool.folder) is None
    spool.put({"do": "text"})
    spool.release()
    taken = Spool.take(spool.folder)
    assert taken is not None
    taken.put({"do": "more"})
    assert [entry["do"] for _, entry in taken.entries()] == ["text", "more"]
    assert taken.facts == {"uri": "any"}


def test_putting_does_not_wait_for_a_slow_store(spool: Spool) -> None:
    class Slow(Store):
        def send(self, entry: Mapping[str, Any]) -> None:
            super().send(entry)
            time.sleep(0.5)

    store = Slow()
    queue = started(spool, store)
    queue.put_metrics([row(0)])
    assert store.arrived.wait(10)
    took = []
    for number in range(20):
        start = time.perf_counter()
        queue.put_metrics([row(number)])
        took.append(time.perf_counter() - start)
    assert np.median(took) < 1e-3  # one call may meet a busy machine
    assert queue.close()


class Server:
    """A real `mlflow server` that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Start it if it is down, and wait until it answers."""
        if self.process:
            return
        command = [
            sys.executable, "-m", "mlflow", "server", "--workers", "1",
            "--host", "127.0.0.1", "--port", str(self.port),
            "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
            "--artifacts-destination", str(self.folder / "artifacts"),
        ]  # fmt: skip
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while True:
            try:
                urlopen(f"{self.uri}/health", timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)

    def down(self) -> None:
        """Kill it and its worker."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server that may be down; starting it takes seconds, hence one for all."""
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        yield server
    finally:
        server.down()


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


MODEL = Softmax(2, 2)
PARAMS = np.arange(MODEL.layout.size, dtype=np.float32)
SOURCES = [SourceInfo("a", 10, 2, (0, 1), "0" * 16)]


def report(number: int) -> Report:
    return Report(
        round=number,
        participants=(0, 1),
        given=(0.5, 0.5),
        source_loss=(1.0, 3.0),
        dropped={},
        bytes_up=100,
        bytes_down=400,
        bytes_up_dense=800,
        bytes_total=500,
        step_norm=0.25,
        accuracy=number / 100,
    )


def log_all(tracker: Any, start: int) -> None:
    """Let a tracker hear ten rounds and one of everything else."""
    for number in range(start, start + 10):
        tracker.log(report(number))
    figure = Figure()
    figure.subplots().plot([0, 1])
    tracker.log_sources(SOURCES)
    tracker.log_table("sources.json", {"source": ["a"], "rows": [np.int64(1)]})
    tracker.log_text("notes/plan.yaml", "rounds: 3\n")
    tracker.log_figure("curve.png", figure)
    tracker.log_checkpoint(start + 9, MODEL, PARAMS, example=np.zeros((1, 2), "f4"))


def seen(client: MlflowClient, run: Run) -> tuple[Any, ...]:
    """Return all that `log_all` leaves, so that anything sent twice would show."""
    run_id = run.info.run_id
    history = client.get_metric_history(run_id, "eval/accuracy")
    models = client.search_logged_models([run.info.experiment_id])
    mine = sorted(m.name for m in models if m.source_run_id == run_id)
    tables = json.loads(run.data.tags["mlflow.loggedArtifacts"])
    files = sorted(file.path for file in client.list_artifacts(run_id))
    steps = [(m.step, m.value) for m in history]
    inputs = [i.dataset.name for i in run.inputs.dataset_inputs]
    return run.info.status, sorted(steps), inputs, files, [t["path"] for t in tables], mine


def expected(status: str, rounds: int, models: list[str]) -> tuple[Any, ...]:
    steps = [(number, number / 100) for number in range(rounds)]
    return status, steps, ["a"], ["curve.png", "notes", "sources.json"], ["sources.json"], models


def until(there: Callable[[], Any]) -> None:
    """Return when something is there; a busy machine takes its time."""
    stop = time.monotonic() + 60
    while not there():
        assert time.monotonic() < stop
        time.sleep(0.05)


def dead_run(server: Server, waiting: Path) -> None:
    """Run a parent and two children without a server; the second is killed."""
    with make_tracker(server.uri, run_name="parent", spool=waiting) as parent:
        with make_tracker(
            server.uri, run_name="child", spool=waiting, parent=parent.run_id, params={"a": 1}
        ) as child:
            log_all(child, 0)
            child.log_model(MODEL, PARAMS, np.zeros((1, 2), "f4"))
        killed = make_tracker(server.uri, run_name="dead", spool=waiting, parent=parent.run_id)
        killed.__enter__()
        killed.log(report(0))
        vars(killed)["queue"].close()
        os.close(vars(vars(killed)["spool"])["_lock"])  # what the system does for a dead process


def test_a_server_dead_from_the_start_stops_nothing_and_gets_all_of_it_once_by_a_flush(
    server: Server, waiting: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.down()
    start = time.monotonic()
    with caplog.at_level(logging.WARNING, "msl"):
        dead_run(server, waiting)
        assert unfinished(server.uri, "msl", "any").outcomes == {}
    assert time.monotonic() - start < 60  # the store's own client would try for minutes
    messages = [r.getMessage() for r in caplog.records]
    assert sum("is away" in m for m in messages) == 3
    assert sum(f"msl sync {waiting}" in m for m in messages) == 2  # the killed one cannot say it
    kept = flush(server.uri, waiting)
    assert (kept.sent, kept.refused, len(kept.waiting)) == ((), (), 3)

    server.up()
    assert flush("http://127.0.0.1:1", waiting).sent == ()  # not meant for that store
    found = flush(server.uri, waiting)
    assert (len(found.sent), found.waiting, found.refused) == (3, {}, ())
    assert list(waiting.iterdir()) == []
    assert flush(server.uri, waiting).sent == ()

    client = MlflowClient(server.uri)
    runs = {run.info.run_name: run for run in client.search_runs(["1"])}
    assert runs["parent"].info.status == "FINISHED"
    for name in ("child", "dead"):
        assert runs[name].data.tags["mlflow.parentRunId"] == runs["parent"].info.run_id
    assert runs["child"].data.params == {"a": "1"}
    assert seen(client, runs["child"]) == expected("FINISHED", 10, ["checkpoint-9", "model"])
    assert runs["dead"].info.status == "KILLED"
    assert runs["dead"].data.metrics == report(0).metrics()
    mlflow.set_tracking_uri(server.uri)
    try:
        loaded = mlflow.pyfunc.load_model(runs["child"].data.tags["msl.model_uri"])
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    X = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(loaded.predict(X), MODEL.predict(PARAMS, X))


def test_a_server_killed_in_the_middle_gets_the_whole_run_when_it_is_back(
    server: Server, waiting: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queue_module, "LONGEST", 1.0)
    server.up()
    client = MlflowClient(server.uri)
    with make_tracker(server.uri, run_name="middle", spool=waiting) as tracker:
        folder = vars(tracker)["spool"].folder
        for number in range(10):
            tracker.log(report(number))
        until(lambda: tracker.run_id and client.get_run(tracker.run_id).data.metrics)
        server.down()
        log_all(tracker, 10)
        until(lambda: "is away" in caplog.text and list(folder.glob("[0-9]*.json")))
        server.up()
        log_all(tracker, 20)
        until(lambda: not list(folder.glob("[0-9]*.json")))  # before the end of the run
    assert tracker.run_id is not None
    run = client.get_run(tracker.run_id)
    assert seen(client, run) == expected("FINISHED", 30, ["checkpoint-19", "checkpoint-29"])
    assert list(waiting.iterdir()) == []
    told = [r for r in caplog.records if "is away" in r.getMessage()]
    assert len(told) == 1


def test_a_late_end_does_not_undo_what_became_of_the_run_since(
    server: Server, waiting: Path
) -> None:
    server.up()
    dead = make_tracker(server.uri, spool=waiting)
    dead.__enter__()
    vars(dead)["queue"].close()
    os.close(vars(vars(dead)["spool"])["_lock"])
    with make_tracker(server.uri, spool=waiting, resume=dead.run_id) as again:
        again.log(report(0))
    assert again.run_id == dead.run_id is not None
    assert flush(server.uri, waiting).sent == (dead.run_id,)
    run = MlflowClient(server.uri).get_run(dead.run_id)
    assert (run.info.status, run.data.metrics["bytes/up"]) == ("FINISHED", 100)


def test_sending_every_entry_twice_is_sending_it_once(
    server: Server, waiting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msl.tracking.mlflow.sender import StoreSender

    server.up()
    send = StoreSender.send

    def twice(self: StoreSender, entry: Mapping[str, Any]) -> None:
        send(self, entry)
        send(self, entry)

    with monkeypatch.context() as patched:
        patched.setattr(StoreSender, "send", twice)
        with make_tracker(server.uri, spool=waiting, register="twice") as tracker:
            log_all(tracker, 0)
            tracker.log_model(MODEL, PARAMS, np.zeros((1, 2), "f4"))
    client = MlflowClient(server.uri)
    assert tracker.run_id is not None
    run = client.get_run(tracker.run_id)
    assert seen(client, run) == expected("FINISHED", 10, ["checkpoint-9", "model"])
    assert len(client.search_runs(["1"], f"tags.`msl.run` = '{run.data.tags['msl.run']}'")) == 1
    (version,) = client.search_model_versions("name = 'twice'")
    assert version.run_id == tracker.run_id


def test_a_spool_lies_beside_a_file_and_in_runs_for_a_server() -> None:
    assert spool_of("sqlite:///deep/mlflow.db") == Path("deep/spool")
    assert spool_of("http://host:5000") == Path("runs/spool")


def test_a_database_that_is_away_is_waited_for_and_its_password_told_to_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    start = time.monotonic()
    with make_tracker("postgresql://me:secret@127.0.0.1:9/runs", spool=tmp_path) as tracker:
        tracker.log(report(0))
        folder = vars(tracker)["spool"].folder
    assert time.monotonic() - start < 30  # the database's own client would try for minutes
    assert (folder.stat().st_mode & 0o777, len(list(folder.glob("[0-9]*.json")))) == (0o700, 3)
    assert "me:***@127.0.0.1" in caplog.text
    assert "secret" not in caplog.text + "".join(capfd.readouterr())
    assert set(flush(None, tmp_path).waiting) == {folder.name}
    assert flush(None, tmp_path).sent == ()


def test_a_store_that_says_no_is_not_one_that_is_away(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        with connection.accept()[0] as asked:
            asked.recv(65536)
            body = b'{"error_code": "PERMISSION_DENIED", "message": "who are you?"}'
            head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
            asked.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)

    def serve() -> None:
        with suppress(OSError):
            while True:
                answer(listening)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=serve, daemon=True).start()
        uri = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(TrackingError, match="who are you"):
            make_tracker(uri, spool=tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == []
