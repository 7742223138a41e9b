"""A grid of any axes, ranked by the worst case, that goes on where it broke off."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from tasks import blob

from msl import comparison as comparing
from msl.cluster import DaskExecutor, LocalExecutor
from msl.comparison import run_grid
from msl.config import ClusterConfig, load_config
from msl.errors import PlanError
from msl.grid import cells_of, label
from msl.outcome import Outcome
from msl.ranking import heat, ranking

GRID = """
rounds: 2
data: {loader: 'tasks:blob', sources: 7, held_out_file: {name: held, path: held.csv, target: y}}
model: {name: softmax, n_features: 6, n_classes: 3}
corrupted: 2
attack: sign_flip
compare:
  aggregator: [mean, {name: trimmed_mean, f: corrupted}, {name: nnm, f: 2, then: median}]
  attack: [{name: sign_flip, scale: 1.0}, {name: sign_flip, scale: 9.0}]
  algorithm.lr: [0.1]
  seed: [0, 1]
"""

# Every cell that runs is a run in the store: as few as one axis that decides and one of seeds.
FEW = """
  aggregator: [mean, {name: nnm, f: 2, then: median}]
  attack: [{name: sign_flip, scale: 9.0}]
  algorithm.lr: [0.1]
  seed: [0, 1]
"""

# Loaders of this folder, in another process.
REACHING = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}


@pytest.fixture
def grid(tmp_path):
    """Return a configuration of 12 cells."""
    return written(GRID, tmp_path, "none", "grid")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return the URI of a store for experiments of many names: a new one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/runs.db"


@pytest.fixture
def few(tmp_path, store, request):
    """Return a configuration of 4 cells, an experiment of its own."""
    grid = GRID.partition("compare:")[0] + "compare:" + FEW
    return written(grid, tmp_path, store, request.node.name)


def written(grid, folder, store, experiment):
    X, y = blob(99, 60)
    pd.DataFrame(X).add_prefix("x").assign(y=y).to_csv(folder / "held.csv", index=False)
    file = folder / "grid.yaml"
    file.write_text(grid.replace("path: held.csv", f"path: {folder}/held.csv"))
    return load_config(file, [f"tracking={{uri: '{store}', experiment: {experiment}}}"])


def test_axes_may_lie_deep_and_labels_are_distinct(grid):
    cells = cells_of(grid)
    assert len({cell.name for cell in cells}) == len(cells) == 12
    assert cells[-1].name == "nnm+median sign_flip(9.0) lr=0.1 seed=1"
    assert cells[0].config.algorithm == {"name": "fedavg", "lr": 0.1}
    assert cells[4].config.plan().aggregator.f == 2
    assert cells[4].labels == {
        "aggregator": "trimmed_mean",
        "attack": "sign_flip(1.0)",
        "algorithm.lr": "lr=0.1",
        "seed": "seed=0",
    }


def test_a_part_is_called_by_its_name_and_what_it_wraps():
    assert label("codec", {"name": "error_feedback", "codec": {"name": "sign"}}) == (
        "error_feedback+sign"
    )
    assert label("aggregator", {"name": "krum", "f": 2}, full=True) == "krum(2)"


def test_cells_never_share_a_name(grid):
    def named(axis, values):
        return [c.name for c in cells_of(grid.model_copy(update={"compare": {axis: values}}))]

    close = [{"name": "fedavg", "epochs": 1}, {"name": "fedavg", "batch": 1}]
    assert len(set(named("algorithm", close))) == 2
    assert len(set(named("data", [{"dataset": "digits"}, {"dataset": "wine"}]))) == 2
    with pytest.raises(PlanError, match="stands there twice"):
        named("seed", [1, 1])


def test_an_unknown_axis_is_named(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(GRID.replace("algorithm.lr", "algoritm.lr"))
    with pytest.raises(PlanError, match=r"compare: unknown key\(s\) algoritm"):
        load_config(file)


def test_the_rank_is_the_worst_setting_of_the_seeds_mean():
    found = [
        ({"aggregator": a, "attack": k, "seed": s}, accuracy)
        for a, k, s, accuracy in [
            ("mean", "zero", "0", 0.9),
            ("mean", "zero", "1", 0.9),
            ("mean", "flip", "0", 0.1),
            ("mean", "flip", "1", 0.3),
            ("median", "zero", "0", 0.8),
            ("median", "zero", "1", 0.8),
            ("median", "flip", "0", 0.7),
            ("median", "flip", "1", 0.7),
        ]
    ]
    first, second = ranking(found)
    assert (first.name, first.worst, first.where) == ("median", 0.7, "flip")
    assert (second.worst, second.deviation) == pytest.approx((0.2, 0.02**0.5))
    names, columns, values = heat(found, [first, second])[""]
    assert (names, columns) == (["median", "mean"], ["zero", "flip", "worst"])
    np.testing.assert_allclose(values, [[0.8, 0.7, 0.7], [0.9, 0.2, 0.2]])
    assert ranking([({"aggregator": "mean"}, 1.0)]) == []


def test_a_rule_that_fails_under_an_attack_ranks_last():
    found = [
        ({"aggregator": "good", "attack": "zero"}, 0.5),
        ({"aggregator": "good", "attack": "flip"}, 0.4),
        ({"aggregator": "crashes", "attack": "zero"}, 0.9),
    ]
    unlucky = [("mean", 0, 0.9), ("median", 0, 0.8), ("median", 1, 0.8)]
    one_lacks = [({"aggregator": a, "attack": "x", "seed": s}, v) for a, s, v in unlucky]
    assert [rank.name for rank in ranking(one_lacks)] == ["median", "mean"]
    first, last = ranking(found)
    assert (first.name, first.worst) == ("good", 0.4)
    assert (last.name, last.where) == ("crashes", "no result: flip")
    assert np.isnan(last.worst)
    _, _, values = heat(found, [first, last])[""]
    np.testing.assert_array_equal(np.isnan(values), [[False] * 3, [False, True, True]])


def test_an_outcome_survives_as_text():
    outcome = Outcome("a", False, 0.5, 1.0, 2.0, 3, 4.0, (0, 1), (0.1, 0.5))
    assert Outcome.from_json(outcome.to_json()) == outcome


def test_a_broken_comparison_goes_on_where_it_stopped(few, monkeypatch):
    ran = []

    def run_cell(config, *arguments):
        ran.append(config.seed)
        if len(ran) == 2:
            raise RuntimeError("the power went")
        return real(config, *arguments)

    real = comparing.run_cell
    monkeypatch.setattr(comparing, "run_cell", run_cell)
    with LocalExecutor() as executor:
        broken = run_grid(few, executor)
        resumed = run_grid(few, executor)
        assert len(ran) == 4 + 1
        again = run_grid(few, executor)
    assert len(ran) == 4 + 1 + 4
    names = [cell.name for cell in cells_of(few)]
    assert broken.failed == {names[1]: "RuntimeError: the power went"}
    assert [o.name for o in broken.outcomes] == names[:1] + names[2:]
    assert not resumed.failed
    assert [o.accuracy for o in resumed.outcomes] == [o.accuracy for o in again.outcomes]
    assert [o.name for o in resumed.outcomes] == names
    client = MlflowClient(few.tracking.uri)
    known = client.get_experiment_by_name(few.tracking.experiment)
    runs = client.search_runs([known.experiment_id], max_results=100)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED"] * 2
    failed = [run for run in runs if run.info.status == "FAILED"]
    assert [f.path for f in client.list_artifacts(failed[0].info.run_id)].count("traceback.txt")
    children = [run for run in runs if run not in parents]
    assert sorted(run.info.status for run in children) == ["FAILED"] + ["FINISHED"] * 8
    files = {f.path for f in client.list_artifacts(parents[0].info.run_id)}
    assert {"ranking.json", "heat", "comparison.json"} <= files
    ranks, tables = again.ranks()
    assert [r.name for r in ranks][-1] == "mean lr=0.1"
    assert list(tables) == [""]


def test_a_killed_comparison_repeats_no_finished_cell_and_no_saved_round(few, tmp_path):
    command = [sys.executable, "-m", "msl.cli", "compare", str(tmp_path / "grid.yaml")]
    command += ["--set", "cluster.workers=0", "--set", "rounds=60"]
    tracking = f"{{uri: '{few.tracking.uri}', experiment: {few.tracking.experiment}}}"
    command += ["--set", f"tracking={tracking}"]
    command += ["--set", f"checkpoint={{folder: {tmp_path}/kept, every: 6}}"]
    in_the_middle = f"{cells_of(few)[2].name}: round 30/60"
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=REACHING)
    for line in first.stdout:
        if line.startswith(in_the_middle):
            first.kill()
            break
    first.wait()
    first.stdout.close()
    client = MlflowClient(few.tracking.uri)
    known = client.get_experiment_by_name(few.tracking.experiment).experiment_id
    finished = len(client.search_runs([known], "attributes.status = 'FINISHED'"))
    assert finished == 2
    second = subprocess.run(command, capture_output=True, text=True, env=REACHING, check=True)
    again = [line for line in second.stdout.splitlines() if line.endswith(": 60 rounds")]
    assert len(again) == 4 - finished
    # A line comes every six rounds, and a checkpoint after it: which the kill may have forestalled.
    told = [line for line in second.stdout.splitlines() if line.startswith(cells_of(few)[2].name)]
    assert "round 30/60" in told[1] or "round 36/60" in told[1]
    runs = client.search_runs([known])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == 5
    assert len({run.info.run_name for run in runs}) == 5
    for run in runs:
        points = client.get_metric_history(run.info.run_id, "round/participants")
        # One may be there twice: the last that a store has before a kill may be cut.
        is_parent = "mlflow.parentRunId" not in run.data.tags
        assert {point.step for point in points} == (set() if is_parent else set(range(60)))
        assert len(points) <= 61


def test_cells_side_by_side_find_the_same(few, cluster):
    with LocalExecutor() as executor:
        alone = run_grid(few, executor)
    side_by_side = few.model_copy(update={"cluster": ClusterConfig(cells=2)})
    store = few.tracking.model_copy(update={"experiment": "side by side"})
    seen = {}

    def on_cell(name, rounds):
        assert rounds == 2
        seen[name] = []
        return seen[name].append

    with DaskExecutor(cluster) as executor:
        found = run_grid(side_by_side.model_copy(update={"tracking": store}), executor, on_cell)
    assert [o.accuracies for o in found.outcomes] == [o.accuracies for o in alone.outcomes]
    assert [o.name for o in found.outcomes] == [o.name for o in alone.outcomes]
    assert all([r.round for r in reports] == [0, 1] for reports in seen.values())
    table = found.table()
    assert list(table["aggregator"])[:2] == ["mean"] * 2
    assert list(table["seed"]) == [0, 1, 0, 1]
    assert set(table["algorithm.lr"]) == {0.1}


def test_executors_are_split_into_workers_of_their_own(cluster):
    with DaskExecutor(cluster) as executor:
        first, second = executor.split(5)
        with first, second:
            assert set(first.places) | set(second.places) == set(executor.places)
            assert not set(first.places) & set(second.places)
        assert executor.split(1) == [executor]
