"""`mlflow run mlflow -e ...`: each entry point does its work, and keeps it in the store named."""

import csv
from pathlib import Path

from mlflow import MlflowClient
from served import CELLS, GRID, ROOT, run


def start(entry: str, home: str, **parameters: str) -> str:
    """Run an entry point; `home` is where MLflow keeps its own run."""
    given = [part for name, value in parameters.items() for part in ("-P", f"{name}={value}")]
    return run(
        "mlflow", "run", str(ROOT / "mlflow"), "-e", entry, "--env-manager", "local", *given,
        MLFLOW_TRACKING_URI=home,
    )  # fmt: skip


def names(store: str) -> list[str]:
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("small_grid")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {found.info.status for found in runs} == {"FINISHED"}
    return sorted(str(found.info.run_name) for found in runs)


def test_run_and_compare(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    start("run", store, config=str(GRID), store=store)
    assert names(store) == ["small_grid"]
    start("compare", store, config=str(GRID), store=store)
    assert names(store) == sorted(["small_grid", "small_grid", *CELLS])


def test_clean(tmp_path: Path) -> None:
    store, out = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "trust"
    start("clean", store, config=str(GRID), out=str(out), store=store)
    assert names(store) == ["small_grid clean"]
    with (out / "trust.csv").open() as table:
        judged = [row["name"] for row in csv.DictReader(table)]
    assert len(judged) == 10
    page = (out / "trust.html").read_text()
    assert all(name in page for name in judged)
