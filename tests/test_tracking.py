"""A run as MLflow shows it, and what happens when the store or the block fails."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from conftest import ROOT
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run
from tasks import blobs, held_out, plan

from msl.attacks import SignFlip
from msl.cluster import LocalExecutor
from msl.codecs import LayerWise
from msl.errors import TrackingError
from msl.models import Softmax
from msl.rounds import train
from msl.tracking import (
    NullTracker,
    Tracker,
    active_tracker,
    autolog,
    make_tracker,
    note_of,
)
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
    native = mlflow.sklearn.load_model(model_uri)
    np.testing.assert_array_equal(native.predict(X), model.predict(params, X))
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


def test_a_local_store_that_cannot_be_opened_is_an_error_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match=r"cannot .*file/deep"):
        make_tracker(f"sqlite:///{tmp_path}/file/deep/mlflow.db").__enter__()


class Broken:
    """A store that went away for a while."""

    def __getattr__(self, name: str) -> Any:
        raise OSError("disk full")


def test_an_error_of_the_block_is_raised_whatever_the_store_does(uri: str) -> None:
    def work() -> None:
        with make_tracker(uri) as tracker:
            vars(vars(tracker)["sender"])["client"] = Broken()
            raise ValueError("of the block")

    with pytest.raises(ValueError, match="of the block"):
        work()


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


def test_what_a_store_refuses_does_not_stop_the_work_but_is_told_at_the_end(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    worked = []
    tracker = make_tracker(uri, spool=tmp_path)

    def work() -> None:
        with tracker:
            tracker.log_sources([replace(info(0), name="x" * 501)])
            tracker.log_summary({"what? no": 1.0})
            tracker.log(report(0))
            tracker.log_text("notes.txt", "hello")
            worked.append(True)

    with pytest.raises(TrackingError, match=r"the sources.*500") as told:
        work()
    assert worked
    run = run_of(client, tracker)
    assert run.info.status == "FAILED"
    assert run.data.metrics == report(0).metrics() | {"what_ no": 1.0}
    assert [f.path for f in client.list_artifacts(run.info.run_id)] == ["notes.txt"]
    # The entries that were refused can still be looked at.
    (folder,) = tmp_path.glob("msl-*")
    assert str(folder) in str(told.value)
    (entry,) = (folder / "refused").iterdir()
    assert json.loads(entry.read_text())["datasets"][0]["rows"] == 10


def test_a_run_whose_params_are_refused_is_not_left_open(uri: str, client: MlflowClient) -> None:
    tracker = make_tracker(uri, params={"no:such\nname?": 1}, run_name="refused")
    with pytest.raises(TrackingError), tracker:
        pass
    (run,) = client.search_runs(["1"], "run_name = 'refused'")
    assert run.info.status == "FAILED"


def test_nothing_is_left_behind_by_a_run_that_the_store_has(uri: str, tmp_path: Path) -> None:
    with make_tracker(uri, spool=tmp_path) as tracker:
        tracker.log(report(0))
        tracker.log_text("notes.txt", "hello")
    assert list(tmp_path.iterdir()) == []


def test_the_best_round_on_a_dataset_is_one_query(uri: str, client: MlflowClient) -> None:
    model, rows = Softmax(2, 2), replace(info(7), name="held out")
    with make_tracker(uri, experiment="ranked") as tracker:
        for number in (0, 4, 2):
            tracker.log(report(number))
            params = np.full(model.layout.size, number, np.float32)
            tracker.log_checkpoint(
                number, model, params, example=np.zeros((1, 2), "f4"), dataset=rows
            )
        tracker.log(report(9))
        tracker.log_checkpoint(3, model, params)  # of a round that was not evaluated
    run = run_of(client, tracker)
    best, *others = client.search_logged_models(
        [run.info.experiment_id],
        "metrics.`eval/accuracy` >= 0",
        datasets=[{"dataset_name": "held out", "dataset_digest": rows.digest}],
        order_by=[{"field_name": "metrics.eval/accuracy", "ascending": False}],
    )
    assert (best.name, len(others)) == ("checkpoint-4", 2)
    assert best.source_run_id == run.info.run_id
    (linked,) = [m for m in best.metrics if m.key == "eval/accuracy"]
    assert (linked.value, linked.step, linked.dataset_name) == (0.4, 4, "held out")
    assert len(run.outputs.model_outputs) == 4
    (held_out,) = run.inputs.dataset_inputs
    assert [t.value for t in held_out.tags] == ["evaluation"]
    # Linking a metric to a model does not show it twice in the run's chart.
    assert len(client.get_metric_history(run.info.run_id, "eval/accuracy")) == 4


def test_a_model_is_a_version_of_a_registered_one_on_request(
    uri: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Softmax(2, 2)
    for _ in range(2):
        with make_tracker(uri, register="clinics") as tracker:
            tracker.log_model(
                model, np.zeros(model.layout.size, np.float32), np.zeros((1, 2), np.float32)
            )
    versions = client.search_model_versions("name = 'clinics'")
    assert sorted(int(v.version) for v in versions) == [1, 2]
    assert max(versions, key=lambda v: int(v.version)).run_id == tracker.run_id
    with monkeypatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", uri)
        loaded = mlflow.pyfunc.load_model("models:/clinics/2")
    assert len(loaded.predict(np.zeros((3, 2), np.float32))) == 3


def test_a_run_has_few_metric_names_whatever_the_model(uri: str, client: MlflowClient) -> None:
    deep = replace(report(1), layers={f"block {i}, weight": float(i) for i in range(200)})
    with make_tracker(uri, system_metrics=True) as tracker, LocalExecutor() as executor:
        train(
            plan(rounds=2, codec=LayerWise(small=0)),
            blobs(),
            executor,
            held_out=held_out(),
            tracker=tracker,
        )
        tracker.log(deep)
    found = run_of(client, tracker).data.metrics
    assert "system/cpu_utilization_percentage" in found
    assert "layers/weight" in found
    assert (found["layers/min"], found["layers/max"]) == (0, 199)
    assert len(found) <= 60
    assert {key.partition("/")[0] for key in found} <= {
        *("bytes", "round", "sources", "time", "eval", "layers", "system", "trust", "bound")
    }


def test_the_note_is_the_description_and_says_how_to_run_it_again(
    uri: str, client: MlflowClient
) -> None:
    note = note_of(plan(attack=SignFlip(), corrupted=(1, 3)).describe(), "msl run c.yaml")
    with make_tracker(uri, note=note) as tracker:
        pass
    shown = run_of(client, tracker).data.tags["mlflow.note.content"]
    assert shown == note
    assert "2 corrupted sources (ranks 1, 3) do `sign_flip`" in shown
    assert shown.endswith("    msl run c.yaml")


@pytest.fixture
def users_store(uri: str) -> Iterator[None]:
    # A new file would take seconds to set up; another way to write the same one does not.
    mlflow.set_tracking_uri(uri.replace("/deep/", "/deep/../deep/"))
    try:
        yield
    finally:
        autolog(disable=True)
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("users_store")
def test_autolog_nests_a_run_under_the_users_and_leaves_theirs_alone(
    client: MlflowClient,
) -> None:
    assert isinstance(active_tracker("mine", {}), NullTracker)
    autolog()
    with mlflow.start_run() as own:
        with active_tracker("mine", {"rounds": 3}, "a note") as tracker:
            tracker.log(report(0))
        mlflow.log_metric("theirs", 1.0)
    run = run_of(client, tracker)
    assert run.data.tags["mlflow.parentRunId"] == own.info.run_id
    assert run.info.experiment_id == own.info.experiment_id
    assert (run.info.run_name, run.data.params) == ("mine", {"rounds": "3"})
    assert client.get_run(own.info.run_id).data.metrics == {"theirs": 1.0}
    autolog(disable=True)
    assert isinstance(active_tracker("mine", {}), NullTracker)


@pytest.mark.usefixtures("users_store")
def test_autolog_without_an_active_run_uses_the_users_experiment(client: MlflowClient) -> None:
    autolog()
    with active_tracker("mine", {}) as tracker:
        pass
    run = run_of(client, tracker)
    assert "mlflow.parentRunId" not in run.data.tags
    assert run.info.experiment_id == "0"
