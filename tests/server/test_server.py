"""A comparison through a real tracking server: what `msl compare` sent is what comes back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from served import CELLS, compare, serving


class Compared(NamedTuple):
    client: MlflowClient
    parent: Run
    children: dict[str, Run]

    def fetch(self, artifact: str, folder: Path) -> Path:
        run = self.parent.info.run_id
        return Path(self.client.download_artifacts(run, artifact, str(folder)))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def compared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Compared]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        store = f"sqlite:///{folder / 'mlflow.db'}"
    else:
        store = request.getfixturevalue("postgresql")
    with serving(folder, store) as address:
        compare(address)
        client = MlflowClient(address)
        experiment = client.get_experiment_by_name("small_grid")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        (parent,) = (run for run in runs if run not in children)
        yield Compared(client, parent, {run.info.run_name: run for run in children})


def test_it_is_one_parent_and_a_child_per_cell(compared: Compared) -> None:
    assert compared.parent.info.run_name == "small_grid"
    assert sorted(compared.children) == sorted(CELLS)
    for run in (compared.parent, *compared.children.values()):
        assert run.info.status == "FINISHED"
    for run in compared.children.values():
        assert run.data.tags["mlflow.parentRunId"] == compared.parent.info.run_id


def test_the_whole_plan_is_in_the_params_of_a_child(compared: Compared) -> None:
    params = compared.children["meamed sign_flip"].data.params
    assert params["aggregator.name"] == "meamed"
    assert params["aggregator.f"] == "3"
    assert params["attack.name"] == "sign_flip"
    assert params["rounds"] == "20"


def test_every_round_of_a_metric_comes_back(compared: Compared) -> None:
    run = compared.children["median label_flip"]
    for key in ("eval/accuracy", "eval/loss", "bytes/up", "time/round"):
        history = compared.client.get_metric_history(run.info.run_id, key)
        assert [metric.step for metric in history] == list(range(20))
    assert run.data.metrics["eval/accuracy"] > 0.8
    assert len(run.data.metrics) <= 60


def test_the_ranking_comes_back_as_a_table(compared: Compared, tmp_path: Path) -> None:
    table = json.loads(compared.fetch("ranking.json", tmp_path).read_text())
    names = [dict(zip(table["columns"], row, strict=True))["name"] for row in table["data"]]
    assert set(names) == {"mean", "median", "meamed"}
    assert names[-1] == "mean"


def test_the_heat_map_comes_back_as_a_picture(compared: Compared, tmp_path: Path) -> None:
    listed = compared.client.list_artifacts(compared.parent.info.run_id, "heat")
    (heat,) = (file.path for file in listed if file.path.endswith(".png"))
    assert compared.fetch(heat, tmp_path).read_bytes().startswith(b"\x89PNG")


def test_artifacts_go_through_the_server(compared: Compared) -> None:
    for run in (compared.parent, *compared.children.values()):
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")


def test_every_child_has_a_model_with_a_signature(compared: Compared) -> None:
    found = compared.client.search_logged_models([compared.parent.info.experiment_id])
    assert {model.source_run_id for model in found} == {
        run.info.run_id for run in compared.children.values()
    }
