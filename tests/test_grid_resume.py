"""A comparison whose driver is killed in the middle of a cell goes on in the middle of it."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from msl.cluster import LocalExecutor
from msl.comparison import run_grid
from msl.config import load_config


def grid_in(folder, **changes):
    """Return a comparison whose runs and checkpoints lie in a folder."""
    return load_config(
        {
            "rounds": 12,
            "data": {"dataset": "wine", "sources": 4},
            "attack": "sign_flip",
            "corrupted": 1,
            "codec": {"name": "error_feedback", "codec": "sign"},
            "compare": {"aggregator": ["median", "mean"]},
            "tracking": {"uri": f"jsonl:{folder}/runs"},
            "checkpoint": {"folder": f"{folder}/kept", "every": 3},
            **changes,
        }
    )


def at(cell, round, act):
    """Return what is told of cells: acts after a round of one of them."""

    def on_cell(name, _):
        return lambda report: act() if (name, report.round) == (cell, round) else None

    return on_cell


# Run as ``python test_grid_resume.py FOLDER``: kills itself in the first cell, after round 7.
if __name__ == "__main__":
    with LocalExecutor() as alone:
        kill = at("median", 7, lambda: os.kill(os.getpid(), signal.SIGKILL))
        run_grid(grid_in(sys.argv[1]), alone, kill)


def run(config):
    """Run to the end; return what was found, and which rounds were heard of each cell."""
    heard = {}

    def on_cell(name, _):
        heard[name] = []
        return lambda report: heard[name].append(report.round)

    with LocalExecutor() as alone:
        return run_grid(config, alone, on_cell), heard


def numbers(comparison):
    """Return all that was found but the time it took."""
    return [replace(o, seconds=0.0, seconds_by=()) for o in comparison.outcomes]


def ends(folder):
    """Return digests of parameters, server and memories after the last round of every run."""
    manifests = [json.loads(file.read_text()) for file in folder.glob("kept/*/000011/*.json")]
    return sorted((m["state"]["sha256"], *(p["sha256"] for p in m["memories"])) for m in manifests)


def tracked_in(folder):
    """Return status and rounds in the store by name, of every run but the parent."""
    found = []
    for file in folder.rglob("meta.json"):
        meta, lines = json.loads(file.read_text()), file.with_name("run.jsonl").read_text()
        rounds = [json.loads(line)["round"] for line in lines.splitlines()]
        found += [(meta["name"], meta["status"], rounds)] if meta["parent"] else []
    return sorted(found)


def test_a_killed_cell_goes_on_from_its_checkpoints(tmp_path):
    calm, disturbed, all_rounds = tmp_path / "calm", tmp_path / "disturbed", list(range(12))
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    killed = subprocess.run(
        [sys.executable, __file__, str(disturbed)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        timeout=100,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert tracked_in(disturbed) == [("median", "RUNNING", all_rounds[:8])]
    found, heard = run(grid_in(disturbed))
    assert heard == {"median": all_rounds[6:], "mean": all_rounds}
    undisturbed, _ = run(grid_in(calm))
    assert numbers(found) == numbers(undisturbed)
    assert ends(disturbed) == ends(calm)
    ended = [(name, "FINISHED", all_rounds) for name in ("mean", "median")]
    assert tracked_in(disturbed) == tracked_in(calm) == ended


def interrupted(config, cell):
    def stop():
        raise KeyboardInterrupt

    with LocalExecutor() as alone, pytest.raises(KeyboardInterrupt):
        run_grid(config, alone, at(cell, 7, stop))


def test_an_interrupted_baseline_goes_on_and_a_cell_that_failed_begins_anew(tmp_path):
    config, heard = grid_in(tmp_path, baselines=["oracle"]), []
    interrupted(config, "oracle")

    def fail():
        raise RuntimeError("the power went")

    def on_cell(name, rounds):
        told = at("mean", 9, fail)(name, rounds)
        return lambda report: (heard.append((name, report.round)), told(report))

    with LocalExecutor() as alone:
        broken = run_grid(config, alone, on_cell)
    assert [round for name, round in heard if name == "oracle"] == list(range(6, 12))
    assert broken.failed == {"mean": "RuntimeError: the power went"}
    assert run(config)[1] == {"mean": list(range(12))}


def test_without_checkpoints_a_cell_begins_anew(tmp_path):
    config = grid_in(tmp_path, checkpoint={})
    interrupted(config, "mean")
    assert run(config)[1] == {"mean": list(range(12))}


def test_a_cell_that_another_driver_is_at_is_left_to_it(tmp_path):
    config = grid_in(tmp_path)
    found = []

    def meanwhile():
        # A thread of its own, as a driver of its own.
        with ThreadPoolExecutor(1) as other:
            found.append(other.submit(run, config).result())

    with LocalExecutor() as alone:
        first = run_grid(config, alone, at("mean", 7, meanwhile))
    ((second, heard),) = found
    assert heard == {"mean": []}
    assert "CheckpointError" in second.failed["mean"]
    assert f"pid {os.getpid()} on" in second.failed["mean"]
    assert [o.name for o in first.outcomes] == ["median", "mean"]
    assert [status for _, status, _ in tracked_in(tmp_path)] == ["FINISHED"] * 2
