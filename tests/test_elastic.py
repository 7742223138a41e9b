"""Workers that come and go on purpose, and sources that live on one machine."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from dask.utils import key_split
from distributed import Client, LocalCluster
from hand_made import by_hand, join
from tasks import SlowSgd, blob, blobs, held_out, plan, some_slow

from msl import MultiSourceClassifier
from msl.cluster import DaskExecutor, LocalExecutor
from msl.config import load_config
from msl.dealing import deal
from msl.errors import PlanError
from msl.rounds import train
from msl.sources import ArraySource, LoaderSource, Pinned, PooledSource
from msl.waiting import Deadline
from msl.work import warm_up


class Hall(LocalExecutor):
    """Places without work, on machines of these names."""

    def __init__(self, **machines: str) -> None:
        self.places = tuple(machines)
        self.machines = {place: frozenset((name,)) for place, name in machines.items()}


def named(n: int, **machines: str) -> list:
    return [SimpleNamespace(name=f"s{i}", machine=machines.get(f"s{i}")) for i in range(n)]


def test_sources_are_dealt_in_turn_and_pinned_ones_to_their_machine() -> None:
    hall = Hall(a="north", b="south", c="south")
    assert deal(named(7), hall) == {"a": (0, 3, 6), "b": (1, 4), "c": (2, 5)}
    assert deal(named(2), hall) == {"a": (0,), "b": (1,)}
    assert deal(named(4, s0="south", s1="south", s2="south"), hall) == {
        "a": (3,), "b": (0, 2), "c": (1,),
    }  # fmt: skip
    with pytest.raises(PlanError, match=r"'s1' lives on machine 'west'.*there are north, south"):
        deal(named(3, s1="west"), hall)


def test_only_as_many_sources_move_as_have_to() -> None:
    two, three = Hall(a="north", b="south"), Hall(a="north", b="south", c="south")
    sources = named(8, s7="north")
    before = deal(sources, two)
    where = {rank: place for place, ranks in before.items() for rank in ranks}
    after = deal(sources, three, where)
    assert sorted(len(ranks) for ranks in after.values()) == [2, 3, 3]
    assert set(after["a"]) <= set(before["a"])
    assert set(after["b"]) <= set(before["b"])
    assert 7 in after["a"]


class Growing(LocalExecutor):
    """A place more at each look, up to three."""

    places = ("a",)

    def grow(self) -> bool:
        if len(self.places) == 3:
            return False
        self.places += ("abc"[len(self.places)],)
        return True


@pytest.mark.parametrize("changes", [{}, {"trust_every": 2}, {"per_round": 3, "corrupted": ()}])
def test_memories_follow_sources_that_move(changes) -> None:
    whole = plan(**{"rounds": 5, "corrupted": (), "attack": None} | changes)
    with LocalExecutor() as one, Growing() as three:
        still = train(whole, blobs(), one, held_out=held_out())
        moved = train(whole, blobs(), three, held_out=held_out(), watch=lambda *_: False)
    assert moved.params.tobytes() == still.params.tobytes()
    assert {info.place for info in moved.sources} == {"a", "b", "c"}
    assert [info.digest for info in moved.sources] == [info.digest for info in still.sources]


class Late(Growing):
    """Notes where kernels are compiled."""

    def submit(self, fn, *args, at=None, aside=False):
        if fn is warm_up:
            self.warmed.append(at)
        return super().submit(fn, *args, at=at, aside=aside)


def test_only_places_that_join_are_warmed_up_when_sources_move() -> None:
    in_time = plan(rounds=4, corrupted=(), attack=None, waiting=Deadline(seconds=60))
    with Late() as three:
        three.warmed = []
        train(in_time, blobs(), three, held_out=held_out())
    assert three.warmed == ["a", "b", "c"]


def test_who_hangs_is_not_tried_again_because_others_move() -> None:
    slow = SlowSgd(epochs=1, batch=8, lr=0.1, seconds=4.0)
    changes = {"algorithm": slow, "waiting": Deadline(seconds=0.7), "on_failure": "drop"}
    in_time = plan(rounds=2, corrupted=(), attack=None, **changes)
    with Growing() as three:
        result = train(in_time, some_slow({0}), three, held_out=held_out())
    assert three.places == ("a", "b", "c")
    assert [report.dropped[0] for report in result.reports] == [
        "late: not ready when the time was over",
        "late: still at round 0",
    ]


def test_what_lives_on_a_machine_is_brought_nowhere_else() -> None:
    rows = ArraySource("s", *blob(0))
    pinned = Pinned(rows, "north")
    with pytest.raises(PlanError, match="lives on 'north' already"):
        Pinned(pinned, "south")
    with pytest.raises(PlanError, match="'s' lives on 'north': its rows cannot be brought"):
        PooledSource((pinned,))
    with LocalExecutor() as here:
        (home,) = here.machines["local"]
        with pytest.raises(PlanError, match="source 's' lives on machine 'north'"):
            train(plan(rounds=1, corrupted=(), attack=None), [pinned], here)
        with pytest.raises(PlanError, match="'s' cannot be pinned"):
            train(plan(rounds=1), blobs(), here, held_out=Pinned(rows, home))
        with pytest.raises(PlanError, match="source 'site-0' lives on machine 'north'"):
            MultiSourceClassifier(rounds=1).fit([Pinned(s, "north") for s in blobs(2)])
        moved = [*blobs(6), Pinned(blobs(7)[6], home)]
        found = train(plan(rounds=2), moved, here).params
        assert found.tobytes() == train(plan(rounds=2), blobs(), here).params.tobytes()


def test_a_file_says_where_it_lies_and_a_loader_where_its_sources_do() -> None:
    shape = {"model": {"name": "softmax", "n_features": 6, "n_classes": 3}}
    files = [{"name": "n", "path": "/n.csv", "machine": "north"}, {"name": "s", "path": "/s.csv"}]
    found = load_config({"data": {"files": files}, **shape}).sources()
    assert [source.machine for source in found] == ["north", None]
    load = {"loader": "tasks:blob", "sources": 2, "machines": ["north", "south"]}
    found = load_config({"data": load, **shape}).sources()
    assert [source.machine for source in found] == ["north", "south"]
    with pytest.raises(PlanError, match="a file has its own machine"):
        load_config({"data": {"files": files, "machines": ["north", "south"]}, **shape})
    with pytest.raises(PlanError, match=r"data\.machines: one for each of 3 sources, got 2"):
        load_config({"data": {**load, "sources": 3}, **shape})


def seen(rank: int, folder: str):
    """Rows, and a file that says which worker read them."""
    (Path(folder) / f"{rank}-{sys.argv[sys.argv.index('--name') + 1]}").touch()
    return blob(rank)


def test_pinned_sources_wait_for_their_machine_and_are_loaded_nowhere_else(tmp_path: Path) -> None:
    sources = [LoaderSource(f"site-{r}", seen, (r, str(tmp_path))) for r in range(7)]
    for rank in (0, 3):
        sources[rank] = Pinned(sources[rank], "hospital")
    with LocalExecutor() as here:
        alone = train(plan(rounds=4), blobs(), here, held_out=held_out())
    with by_hand(tmp_path, {"office": []}) as address, Client(address) as client:
        with (
            DaskExecutor(client, patience=0) as executor,
            pytest.raises(PlanError, match="source 'site-0' lives on machine 'hospital'"),
        ):
            train(plan(rounds=4), sources, executor, held_out=held_out())
        assert not list(tmp_path.glob("?-*"))
        # A process takes its time to start.
        with join(tmp_path, "hospital"), DaskExecutor(client) as executor:
            found = train(plan(rounds=4), sources, executor, held_out=held_out())
    assert found.params.tobytes() == alone.params.tobytes()
    read = {file.name for file in tmp_path.glob("?-*")}
    assert read == {f"{r}-{'hospital' if r in (0, 3, 5) else 'office'}" for r in range(7)}


@pytest.fixture
def adaptive() -> Iterator[tuple[LocalCluster, Client]]:
    """Yield a cluster that looks at its work every 50 ms, and starts from no worker."""
    with (
        LocalCluster(
            n_workers=0, processes=False, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(minimum=0, maximum=3, interval="50ms", wait_count=2)
        yield cluster, client


def test_an_adaptive_cluster_sees_a_session(adaptive, monkeypatch) -> None:
    cluster, client = adaptive
    workers, tasks = cluster.scheduler.workers, cluster.scheduler.tasks
    monkeypatch.setattr("msl.cluster.dask._LOOK", 0)
    with DaskExecutor(client) as executor:
        executor.expect(2, {})
        until(lambda: len(executor.places) + executor.grow() == 2 == len(workers))
        time.sleep(0.5)  # ten looks of the cluster's
        assert set(executor.places) == set(workers)
        assert {key_split(key) for key in tasks} == {"msl-lane"}
        executor.expect(7, {})
        until(lambda: len(workers) == 3)
        assert sorted(map(key_split, tasks)) == 2 * ["msl-lane"] + 5 * ["msl-wants-worker"]
        one, two = executor.split(2)
        with one, two:
            assert not one.grow()
            until(lambda: len(tasks) == 9)
    until(lambda: not workers and not tasks)
    with pytest.raises(PlanError, match="has 3 of 4 workers; start some"):
        DaskExecutor(client, at_least=4, patience=2)
    until(lambda: not workers and not tasks)


def until(true: Callable[[], object]) -> None:
    stop = time.monotonic() + 30
    while not true():
        assert time.monotonic() < stop
        time.sleep(0.02)
