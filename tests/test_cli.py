"""The command line, end to end: real worker processes, a real store, exit codes."""

import subprocess
import sys

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from msl import cli

# MLflow's own queries, not ours.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

SMALL = [
    "--set",
    "rounds=4",
    "--set",
    "compare={aggregator: [mean, {name: trimmed_mean, f: 6}]}",
]


def call(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "msl.cli", *arguments], capture_output=True, text=True, timeout=200
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A small quick start on two worker processes, and its store."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    done = call("compare", "configs/quickstart.yaml", *SMALL, "--set", f"tracking.uri={uri}")
    assert done.returncode == 0, done.stderr
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("quickstart")
    runs = client.search_runs([experiment.experiment_id])
    return done, client, {run.info.run_name: run for run in runs}


def test_the_table_names_every_cell_and_says_how_to_look(compared):
    printed = compared[0].stdout
    for cell in ("pooled_clean", "local_only", "mean", "trimmed_mean"):
        assert cell in printed
    assert "6.91x" in printed
    assert "msl ui" in printed


def test_nothing_is_said_on_stderr_but_by_a_slow_machines_nanny(compared):
    said = [line for line in compared[0].stderr.splitlines() if "distributed.nanny" not in line]
    assert said == []


def test_one_parent_and_a_finished_child_per_cell(compared):
    _, _, runs = compared
    parent = runs["quickstart"].info.run_id
    children = {"pooled_clean", "local_only", "mean", "trimmed_mean"}
    assert set(runs) == {"quickstart", *children}
    assert all(run.info.status == "FINISHED" for run in runs.values())
    assert all(runs[c].data.tags["mlflow.parentRunId"] == parent for c in children)


def test_every_round_of_a_child_is_in_the_store(compared):
    _, client, runs = compared
    run = runs["trimmed_mean"]
    for key in ("eval/accuracy", "eval/loss", "bytes/up", "bytes/total", "sources/loss_std"):
        history = client.get_metric_history(run.info.run_id, key)
        assert sorted(point.step for point in history) == [0, 1, 2, 3], key
    assert run.data.metrics["bytes/up"] == 20 * (32 + 2 * 8 + 328)
    assert run.data.metrics["bytes/ratio"] == pytest.approx(2600 / 376)
    assert len(run.data.metrics) <= 60


def test_plan_config_sources_and_model_are_with_the_child(compared):
    _, client, runs = compared
    run = runs["trimmed_mean"]
    assert run.data.params["aggregator.name"] == "trimmed_mean"
    assert run.data.params["codec.codec.bits"] == "4"
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "plan.yaml", "trust.json"} <= files
    assert run.data.tags["msl.model_uri"]
    assert len(run.inputs.dataset_inputs) == 20
    parent = {file.path for file in client.list_artifacts(runs["quickstart"].info.run_id)}
    assert {"comparison.json", "accuracy_by_round.png", "report.html"} <= parent


def test_run_trains_one_model_in_this_process(capsys, monkeypatch):
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "msl",
            "run",
            "configs/quickstart.yaml",
            "--set",
            "rounds=2",
            "--set",
            "cluster.workers=0",
            "--set",
            "tracking.uri=none",
        ],
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert "quickstart" in capsys.readouterr().out


def test_run_joins_a_running_cluster(cluster):
    address = cluster.scheduler.address
    options = ["--set", "rounds=2", "--set", "tracking.uri=none"]
    done = call("run", "configs/quickstart.yaml", "--scheduler", address, *options)
    assert done.returncode == 0, done.stderr
    assert len(cluster.scheduler_info(n_workers=-1)["workers"]) == 2


def test_a_mistake_is_one_line_and_exit_code_2(capsys, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["msl", "run", "configs/quickstart.yaml", "--set", "codec.bitz=4"]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1
    assert "configs/quickstart.yaml: codec" in told
    assert "bitz" in told


@pytest.mark.parametrize("family", list(cli.FAMILIES))
def test_list_shows_every_member_with_a_line(family):
    shown = CliRunner().invoke(cli.app, ["list", family])
    assert shown.exit_code == 0
    for name in cli.FAMILIES[family]:
        line = next(x for x in shown.stdout.splitlines() if x.split()[:1] == [name])
        assert len(line.split()) > 3


def test_ui_calls_mlflow_on_the_store(monkeypatch):
    called = []
    monkeypatch.setattr(cli, "call", lambda command: called.append(command) or 0)
    assert CliRunner().invoke(cli.app, ["ui", "--port", "5001"]).exit_code == 0
    assert called[0][1:] == [
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        "sqlite:///runs/mlflow.db",
        "--port",
        "5001",
    ]


def test_the_list_of_codecs_says_what_they_cost_and_need(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    shown = CliRunner().invoke(cli.app, ["list", "codecs"]).stdout.splitlines()
    line = {x.split()[0]: x for x in shown[1:] if x.split()}
    assert "4.13 bits" in line["maxmin"]
    for needed in ("0.64 bits", "needs error_feedback"):
        assert needed in line["topk"]
    for needed in ("9.00 bits", "unbiased"):
        assert needed in line["natural"]
