"""What a person sees: the cells of a comparison in MLflow's table, comparison and chart."""

import json
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from served import CELLS, compare

MANY = 200
KEYS = 60
"""Runs and metric keys that the comparison page must bear."""


class Store(NamedTuple):
    address: str
    client: MlflowClient
    experiment: str
    children: dict[str, Run]


@pytest.fixture(scope="module")
def store(address: str) -> Store:
    compare(address)
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("small_grid")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = {
        str(run.info.run_name): run for run in runs if "mlflow.parentRunId" in run.data.tags
    }
    return Store(address, client, experiment.experiment_id, children)


def open_children(page, store: Store) -> None:
    """Open the table of runs and unfold the parent."""
    page.goto(f"{store.address}/#/experiments/{store.experiment}/runs")
    page.get_by_role("row").filter(has_text="small_grid").get_by_role("button").first.click()
    page.get_by_role("link", name=CELLS[-1], exact=True).wait_for()


def switch_columns(page, *names: str) -> None:
    """Show these columns, or hide those that are shown."""
    page.get_by_role("button", name="Columns").click()
    for name in names:
        page.get_by_placeholder("Search columns").fill(name)
        page.get_by_text(name, exact=True).last.click()
    # The list stays open until something else is clicked.
    page.get_by_role("heading", name="Runs").click()


def select(page, name: str) -> None:
    """Tick a run: names and boxes lie in different halves of the table, joined by the row."""
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))
    index = row.first.get_attribute("row-index")
    page.locator(f'[role=row][row-index="{index}"] input.ag-checkbox-input').first.check()


def open_comparison(page, store: Store) -> None:
    open_children(page, store)
    for name in CELLS:
        select(page, name)
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_text(f"Comparing {len(CELLS)} Runs from 1 Experiment").wait_for()


def color_by_accuracy(page) -> None:
    """Let the lines of the parallel coordinates end at the accuracy, not at the first metric."""
    first = page.locator("[class$=selection-item]", has_text="/")
    first.locator("[class$=remove]").click()
    page.locator("[class$=select-selector]").last.click()
    options = page.locator("[class$=select-item-option-content]")
    options.first.hover()
    wanted = options.filter(has_text="eval/accuracy")
    while wanted.count() == 0:  # The list holds only what is in sight.
        page.mouse.wheel(0, 100)
        page.wait_for_timeout(100)
    wanted.click()
    page.get_by_role("heading", name="Comparing").click()
    page.locator(".parcoords .axis-title", has_text="eval/accuracy").wait_for()


def test_the_table_has_a_row_per_cell_and_our_metric(page, store: Store, pictures: Path) -> None:
    open_children(page, store)
    for name in CELLS:
        assert page.get_by_role("link", name=name, exact=True).is_visible()
    keys = ("eval/accuracy", "eval/loss", "bytes/total")
    switch_columns(page, "Dataset", "Source", "Models", *keys)
    for key in keys:
        cells = page.locator(f'[role=gridcell][col-id="metrics.`{key}`"]')
        cells.first.wait_for()
        shown = [float(text) for text in cells.all_inner_texts() if text != "-"]
        logged = [run.data.metrics[key] for run in store.children.values()]
        assert sorted(shown) == pytest.approx(sorted(logged))
    page.screenshot(path=pictures / "ui_runs.png")


def test_the_comparison_shows_names_and_parts_side_by_side(
    page, store: Store, pictures: Path
) -> None:
    open_comparison(page, store)
    text = page.locator("body").inner_text()
    for name in CELLS:
        assert name in text
    lines = text.splitlines()
    rules = next(line for line in lines if line.startswith("aggregator.name\t"))
    assert rules.split("\t")[1:] == [name.split()[0] for name in CELLS]
    color_by_accuracy(page)
    page.screenshot(path=pictures / "ui_compare.png")


def test_the_chart_draws_the_series_that_were_logged(page, store: Store, pictures: Path) -> None:
    open_comparison(page, store)
    page.get_by_role("link", name="eval/accuracy", exact=True).click()
    page.wait_for_function(
        "n => (document.querySelector('.js-plotly-plot')?.data ?? []).length >= n", arg=len(CELLS)
    )
    drawn = page.evaluate(
        "() => document.querySelector('.js-plotly-plot').data"
        ".map(line => [line.name, Array.from(line.x), Array.from(line.y)])"
    )
    series = {name: (x, y) for name, x, y in drawn if name}
    for name, run in store.children.items():
        history = store.client.get_metric_history(run.info.run_id, "eval/accuracy")
        x, y = series[name]
        assert x == [metric.step for metric in history]
        assert y == pytest.approx([metric.value for metric in history])
        assert page.get_by_text(f"{name} (eval/accuracy)").first.is_visible()
    page.screenshot(path=pictures / "ui_chart.png")


def test_two_hundred_runs_open_in_the_comparison(
    page, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient(address)
    experiment, runs = many_runs(client)
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    start = time.monotonic()
    chosen = f"runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([experiment]))}"
    page.goto(f"{address}/#/compare-runs?{chosen}")
    page.get_by_text(f"Comparing {MANY} Runs from 1 Experiment").wait_for()
    page.get_by_text("cell 000", exact=True).first.wait_for()
    opened = time.monotonic() - start
    page.get_by_role("link", name="group_0/key_1", exact=True).click()
    page.get_by_text(f"{MANY}/{MANY}").wait_for()
    page.get_by_text("cell 000 (group_0/key_1)").first.wait_for()
    drawn = time.monotonic() - start - opened
    with capsys.disabled():
        print(f"\n{MANY} runs of {KEYS} keys: open in {opened:.1f} s, a chart of all {drawn:.1f} s")
    assert broken == []
    assert opened < 60


def many_runs(client: MlflowClient) -> tuple[str, list[str]]:
    """Make runs as wide as a wide run of ours; return the experiment and their ids."""
    experiment = client.create_experiment("many")
    parent = client.create_run(experiment, run_name="many").info.run_id
    ids = []
    for i in range(MANY):
        tags = {"mlflow.parentRunId": parent}
        ids.append(client.create_run(experiment, run_name=f"cell {i:03}", tags=tags).info.run_id)
        metrics = [
            Metric(f"group_{k // 10}/key_{k % 10}", (i * k) % 17 + step / 10, step, step)
            for k in range(KEYS)
            for step in range(5)
        ]
        params = [Param(f"part_{k // 10}.value_{k % 10}", str(i * k % 7)) for k in range(40)]
        client.log_batch(ids[-1], metrics=metrics, params=params)
        client.set_terminated(ids[-1])
    return experiment, ids
