"""The quick start's promise, in process: the plain mean falls, the robust rules stand."""

import pytest

from msl.cluster import LocalExecutor
from msl.comparison import run_grid
from msl.config import load_config
from msl.grid import cells_of


@pytest.fixture(scope="module")
def outcomes():
    config = load_config("configs/quickstart.yaml", ["tracking.uri=none"])
    with LocalExecutor() as executor:
        return {outcome.name: outcome for outcome in run_grid(config, executor).outcomes}


def test_the_mean_loses_15_points_and_the_best_robust_cell_at_most_5(outcomes):
    best = outcomes["pooled_clean"].accuracy
    robust = max(outcomes[c].accuracy for c in ("median", "trimmed_mean", "geometric_median"))
    assert best - outcomes["mean"].accuracy >= 0.15
    assert best - robust <= 0.05
    assert outcomes["local_only"].accuracy < robust


def test_payloads_are_at_least_six_and_a_half_times_smaller(outcomes):
    for name in ("mean", "median", "trimmed_mean", "geometric_median"):
        assert outcomes[name].ratio >= 6.5
        assert outcomes[name].bytes_up_per_round == 20 * (32 + 2 * 8 + 328)


def test_cells_are_the_product_of_the_axes():
    config = load_config(
        "configs/quickstart.yaml", ["compare={aggregator: [mean, median], seed: [1, 2]}"]
    )
    assert [cell.name for cell in cells_of(config)] == [
        "mean seed=1",
        "mean seed=2",
        "median seed=1",
        "median seed=2",
    ]
    assert cells_of(config)[3].config.seed == 2


def test_comparing_without_held_out_rows_is_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "model: {name: softmax, n_features: 6, n_classes: 3}\n"
        "data: {loader: 'tasks:blob', sources: 3}\n"
        "tracking: {uri: none}\nrounds: 1\n"
    )
    config = load_config(path, ["baselines=[local_only]"])
    with LocalExecutor() as executor:
        comparison = run_grid(config, executor)
    assert comparison.outcomes == ()
    assert all("held-out" in why for why in comparison.failed.values())
    assert set(comparison.failed) == {"local_only", "mean"}
