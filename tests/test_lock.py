"""Two drivers never write to one folder of checkpoints, and a dead one never keeps it."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tasks import blobs, held_out, plan

from msl import cli
from msl.checkpoints import Checkpoints
from msl.cluster import LocalExecutor
from msl.errors import CheckpointError
from msl.rounds import train


def kept(folder):
    return Checkpoints(str(folder), every=4)


def run(**settings):
    with LocalExecutor() as alone:
        return train(plan(rounds=12), blobs(), alone, held_out=held_out(), **settings)


# Run as ``python test_lock.py FOLDER``: trains, and stands still after round 6.
if __name__ == "__main__":

    def stand(report):
        if report.round == 6:
            print("there", flush=True)
            time.sleep(100)

    run(checkpoints=kept(sys.argv[1]), on_report=stand)


def test_a_second_driver_is_told_who_is_there_and_goes_on_when_the_first_is_killed(tmp_path):
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    first = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stdout.readline() == "there\n"
        left = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
        for resume in (True, False):
            with pytest.raises(CheckpointError, match=rf"pid {first.pid} on .* since 20\d\d-"):
                run(checkpoints=kept(tmp_path), resume=resume)
        assert left == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    heard = []
    result = run(
        checkpoints=kept(tmp_path),
        resume=True,
        on_report=lambda report: heard.append(report.round),
    )
    assert heard == list(range(4, 12))
    assert result.params.tobytes() == run().params.tobytes()


@pytest.fixture
def elsewhere():
    """Yield a thread that holds folders as another driver would."""
    with ThreadPoolExecutor(1) as other:
        yield other


def test_what_another_driver_tracks_is_not_touched(tmp_path, elsewhere):
    def run_file(*arguments):
        options = [
            "cluster.workers=0",
            f"tracking.uri=jsonl:{tmp_path / 'plain'}",
            f"checkpoint={{folder: {tmp_path / 'kept'}, every: 2}}",
            "rounds=4",
        ]
        changes = [word for option in options for word in ("--set", option)]
        cli.app(["run", "configs/quickstart.yaml", *changes, *arguments], standalone_mode=False)

    run_file()
    (own,) = (tmp_path / "kept").iterdir()
    (meta,) = (tmp_path / "plain").rglob("meta.json")
    as_it_runs = json.dumps(json.loads(meta.read_text()) | {"status": "RUNNING"})
    meta.write_text(as_it_runs)
    hold = kept(own).held()
    elsewhere.submit(hold.__enter__).result()
    with pytest.raises(CheckpointError, match=f"pid {os.getpid()} on"):
        run_file("--resume", own.name)
    assert meta.read_text() == as_it_runs
    assert not (meta.parent / "traceback.txt").exists()
    elsewhere.submit(hold.__exit__, None, None, None).result()
    run_file("--resume", own.name)
    assert json.loads(meta.read_text())["status"] == "FINISHED"


def test_who_holds_a_folder_may_hold_it_again_until_the_last_let_go(tmp_path, elsewhere):
    def enter():
        with kept(tmp_path).held():
            return True

    with kept(tmp_path).held():
        with kept(tmp_path).held():
            pass
        with pytest.raises(CheckpointError, match="is in use"):
            elsewhere.submit(enter).result()
    assert elsewhere.submit(enter).result()


def test_where_there_are_no_locks_nothing_is_held(tmp_path, elsewhere):
    def enter():
        with kept("memory://runs/7").held():
            return True

    with kept("memory://runs/7").held():
        assert elsewhere.submit(enter).result()
    (tmp_path / "driver.lock").mkdir()
    with pytest.warns(RuntimeWarning, match="cannot be locked: .*no second driver"):
        assert run(checkpoints=kept(tmp_path)).reports[-1].round == 11
