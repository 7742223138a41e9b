"""Runs that are killed, at any moment, and go on from their checkpoints."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tasks import blobs, held_out, pid, plan

from msl import cli, meeting
from msl.attacks import LabelFlip
from msl.checkpoints import Checkpoints
from msl.cluster import DaskExecutor, LocalExecutor, open_executor
from msl.errors import CheckpointError, PlanError
from msl.rounds import train
from msl.trust import PacFilter

# Run as ``python test_resume.py FOLDER ROUND``: trains, and kills itself after that round.
if __name__ == "__main__":
    folder, last = sys.argv[1], int(sys.argv[2])

    def kill(report):
        if report.round == last:
            os.kill(os.getpid(), signal.SIGKILL)

    with LocalExecutor() as alone:
        train(
            plan(rounds=12),
            blobs(),
            alone,
            held_out=held_out(),
            on_report=kill,
            checkpoints=Checkpoints(folder, every=4),
        )


def known(result):
    """All of a result but the time it took."""
    reports = [replace(report, seconds={}) for report in result.reports]
    # As text, in which NaN equals NaN.
    return result.params.tobytes(), reports, repr(result.ledger.columns() | {"place": None})


def local(a_plan, **settings):
    with LocalExecutor() as executor:
        return train(a_plan, blobs(), executor, held_out=held_out(), **settings)


def broken_off(a_plan, checkpoints, last):
    """Train until the client is stopped after a round."""

    def stop(report):
        if report.round == last:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local(a_plan, checkpoints=checkpoints, on_report=stop)


@pytest.mark.parametrize("last", [0, 6])
def test_a_client_that_is_killed_loses_no_bit(last, tmp_path):
    command = [sys.executable, __file__, str(tmp_path), str(last)]
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    killed = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, timeout=100
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    heard = []
    a_plan = plan(rounds=12)
    result = local(
        a_plan,
        checkpoints=Checkpoints(str(tmp_path), every=4),
        resume=True,
        on_report=lambda report: heard.append(report.round),
    )
    assert known(result) == known(local(a_plan))
    assert heard == list(range(last - last % 4, 12))


def test_it_goes_on_at_other_places(cluster, tmp_path):
    a_plan = plan(per_round=4)
    checkpoints = Checkpoints(str(tmp_path), every=3)
    broken_off(a_plan, checkpoints, 4)
    with DaskExecutor(cluster) as executor:
        result = train(
            a_plan, blobs(), executor, held_out=held_out(), checkpoints=checkpoints, resume=True
        )
        assert {info.place for info in result.sources} == set(executor.places)
    assert known(result) == known(local(a_plan))


def test_a_lost_worker_costs_the_rounds_since_the_last_checkpoint_only(tmp_path):
    a_plan, met = plan(rounds=40), []
    with open_executor(workers=2) as executor:
        (victim,) = executor.gather([executor.submit(pid, at=executor.places[-1])])
        submit = executor.submit

        def counted(fn, *args, **where):
            if fn is meeting.meet:
                met.append(args[-1])
            return submit(fn, *args, **where)

        def on_report(report):
            if report.round == 33:
                os.kill(victim, signal.SIGKILL)

        executor.submit = counted
        checkpoints = Checkpoints(str(tmp_path), every=10)
        result = train(
            a_plan,
            blobs(),
            executor,
            held_out=held_out(),
            on_report=on_report,
            checkpoints=checkpoints,
        )
    assert known(result) == known(local(a_plan))
    again = {round for round in met if met.count(round) > 1}
    assert min(again) == 30


def test_a_verdict_is_kept_and_not_asked_for_again(tmp_path, monkeypatch):
    a_plan = plan(attack=LabelFlip(), trust=PacFilter(), rounds=8, trust_every=6)
    checkpoints = Checkpoints(str(tmp_path), every=4)
    broken_off(a_plan, checkpoints, 4)
    asked, weigh = [], PacFilter.weigh
    monkeypatch.setattr(PacFilter, "weigh", lambda *args: asked.append(1) or weigh(*args))
    result = local(a_plan, checkpoints=checkpoints, resume=True)
    assert len(asked) == 1
    assert known(result)[:2] == known(local(a_plan))[:2]
    assert [round for round, _ in result.ledger.verdicts] == [0, 6]


def test_a_finished_run_is_not_run_again_and_may_be_made_longer(tmp_path):
    checkpoints = Checkpoints(str(tmp_path), every=3)
    first = local(plan(), checkpoints=checkpoints)
    again = local(plan(), checkpoints=checkpoints, resume=True, on_report=pytest.fail)
    assert known(again) == known(first)
    longer = plan(rounds=9)
    result = local(longer, checkpoints=checkpoints, resume=True)
    assert known(result) == known(local(longer))


def test_what_cannot_be_resumed_is_said(tmp_path):
    checkpoints = Checkpoints(str(tmp_path), every=3)
    with pytest.raises(PlanError, match="say where they are"):
        local(plan(), resume=True)
    with pytest.raises(PlanError, match="holds no run"):
        local(plan(), resume=True, checkpoints=checkpoints)
    broken_off(plan(), checkpoints, 4)
    with pytest.raises(PlanError, match="holds the checkpoints of a run"):
        local(plan(), checkpoints=checkpoints)
    (tmp_path / "000002/state.tree").write_bytes(b"")
    with (
        pytest.warns(RuntimeWarning, match="round 2 .*cannot be used"),
        pytest.raises(CheckpointError, match="none of the 1 checkpoint"),
    ):
        local(plan(), resume=True, checkpoints=checkpoints)


def test_the_command_line_goes_on_with_a_run(tmp_path, capsys):
    def run(*arguments):
        options = [
            "cluster.workers=0",
            f"tracking.uri=jsonl:{tmp_path / 'plain'}",
            f"checkpoint={{folder: {tmp_path / 'kept'}, every: 2}}",
        ]
        changes = [word for option in options for word in ("--set", option)]
        cli.app(["run", "configs/quickstart.yaml", *changes, *arguments], standalone_mode=False)
        return capsys.readouterr().out

    run("--set", "rounds=5")
    (kept,) = (tmp_path / "kept").iterdir()
    (lines,) = (tmp_path / "plain").rglob("run.jsonl")
    assert lines.parent.name == kept.name
    assert str(kept) in run("--set", "rounds=7", "--resume", kept.name)
    run("--set", "rounds=8", "--resume", str(kept))
    rounds = [json.loads(line)["round"] for line in lines.read_text().splitlines()]
    # Rounds 4 and 6 came after the last checkpoint, and were tracked before.
    assert rounds == list(range(8))
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[:3]) + '{"round": 3, "ti')
    run("--set", "rounds=8", "--resume", str(kept))
    rounds = [json.loads(line)["round"] for line in lines.read_text().splitlines()]
    assert rounds == list(range(8))
    with pytest.raises(PlanError, match="allowed: folder, every, keep"):
        run("--set", "checkpoint.evry=3")
    with pytest.raises(PlanError, match="holds no run to go on with"):
        run("--resume", "another")
    with pytest.raises(PlanError, match="another corrupted, seed"):
        run("--set", "seed=9", "--resume", kept.name)
    with pytest.raises(PlanError, match=r"set checkpoint\.every"):
        run("--set", "checkpoint.every=null", "--resume", kept.name)
