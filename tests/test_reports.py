"""Reports of long runs: all there, in order, in a fraction of the room."""

import gc
import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from tasks import blobs, held_out, plan

from msl.checkpoints import Checkpoints
from msl.cluster import LocalExecutor
from msl.reports import Reports
from msl.rounds import train
from msl.types import Report


def report(round, n=20):
    draw = np.random.default_rng(round)
    given, losses = draw.random((2, n)).tolist()
    seconds = dict.fromkeys(("solve", "meet", "evaluate", "round"), float(draw.random()))
    return Report(
        round, tuple(range(n)), tuple(given), tuple(losses), {}, 10, 10, 40, 20 * round, 0.5,
        seconds=seconds, loss=0.1 * round, accuracy=0.5, bound={"bound/excess": 0.25},
    )  # fmt: skip


@pytest.mark.parametrize("n", [0, 1, 100, 101, 330])
def test_they_are_a_sequence(n):
    plain, reports = [report(round, 3) for round in range(n)], Reports()
    for one in plain:
        reports.append(one)
        assert reports[-1] is one
    assert len(reports) == n
    assert list(reports) == plain == list(pickle.loads(pickle.dumps(reports)))
    # There and back between blocks, from both ends.
    assert [reports[i] for i in range(-n, n)] == plain + plain
    for part in (slice(98, 203), slice(None, None, 97), slice(None, None, -1), slice(n, None)):
        assert reports[part] == tuple(plain[part])
    for outside in (n, -n - 1):
        with pytest.raises(IndexError):
            reports[outside]


def test_two_blocks_of_many_are_objects_and_the_rest_takes_a_third_of_the_room():
    def objects():
        gc.collect()
        return sum(type(one) is Report for one in gc.get_objects())

    before, reports = objects(), Reports(report(round) for round in range(1000))
    assert objects() - before == 100
    assert reports[350].round == 350
    assert sum(one.round for one in reports) == sum(range(1000))
    assert objects() - before <= 200
    tracemalloc.start()
    kept = [report(round) for round in range(100)]
    room, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pickle.dumps(reports)) / len(reports) < room / len(kept) / 3


def test_a_run_goes_on_with_the_reports_of_all_rounds(tmp_path):
    a_plan = plan(rounds=230, evaluate_every=100, corrupted=(1,))
    kept = Checkpoints(str(tmp_path), every=75)

    def stop(report):
        if report.round == 180:
            raise KeyboardInterrupt

    def run(**settings):
        with LocalExecutor() as alone:
            return train(a_plan, blobs(3), alone, held_out=held_out(), **settings)

    whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(checkpoints=kept, on_report=stop)
    result = run(checkpoints=kept, resume=True)
    assert sorted(file.name for file in tmp_path.glob("reports-*")) == [
        "reports-000000-000074.tree",
        "reports-000075-000149.tree",
        "reports-000150-000224.tree",
    ]
    assert [repr(replace(one, seconds={})) for one in result.reports] == [
        repr(replace(one, seconds={})) for one in whole.reports
    ]
