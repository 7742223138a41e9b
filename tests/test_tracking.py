"""A run as MLflow shows it, and what happens when the store or the block fails."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import mlflow
import numpy as np
import pytest
from conftest import ROOT
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run

from msl.errors import TrackingError
from msl.models import Softmax
from msl.tracking import NullTracker, Tracker, make_tracker
from msl.tracking.queue import MetricQueue
from msl.types import Report, SourceInfo

# mlflow's own, from its imports and its tables.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        "The ``noload`` loader strategy is deprecated",
        ".*Any type hint is inferred as AnyType",
        "For backward compatibility, 'str' dtypes are included by select_dtypes",
    )
]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    # The first run in a new file makes its tables, which takes seconds; hence one for all.
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'deep' / 'mlflow.db'}"


@pytest.fixture(scope="module")
def client(uri: str) -> MlflowClient:
    with make_tracker(uri):
        return MlflowClient(uri)


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """No test may leave a global of mlflow or a log level changed."""

    def state() -> tuple[Any, ...]:
        levels = [logging.getLogger(n).level for n in ("mlflow.pyfunc", "alembic")]
        patience = os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
        return mlflow.is_tracking_uri_set(), mlflow.get_tracking_uri(), levels, patience

    before = state()
    yield
    assert state() == before


def report(number: int) -> Report:
    return Report(
        round=number,
        participants=(0, 1),
        given=(0.5, 0.5),
        source_loss=(1.0, 3.0),
        dropped={2: "late"},
        bytes_up=100,
        bytes_down=400,
        bytes_up_dense=800,
        bytes_total=500 * (number + 1),
        step_norm=0.25,
        seconds={"solve": 0.5},
        accuracy=number / 10,
    )


def info(rank: int) -> SourceInfo:
    return SourceInfo(f"s{rank}", 10 + rank, 4, (0, 1), f"{rank:016x}", 'a "quoted" place')


def run_of(client: MlflowClient, tracker: Tracker) -> Run:
    assert tracker.run_id is not None
    return client.get_run(tracker.run_id)


def test_every_metric_of_every_round_arrives_with_its_step(uri: str, client: MlflowClient) -> None:
    with make_tracker(uri) as tracker:
        for number in range(120):  # more metrics than one batch takes
            tracker.log(report(number))
        tracker.log_summary({"final/accuracy": 0.75})
    run = run_of(client, tracker)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == report(119).metrics() | {"final/accuracy": 0.75}
    history = client.get_metric_history(run.info.run_id, "eval/accuracy")
    assert sorted((m.step, m.value) for m in history) == [(n, n / 10) for n in range(120)]


def test_nested_params_get_dotted_names_and_tags_are_kept(uri: str, client: MlflowClient) -> None:
    params = {
        "codec": {"name": "maxmin", "inner": {"bits": 4}},
        "many": {f"p{i}": i for i in range(150)},
        "long": "x" * 9000,
    }
    with make_tracker(uri, params=params, tags={"colour": "red"}, run_name="named") as tracker:
        pass
    run = run_of(client, tracker)
    found = run.data.params
    assert (found["codec.name"], found["codec.inner.bits"]) == ("maxmin", "4")
    assert (found["many.p149"], found["long"]) == ("149", "x" * 6000)
    assert len(found) == 153
    assert (run.data.tags["colour"], run.info.run_name) == ("red", "named")


def test_a_child_names_its_parent(uri: str, client: MlflowClient) -> None:
    with make_tracker(uri) as parent, make_tracker(uri, parent=parent.run_id) as child:
        pass
    assert run_of(client, child).data.tags["mlflow.parentRunId"] == parent.run_id


def fail_in(tracker: Tracker, error: BaseException) -> None:
    with tracker:
        tracker.log(report(0))
        raise error


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("broken block"), "FAILED"), (KeyboardInterrupt("Ctrl-C"), "KILLED")],
)
def test_an_error_ends_the_run_with_metrics_status_and_traceback(
    uri: str, client: MlflowClient, error: BaseException, status: str
) -> None:
    tracker = make_tracker(uri)
    with pytest.raises(type(error), match=str(error)):
        fail_in(tracker, error)
    run = run_of(client, tracker)
    assert run.info.status == status
    assert run.data.metrics["bytes/up"] == 100
    text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/traceback.txt")
    assert repr(error).split("(")[0] in text
    assert "raise error" in text


def test_sources_become_inputs_with_digest_and_size(uri: str, client: MlflowClient) -> None:
    with make_tracker(uri) as tracker:
        tracker.log_sources([info(rank) for rank in range(3)])
    inputs = run_of(client, tracker).inputs.dataset_inputs
    found = {i.dataset.name: i for i in inputs}
    assert {name: i.dataset.digest for name, i in found.items()} == {
        info(rank).name: info(rank).digest for rank in range(3)
    }
    assert found["s2"].dataset.profile == '{"num_rows": 12, "num_features": 4}'
    assert found["s2"].dataset.source == '{"place": "a \\"quoted\\" place"}'
    assert [(t.key, t.value) for t in found["s2"].tags] == [("mlflow.data.context", "training")]


def test_more_than_100_sources_are_one_input_whose_digest_is_of_all(
    uri: str, client: MlflowClient
) -> None:
    with make_tracker(uri) as tracker:
        tracker.log_sources([info(rank) for rank in range(101)])
    (only,) = run_of(client, tracker).inputs.dataset_inputs
    assert only.dataset.name == "101 sources"
    assert only.dataset.profile == '{"num_rows": 6060, "num_features": 4}'
    # Written down: hash() of strings would be another number in every process.
    assert only.dataset.digest == "9462abe8d23c8ee7"


def test_artifacts_lie_beside_the_sqlite_file(uri: str, client: MlflowClient) -> None:
    figure = Figure()
    figure.subplots().plot([0, 1])
    with make_tracker(uri, experiment="pictures") as tracker:
        tracker.log_text("notes/plan.yaml", "rounds: 3\n")
        tracker.log_table("sources.json", {"source": ["a", "b"], "rows": [1, 2]})
        tracker.log_figure("curve.png", figure)
    place = Path(uri.removeprefix("sqlite:///")).parent / "artifacts" / "pictures"
    artifacts = place / str(tracker.run_id) / "artifacts"
    assert (artifacts / "notes" / "plan.yaml").read_text() == "rounds: 3\n"
    assert (artifacts / "curve.png").read_bytes().startswith(b"\x89PNG")
    table = json.loads((artifacts / "sources.json").read_text())
    assert table == {"columns": ["source", "rows"], "data": [["a", 1], ["b", 2]]}
    logged = run_of(client, tracker).data.tags["mlflow.loggedArtifacts"]
    assert "sources.json" in logged  # what makes the UI show a table


def test_the_model_loads_by_its_uri_and_predicts_the_same(
    uri: str,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    draw = np.random.default_rng(0)
    model = Softmax(6, 3)
    params = draw.standard_normal(model.layout.size).astype(np.float32)
    X = draw.standard_normal((50, 6)).astype(np.float32)
    with make_tracker(uri) as tracker:
        capfd.readouterr()
        tracker.log_model(model, params, X[:5])
        assert capfd.readouterr() == ("", "")
    model_uri = run_of(client, tracker).data.tags["msl.model_uri"]

    entry = client.get_logged_model(model_uri.removeprefix("models:/"))
    assert entry.experiment_id == run_of(client, tracker).info.experiment_id
    assert entry.status == "READY"
    assert str(Path(uri.removeprefix("sqlite:///")).parent) in entry.artifact_location
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    loaded = mlflow.pyfunc.load_model(model_uri)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(params, X))
    assert loaded.metadata.signature.inputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, 6)
    np.testing.assert_array_equal(loaded.input_example, X[:5])
    wanted = Path(mlflow.pyfunc.get_model_dependencies(model_uri)).read_text().split()
    assert [line.split("==")[0] for line in wanted] == [
        "mlflow",
        "msl",
        "numpy",
        "scikit-learn",
        "torch",
    ]
    # No index holds a version with a local label, such as 2.13.0+cpu.
    assert not any("+" in line for line in wanted)


def test_a_users_own_run_and_uri_are_not_disturbed(uri: str, client: MlflowClient) -> None:
    # A new file would take seconds to set up; another way to write the same one does not.
    users = uri.replace("/deep/", "/deep/../deep/")
    mlflow.set_tracking_uri(users)
    try:
        with mlflow.start_run() as own:
            with make_tracker(uri) as tracker:
                tracker.log(report(0))
                tracker.log_model(Softmax(2, 2), np.zeros(3, np.float32), np.zeros((1, 2), "f4"))
            active = mlflow.active_run()
            assert active is not None
            assert active.info.run_id == own.info.run_id != tracker.run_id
            assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == users
            mlflow.log_metric("mine", 1.0)
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    assert client.get_run(own.info.run_id).data.metrics == {"mine": 1.0}
    assert "mine" not in run_of(client, tracker).data.metrics


def test_an_unreachable_server_is_named_soon() -> None:
    start = time.monotonic()
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9[^9]"):
        make_tracker("http://127.0.0.1:9").__enter__()
    assert time.monotonic() - start < 20


class Broken:
    """A store that went away."""

    def __getattr__(self, name: str) -> Any:
        raise OSError("disk full")


def break_in(tracker: Tracker, error: Exception | None = None) -> None:
    with tracker:
        vars(tracker)["client"] = Broken()
        if error:
            raise error


def lose_metrics_in(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    with tracker:
        monkeypatch.setattr(vars(tracker)["client"], "log_batch", Broken().__getattr__)
        tracker.log(report(0))


def test_a_store_that_fails_after_the_work_is_an_error(uri: str) -> None:
    with pytest.raises(TrackingError, match="disk full"):
        break_in(make_tracker(uri))


def test_an_error_of_the_block_hides_one_of_the_store(uri: str) -> None:
    with pytest.raises(ValueError, match="of the block"):
        break_in(make_tracker(uri), ValueError("of the block"))


def test_metrics_that_never_arrived_are_an_error(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = len(report(0).metrics())
    with pytest.raises(TrackingError, match=f"did not take all of run .*{lost} metrics"):
        lose_metrics_in(make_tracker(uri), monkeypatch)


def test_the_queue_keeps_the_order_and_splits_into_batches() -> None:
    batches: list[list[int]] = []
    queue = MetricQueue(batches.append, interval=0.001)
    for start in range(0, 5000, 50):
        queue.put(list(range(start, start + 50)))
    assert queue.close() == 0
    assert [number for batch in batches for number in batch] == list(range(5000))
    assert max(map(len, batches)) <= 1000


def test_the_queue_offers_again_what_was_refused() -> None:
    calls, got, arrived = [], [], Event()

    def send(batch: list[int]) -> None:
        calls.append(batch)
        if len(calls) <= 2:
            raise OSError("busy")
        got.extend(batch)
        arrived.set()

    queue = MetricQueue(send, interval=0.001)
    queue.put([1, 2, 3])
    assert arrived.wait(10)
    queue.put([4])
    assert queue.close() == 0
    assert got == [1, 2, 3, 4]


def test_the_queue_says_once_that_it_cannot_send_and_counts_what_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[int] = []

    def refuse(batch: list[int]) -> None:
        tried.append(len(batch))
        raise OSError("gone")

    queue = MetricQueue(refuse, interval=0.001)
    queue.put([1, 2])
    while len(tried) < 3:
        time.sleep(0.001)
    queue.put([3])
    assert queue.close() == 3
    assert [r.getMessage() for r in caplog.records if "no metrics for now" in r.getMessage()] == [
        "the tracking store takes no metrics for now: gone"
    ]


def test_putting_does_not_wait_for_a_slow_store() -> None:
    sending = Event()

    def send(_: list[int]) -> None:
        sending.set()
        time.sleep(0.5)

    queue = MetricQueue(send, interval=0.001)
    queue.put([0])
    assert sending.wait(10)
    took = []
    for number in range(20):
        start = time.perf_counter()
        queue.put([number])
        took.append(time.perf_counter() - start)
    assert np.median(took) < 1e-3  # one call may meet a busy machine
    assert queue.close() == 0


@pytest.mark.parametrize("uri", [None, "none"])
def test_no_store_is_a_tracker_that_keeps_nothing(uri: str | None) -> None:
    with make_tracker(uri, experiment="any") as tracker:
        tracker.log(report(0))
        tracker.log_sources([info(0)])
    assert isinstance(tracker, NullTracker)
    assert tracker.run_id is None


def test_importing_the_family_leaves_mlflow_out() -> None:
    code = "import sys, msl.tracking; print('mlflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "False\n", done.stderr


def test_a_store_that_refuses_something_does_not_stop_the_work_but_is_told_at_the_end(
    uri: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked = []
    tracker = make_tracker(uri)

    def work() -> None:
        with tracker:
            monkeypatch.setattr(vars(tracker)["client"], "log_inputs", Broken().__getattr__)
            monkeypatch.setattr(vars(tracker)["client"], "log_text", Broken().__getattr__)
            tracker.log_sources([info(0)])
            tracker.log_text("notes.txt", "hello")
            tracker.log(report(0))
            worked.append(True)

    with pytest.raises(TrackingError, match=r"the sources.*notes\.txt"):
        work()
    assert worked
    run = run_of(client, tracker)
    assert run.info.status == "FAILED"
    assert "bytes/up" in run.data.metrics


def test_a_run_whose_params_are_refused_is_not_left_open(uri: str, client: MlflowClient) -> None:
    tracker = make_tracker(uri, params={"no:such\nname?": 1})
    with pytest.raises(TrackingError), tracker:
        pass
    assert run_of(client, tracker).info.status == "FAILED"
