"""A run as plain files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from tasks import blobs, held_out, plan

from msl.cluster import LocalExecutor
from msl.errors import TrackingError
from msl.models import Softmax
from msl.rounds import train
from msl.tracking import Tracker, make_tracker, unfinished
from msl.types import SourceInfo


def folder_of(root: Path, tracker: Tracker) -> Path:
    return root / "msl" / str(tracker.run_id)


def json_of(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_run_is_a_folder_of_files_that_anything_reads(tmp_path: Path) -> None:
    with (
        make_tracker(
            f"jsonl:{tmp_path}", run_name="plain", params={"a": {"b": 1}}, note="# note"
        ) as tracker,
        LocalExecutor() as executor,
    ):
        result = train(plan(rounds=5), blobs(), executor, held_out=held_out(), tracker=tracker)
        tracker.log_summary({"final/accuracy": 0.5})
    folder = folder_of(tmp_path, tracker)
    lines = [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == list(range(5))
    for line, report in zip(lines, result.reports, strict=True):
        assert report.metrics().items() <= line.items()
    meta = json_of(folder / "meta.json")
    assert (meta["name"], meta["params"], meta["status"]) == ("plain", {"a": {"b": 1}}, "FINISHED")
    assert meta["summary"] == {"final/accuracy": 0.5}
    assert meta["end"] >= meta["start"]
    assert [source["name"] for source in json_of(folder / "inputs.json")] == [
        info.name for info in result.sources
    ]
    assert (folder / "README.md").read_text() == "# note"


def test_artifacts_and_models_lie_under_their_names(tmp_path: Path) -> None:
    model = Softmax(4, 3)
    params = np.arange(model.layout.size, dtype=np.float32)
    figure = Figure()
    figure.subplots().plot([0, 1])
    with make_tracker(f"jsonl:{tmp_path}", register="only MLflow's") as tracker:
        tracker.log_table("t/sources.json", {"n": [np.int64(1), 2], "x": [0.5, float("nan")]})
        tracker.log_text("notes/plan.yaml", "rounds: 3\n")
        tracker.log_figure("heat/curve.png", figure)
        tracker.log_model(model, params, np.zeros((1, 4), np.float32))
        tracker.log_checkpoint(12, model, 2 * params)
    folder = folder_of(tmp_path, tracker)
    assert json_of(folder / "t" / "sources.json") == {
        "columns": ["n", "x"],
        "data": [[1, 0.5], [2, None]],
    }
    assert (folder / "notes" / "plan.yaml").read_text() == "rounds: 3\n"
    assert (folder / "heat" / "curve.png").read_bytes().startswith(b"\x89PNG")
    for name, factor in (("model.npz", 1), ("checkpoints/round-000012.npz", 2)):
        blocks = np.load(folder / name)
        assert [(key, blocks[key].shape) for key in blocks] == list(model.layout.blocks)
        flat = np.concatenate([blocks[key].ravel() for key in blocks])
        np.testing.assert_array_equal(flat, factor * params)


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("broken"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_an_error_is_the_status_and_a_traceback(
    tmp_path: Path, error: BaseException, status: str
) -> None:
    tracker = make_tracker(f"jsonl:{tmp_path}")
    with pytest.raises(type(error)), tracker:
        raise error
    folder = folder_of(tmp_path, tracker)
    assert json_of(folder / "meta.json")["status"] == status
    assert "raise error" in (folder / "traceback.txt").read_text()


def test_a_file_that_cannot_be_written_does_not_stop_the_work_but_is_told(tmp_path: Path) -> None:
    worked = []

    def work() -> None:
        with make_tracker(f"jsonl:{tmp_path}") as tracker:
            tracker.log_text("meta.json/below a file", "text")
            tracker.log_sources([SourceInfo("a", 1, 1, (), "0")])
            worked.append(tracker)

    with pytest.raises(TrackingError, match="below a file"):
        work()
    folder = folder_of(tmp_path, worked[0])
    assert (folder / "inputs.json").exists()
    assert json_of(folder / "meta.json")["status"] == "FAILED"


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match=r"tracking\.uri"):
        make_tracker(f"jsonl:{tmp_path / 'file'}").__enter__()


def test_a_comparison_that_broke_off_is_found_with_its_finished_cells(tmp_path: Path) -> None:
    uri, tags = f"jsonl:{tmp_path}", {"msl.grid": "g"}

    def cell(name: str, parent: str | None, works: bool) -> None:
        with make_tracker(uri, parent=parent, tags=tags | {"msl.cell": name}) as tracker:
            tracker.log_text("outcome.json", name)
            if not works:
                raise ValueError(name)

    assert unfinished(uri, "msl", "g").parent is None
    parent = make_tracker(uri, tags=tags)

    def break_off() -> None:
        with parent:
            cell("first", parent.run_id, works=True)
            cell("second", parent.run_id, works=False)

    with pytest.raises(ValueError, match="second"):
        break_off()
    found = unfinished(uri, "msl", "g")
    assert (found.parent, found.outcomes) == (parent.run_id, {"first": "first"})
    assert unfinished(uri, "msl", "other").parent is None
    with make_tracker(uri, tags=tags, resume=found.parent) as again:
        cell("second", again.run_id, works=True)
    assert again.run_id == parent.run_id
    assert unfinished(uri, "msl", "g").parent is None
