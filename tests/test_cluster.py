"""Executors: the same calls give the same values in process and on two worker processes."""

import importlib
import operator
import os
import signal

import numpy as np
import pytest
from distributed import Client
from tasks import pid, slow_add

from msl.cluster import DaskExecutor, LocalExecutor, open_executor
from msl.errors import PlanError, WorkerLostError


@pytest.fixture(params=["local", "dask"])
def executor(request):
    if request.param == "local":
        with LocalExecutor() as found:
            yield found
    else:
        with DaskExecutor(request.getfixturevalue("cluster")) as found:
            yield found


def test_values_pass_between_places_and_through_lists(executor):
    first, last = executor.places[0], executor.places[-1]
    a = executor.submit(np.arange, 5, at=first)
    b = executor.submit(operator.add, a, 10, at=last)
    c = executor.submit(np.stack, [a, b], at=first)
    total = executor.submit(np.sum, c, at=last)
    assert executor.gather([total, a])[0] == 10 + 10 + 50
    np.testing.assert_array_equal(executor.gather([b])[0], np.arange(10, 15))


def test_scatter_puts_a_value_at_a_place(executor):
    handle = executor.scatter({"x": 1}, at=executor.places[-1])
    assert executor.gather([handle]) == [{"x": 1}]


def test_a_chain_over_many_gathers_keeps_what_is_still_needed(executor):
    first, last = executor.places[0], executor.places[-1]
    value = executor.submit(int, 0, at=first)
    for step in range(30):
        value = executor.submit(operator.add, value, 1, at=last if step % 2 else first)
        if step % 3 == 0:
            executor.gather([value])
    assert executor.gather([value]) == [30]


def test_an_error_arrives_as_itself_at_all_that_need_it(executor):
    with pytest.raises(ZeroDivisionError):  # in process by submit, on a cluster by gather
        _divide_and_go_on(executor)
    assert executor.gather([executor.submit(int, 3)]) == [3]


def _divide_and_go_on(executor):
    bad = executor.submit(operator.truediv, 1, 0, at=executor.places[-1])
    executor.gather([executor.submit(operator.add, bad, 1, at=executor.places[0])])


def test_two_workers_are_two_processes_and_work_at_the_same_time(cluster):
    with DaskExecutor(cluster) as executor:
        pids = executor.gather([executor.submit(pid, at=place) for place in executor.places])
        assert len({*pids, os.getpid()}) == 3


def test_one_message_per_worker_between_two_gathers(cluster, monkeypatch):
    sent = []
    with DaskExecutor(cluster) as executor:
        send = executor._send_one

        async def counted(place, program):
            sent.append(place)
            return await send(place, program)

        monkeypatch.setattr(executor, "_send_one", counted)
        handles = [executor.submit(slow_add, i, 1, at=p) for i in range(3) for p in executor.places]
        executor.gather(handles)
    assert sorted(sent) == sorted(executor.places)


def test_values_are_released_when_their_handles_go(cluster):
    with DaskExecutor(cluster) as executor:
        place = executor.places[0]
        for _ in range(20):
            executor.gather([executor.submit(np.zeros, 1000, at=place)])
        (held,) = executor.gather([executor.submit(_held, executor.session, place, at=place)])
    assert held <= 3


def _held(session, place):
    from msl.cluster.lane import _lanes

    return len(_lanes[session, place].futures)


def test_a_killed_worker_is_named_and_refresh_goes_on_without_it():
    with open_executor(workers=2) as executor:
        first, last = executor.places
        (victim,) = executor.gather([executor.submit(pid, at=last)])
        value = executor.submit(int, 1, at=last)
        executor.gather([value])
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(WorkerLostError, match=last.rpartition(":")[2]):
            executor.gather([executor.submit(operator.add, value, 1, at=first)])
        executor.refresh()
        assert last not in executor.places
        assert executor.gather([executor.submit(int, 2, at=executor.places[0])]) == [2]


def test_an_unreachable_scheduler_is_said_so(monkeypatch):
    monkeypatch.setattr("msl.cluster.start.CONNECT_SECONDS", 1)
    with (
        pytest.raises(PlanError, match=r"cannot reach a Dask scheduler at tcp://127\.0\.0\.1:9"),
        open_executor("tcp://127.0.0.1:9"),
    ):
        pass


def test_a_worker_that_lacks_a_module_is_named(cluster, monkeypatch, tmp_path):
    (tmp_path / "only_here.py").write_text("def number():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    only_here = importlib.import_module("only_here")
    with DaskExecutor(cluster) as executor:
        handle = executor.submit(only_here.number, at=executor.places[0])
        with pytest.raises(PlanError, match=f"worker {executor.places[0]} cannot run .*only_here"):
            executor.gather([handle])


def test_a_client_that_was_closed_before_is_no_error(cluster):
    with Client(cluster.scheduler.address) as client:
        executor = DaskExecutor(client)
        assert executor.gather([executor.submit(operator.add, 1, 2)]) == [3]
    executor.close()
