"""Sources are loaded when asked for, forgotten beyond a bound, and left out when they fail."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Barrier, Event
from typing import ClassVar

import numpy as np
import pytest
from scipy.sparse import csr_array
from tasks import CLASSES, blob, blobs, broken, held_out, plan

from msl.aggregators import Mean, TrimmedMean
from msl.attacks import LabelFlip
from msl.checkpoints import Checkpoints
from msl.cluster import DaskExecutor, LocalExecutor, open_executor
from msl.config import load_config
from msl.errors import DataError, PlanError, SourceError, WorkerLostError
from msl.fit import LEFT_OUT
from msl.meeting import meet
from msl.rounds import set_stage, train
from msl.samplers import SAMPLERS
from msl.samplers import make as make_sampler
from msl.sources import (
    ArraySource,
    CorruptedSource,
    FileSource,
    LoaderSource,
    Pinned,
    Source,
    check_data,
)
from msl.sources.base import check_same
from msl.sources.cache import Cache, nbytes_of
from msl.sources.pooled import PooledSource
from msl.trust import PacFilter, ReferenceWeighting, TrustAll
from msl.waiting import Deadline

CALM = plan(attack=None, corrupted=(), aggregator=Mean())
ONE = nbytes_of(blobs(1)[0].load())


@dataclass(frozen=True)
class Counted(Source):
    """Counts how often each one is loaded."""

    name: str
    rank: int
    rows: int = 40
    loads: ClassVar[list[str]] = []

    def load(self):
        self.loads.append(self.name)
        return check_data(self.name, *blob(self.rank, self.rows))


@pytest.fixture
def loads():
    Counted.loads.clear()
    return Counted.loads


def cache(sources, room):
    held = Cache("here", room, check_same)
    return held, [held.add(rank, source) for rank, source in enumerate(sources)]


def test_what_was_used_longest_ago_is_forgotten_first(loads):
    held, infos = cache([Counted(name, i) for i, name in enumerate("abc")], room=2 * ONE)
    assert [info.rows for info in infos] == [40] * 3
    assert infos[0].place == "here"
    assert held.nbytes == 2 * ONE
    assert loads == ["a", "b", "c"]
    held[1], held[0], held[1]  # c goes, as b was asked for since
    assert loads == ["a", "b", "c", "a"]
    held[2]
    assert loads == ["a", "b", "c", "a", "c"]
    assert held.nbytes == 2 * ONE
    held[1]
    assert len(loads) == 5
    np.testing.assert_array_equal(held[0].X, blob(0)[0])


def test_a_source_larger_than_the_room_is_kept_alone(loads):
    held, _ = cache([Counted("a", 0), Counted("large", 1, 400)], room=3 * ONE)
    held[1]
    assert loads == ["a", "large"]
    assert held.nbytes == 10 * ONE
    held[0]
    assert held.nbytes == ONE


def test_it_is_a_mapping_that_loads_nothing_to_be_counted(loads):
    held, _ = cache([Counted("a", 0)], room=ONE)
    held.add(2, Counted("c", 2))
    assert list(held) == [0, 2]
    assert len(held) == 2
    assert 1 not in held
    assert 2 in held
    assert len(loads) == 2
    assert [len(data) for _, data in held.items()] == [40, 40]
    held.forget()
    assert held.nbytes == 0
    assert len(held) == 2
    held.leave_out(0)
    assert list(held) == [2]
    with pytest.raises(KeyError):
        held[0]


def test_rows_that_came_with_their_recipe_are_not_here_twice_and_stay():
    X, y = blob(0)
    here = ArraySource("here", X, y)
    flipped = CorruptedSource(here, LabelFlip(), CLASSES)
    pool = PooledSource((here, blobs(1)[0]))
    assert pool.in_memory
    assert Pinned(here, "north").in_memory
    assert not Pinned(blobs(1)[0], "north").in_memory
    assert flipped.in_memory
    assert not blobs(1)[0].in_memory
    held, _ = cache([here, flipped, Counted("b", 1)], room=1)
    held.forget()
    assert held[0] is held[0]
    assert np.shares_memory(held[0].X, X)
    assert list(held._sources) == [2]  # no recipe
    assert held.nbytes == 2 * ONE


def test_sparse_rows_count_what_they_store():
    X = csr_array(np.eye(5, 9, dtype=np.float32))
    data = check_data("s", X, np.zeros(5), np.ones(5))
    assert nbytes_of(data) == 5 * 4 + 5 * 4 + 6 * 4 + 5 * 4 + 5 * 4


@pytest.mark.usefixtures("loads")
def test_threads_may_ask_at_the_same_time():
    held, _ = cache([Counted(str(i), i) for i in range(20)], room=3 * ONE)
    ready = Barrier(4)

    def ask(seed):
        ready.wait()
        for rank in np.random.default_rng(seed).integers(0, 20, 200).tolist():
            np.testing.assert_array_equal(held[rank].y, blob(rank)[1])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    assert held.nbytes == 3 * ONE


def test_what_was_left_out_while_it_was_loaded_does_not_come_back():
    begun, left_out = Event(), Event()

    class Slow(Counted):
        def load(self):
            if 0 in held:
                begun.set()
                left_out.wait(30)
            return super().load()

    held = Cache("here", np.inf, check_same)
    held.add(0, Slow("slow", 0))
    held.forget()
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(held.__getitem__, 0)
        begun.wait(30)
        held.leave_out(0)
        left_out.set()
        assert len(late.result()) == 40
    assert list(held) == []
    assert held.nbytes == 0


@pytest.mark.parametrize("changed", ["X", "y", "weight", "order"])
def test_rows_that_changed_are_named_with_both_digests(tmp_path, changed):
    X, y = blob(0)
    rows = {"X": X, "y": y, "weight": np.ones(len(y))}
    np.savez(tmp_path / "s.npz", **rows)
    source = FileSource("s", str(tmp_path / "s.npz"), weight="weight")
    held, (before,) = cache([source], room=np.inf)
    held.forget()
    held[0]
    if changed == "order":
        rows = {name: value[::-1] for name, value in rows.items()}
    else:
        rows[changed] = rows[changed].copy()
        rows[changed].flat[3] += 1
    np.savez(tmp_path / "s.npz", **rows)
    held.forget()
    with pytest.raises(SourceError, match=rf"other rows .*digest \w{{16}}, was {before.digest}"):
        held[0]


def test_sparse_rows_that_became_wider_are_other_rows():
    class Eye(Counted):
        def load(self):
            return check_data(self.name, csr_array((4, self.rank + len(loaded))), np.zeros(4))

    loaded = []
    held, _ = cache([Eye("s", 5)], room=np.inf)
    held.forget()
    loaded.append(1)
    with pytest.raises(SourceError, match="other rows"):
        held[0]


def files(folder, n=5):
    for rank in range(n):
        X, y = blob(rank)
        np.savez(folder / f"{rank}.npz", X=X, y=y)
    return [FileSource(f"file-{rank}", str(folder / f"{rank}.npz")) for rank in range(n)]


def run(a_plan, sources, room=None, **kwargs):
    with LocalExecutor(room) as executor:
        return train(a_plan, sources, executor, held_out=held_out(), **kwargs)


def told(result):
    return [replace(r, seconds={}) for r in result.reports], result.params.tobytes()


@pytest.mark.parametrize("attack", [None, LabelFlip()])
def test_the_room_changes_no_bit(attack):
    a_plan = plan(attack=attack, corrupted=(1, 4) if attack else (), trust=PacFilter())
    assert told(run(a_plan, blobs(), room=2 * ONE)) == told(run(a_plan, blobs()))


def test_no_more_than_the_room_is_loaded_in_a_run(loads):
    sources = [Counted(str(i), i) for i in range(6)]
    with LocalExecutor(2 * ONE) as executor:
        stage = set_stage(CALM, sources, held_out(), executor)
        host = stage.hosts["local"]
        assert host.data.nbytes == 2 * ONE
        assert len(loads) == 6
        stage.forget()
        assert host.data.nbytes == 0


def nan(rank):
    X, y = blob(rank)
    X[3, 1] = np.nan
    return X, y


def empty(rank):
    X, y = blob(rank)
    return X[:0], y[:0]


def wide(rank):
    X, y = blob(rank)
    return np.hstack([X, X]), y


def strange(rank):
    X, y = blob(rank)
    return X, y + CLASSES


FAULTS = {
    broken: "disk 2 is on fire",
    nan: "NaN or Inf in row 3 of X",
    empty: "has no rows",
    wide: "has 12 features, the model takes 6",
    strange: r"has class 5, the run has classes 0\.\.2",
}


@pytest.mark.parametrize("loader", FAULTS, ids=lambda loader: loader.__name__)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_source_that_cannot_be_learned_from_takes_no_part_by_drop(loader, sampler):
    sources = blobs(5)
    sources[2] = LoaderSource("bad", loader, (2,))
    a_plan = replace(CALM, on_failure="drop", per_round=3, sampler=make_sampler(sampler))
    with pytest.warns(
        RuntimeWarning, match=rf"1 of 5 sources take no part: bad .*{FAULTS[loader]}"
    ):
        result = run(a_plan, sources)
    ranks = {rank for report in result.reports for rank in report.participants}
    assert ranks == {0, 1, 3, 4}
    assert all(r.believed == 4 for r in result.reports)
    table = result.ledger.table()
    assert table["reason"][2] == LEFT_OUT
    assert table["trust"][2] == 0
    assert table["excluded"][2] == 0
    assert table["trust"].drop(2).tolist() == [1] * 4
    assert "bad" in result.ledger.html()
    with pytest.raises((SourceError, DataError), match=FAULTS[loader]):
        run(replace(a_plan, on_failure="raise"), sources)


def test_it_is_said_once_however_often_sources_are_loaded():
    sources = [*blobs(3), LoaderSource("bad", broken, (3,))]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        result = run(replace(CALM, on_failure="drop", trust_every=2), sources)
    assert len([w for w in caught if "no part" in str(w.message)]) == 1
    assert result.sources[3].trouble.endswith("disk 3 is on fire")


def test_all_that_fail_are_an_error_that_lists_some():
    bad = [LoaderSource(f"bad-{i}", broken, (i,)) for i in range(70)]
    with pytest.raises(DataError, match=r"bad-0 .*disk 0.*bad-4 .*disk 4.*bad-49; and 20 more"):
        run(replace(CALM, on_failure="drop"), bad)


def test_the_aggregator_needs_enough_of_those_that_are_left():
    sources = [*blobs(4), LoaderSource("bad", broken, (4,))]
    short = replace(CALM, aggregator=TrimmedMean(f=2), on_failure="drop")
    with pytest.warns(RuntimeWarning), pytest.raises(PlanError, match="at least 5 rows, got 4"):
        run(short, sources)


@pytest.mark.parametrize("trust", [PacFilter(), ReferenceWeighting(reference="site-3", lam=1.0)])
def test_trust_rules_judge_those_that_are_left(trust):
    a_plan = replace(CALM, trust=trust, on_failure="drop")
    sources = blobs(6)
    sources[1] = LoaderSource("bad", broken, (1,))
    with pytest.warns(RuntimeWarning):
        result = run(a_plan, sources)
    table = result.ledger.table()
    assert table["trust"][1] == 0
    assert np.isnan(table["statistic"][1])
    left = run(a_plan, [source for source in sources if source.name != "bad"])
    # Halves of a source are drawn by its rank, what they say of the others is not.
    if isinstance(trust, ReferenceWeighting):
        assert table["trust"].drop(1).tolist() == left.ledger.table()["trust"].tolist()
    assert table["trust"].drop(1).max() == 1
    assert result.ledger.html().count("bad") > 0


def test_a_measured_capacity_and_rules_per_source_go_without_it():
    from msl.aggregators import Safeguard
    from msl.bounds.guarantee import Guarantee

    a_plan = replace(
        CALM,
        on_failure="drop",
        guarantee=Guarantee(capacity="measured"),
        aggregator=Safeguard(short=2, calibrate=2),
    )
    sources = blobs(6)
    sources[1] = LoaderSource("bad", wide, (1,))
    with pytest.warns(RuntimeWarning):
        result = run(a_plan, sources)
    assert result.reports[-1].participants == (0, 2, 3, 4, 5)


def gone(folder):
    (folder / "1.npz").unlink()


def longer(folder):
    X, y = blob(1, 50)
    np.savez(folder / "1.npz", X=X, y=y)


def wider(folder):
    X, y = wide(1)
    np.savez(folder / "1.npz", X=X, y=y)


LATER = {gone: "FileNotFoundError", longer: "other rows than when", wider: "other rows than when"}


def changing(folder, change, at=1):
    """Return what changes a file after so many rounds, when told reports."""

    def on_report(report):
        if report.round == at:
            change(folder)

    return on_report


@pytest.mark.parametrize("change", LATER, ids=lambda change: change.__name__)
def test_a_source_that_fails_when_loaded_again_follows_the_policy(tmp_path, change):
    sources, words = files(tmp_path), LATER[change]
    heard = changing(tmp_path, change)

    def watch(report, _):  # so that a round is over before the next one begins
        return heard(report)

    with pytest.raises(
        SourceError, match=rf"'file-1' failed in round 2 on worker local: .*{words}"
    ):
        run(CALM, sources, room=1, watch=watch)
    sources = files(tmp_path)
    result = run(replace(CALM, on_failure="drop"), sources, room=1, watch=watch)
    for report in result.reports:
        assert (1 in report.dropped) == (report.round >= 2)
    assert words in result.ledger.dropped[1].why
    assert result.ledger.dropped[1].times == 4
    # All rows in memory: nobody notices.
    assert not run(CALM, files(tmp_path), watch=watch).ledger.dropped


def test_rows_may_change_where_they_are_weighed_anew_but_not_their_columns(tmp_path):
    a_plan = replace(CALM, on_failure="drop", trust_every=4)
    sources = files(tmp_path)
    result = run(a_plan, sources, room=1, watch=lambda r, _: changing(tmp_path, longer)(r))
    assert not result.ledger.dropped
    assert result.sources[1].rows == 50
    sources = files(tmp_path)
    with pytest.warns(RuntimeWarning, match="file-1"):
        result = run(a_plan, sources, room=1, watch=lambda r, _: changing(tmp_path, wider)(r))
    assert "has 12 features" in result.ledger.dropped[1].why
    assert result.ledger.dropped[1].times == 2
    assert result.ledger.table()["excluded"][1] == 4


def test_a_source_that_is_lost_before_a_resume_is_left_out_and_comes_back(tmp_path):
    sources, points = files(tmp_path), Checkpoints(str(tmp_path / "points"), every=2)
    a_plan = replace(CALM, on_failure="drop", rounds=4)
    whole = run(a_plan, sources, checkpoints=points)
    digest = whole.sources[1].digest
    kept = (tmp_path / "1.npz").read_bytes()
    gone(tmp_path)
    with pytest.raises(SourceError, match="file-1"):
        run(replace(a_plan, on_failure="raise", rounds=6), sources, checkpoints=points, resume=True)
    with pytest.warns(RuntimeWarning, match="file-1"):
        left = run(replace(a_plan, rounds=6), sources, checkpoints=points, resume=True)
    assert [len(r.participants) for r in left.reports] == [5, 5, 5, 5, 4, 4]
    table = left.ledger.table()
    assert table["excluded"][1] == 4
    assert table["reason"][1] == LEFT_OUT
    assert table["digest"][1] == digest
    (tmp_path / "1.npz").write_bytes(kept)
    back = run(replace(a_plan, rounds=8), sources, checkpoints=points, resume=True)
    assert len(back.reports[-1].participants) == 5
    assert np.isnan(back.ledger.table()["excluded"][1])


@dataclass(frozen=True)
class Flapping(Source):
    """Cannot be loaded at some times, counted from 0."""

    name: str
    rank: int
    fails_at: tuple[int, ...]
    loads: list[int]

    def load(self):
        self.loads.append(len(self.loads))
        if self.loads[-1] in self.fails_at:
            raise OSError("not mounted")
        return check_data(self.name, *blob(self.rank))


class Losing(LocalExecutor):
    """Loses its place in the middle of round 4, once."""

    lost = False

    def submit(self, fn, *args, **where):
        if not self.lost and fn is meet and args[5] == 4:
            self.lost = True
            raise WorkerLostError(("local",), "pulled the plug")
        return super().submit(fn, *args, **where)


@pytest.mark.parametrize("trust", [TrustAll(), PacFilter()])
def test_a_source_that_comes_back_with_a_replay_was_not_in_those_rounds(trust):
    def go(executor, fails_at):
        sources = [*blobs(5), Flapping("flapping", 5, fails_at, [])]
        a_plan = replace(CALM, on_failure="drop", trust=trust)
        with pytest.warns(RuntimeWarning, match="flapping"), executor:
            # Each round is heard before the next one.
            return train(a_plan, sources, executor, held_out=held_out(), watch=lambda *_: False)

    losing = Losing()
    back = go(losing, (0,))
    assert losing.lost
    assert told(back) == told(go(LocalExecutor(), tuple(range(9))))
    assert back.ledger.table()["rounds"][5] == 0


def test_a_source_that_fails_while_the_kernels_are_compiled_follows_the_policy():
    sources = [Flapping("flapping", 0, (1,), []), *blobs(3)]
    a_plan = replace(CALM, on_failure="drop", waiting=Deadline(seconds=30), rounds=2)
    result = run(a_plan, sources, room=1)
    assert [report.participants for report in result.reports] == [(0, 1, 2, 3)] * 2


def test_workers_leave_out_and_load_again_as_one_process_does(cluster):
    sources = blobs(8)
    sources[3] = LoaderSource("bad", broken, (3,))
    a_plan = replace(CALM, on_failure="drop", per_round=4, trust=PacFilter(), rounds=8)
    with pytest.warns(RuntimeWarning, match="bad"):
        alone = run(a_plan, sources)
    with DaskExecutor(cluster, cache=ONE) as executor:
        assert executor.room(executor.places[0]) == ONE
        with pytest.warns(RuntimeWarning, match=r"bad .*disk 3 is on fire"):
            result = train(a_plan, sources, executor, held_out=held_out())
    assert told(result) == told(alone)


def test_workers_name_a_source_that_fails_when_loaded_again(cluster, tmp_path):
    def watch(report, _):
        return changing(tmp_path, gone)(report)

    with DaskExecutor(cluster, cache=1) as executor:
        dropped = train(
            replace(CALM, on_failure="drop"), files(tmp_path), executor, watch=watch
        ).ledger.dropped
        assert dropped.keys() == {1}
        assert "FileNotFoundError" in dropped[1].why
        with pytest.raises(
            SourceError, match=r"'file-1' failed in round 2.*FileNotFound"
        ) as caught:
            train(CALM, files(tmp_path), executor, watch=watch)
    assert caught.value.worker in executor.places


def test_the_room_is_half_of_a_workers_memory_or_what_is_asked_for(cluster):
    workers = cluster.scheduler_info(n_workers=-1)["workers"]
    with DaskExecutor(cluster) as executor:
        for place in executor.places:
            assert executor.room(place) == workers[place]["memory_limit"] // 2
    with DaskExecutor(cluster, cache=7) as executor:
        for part in executor.split(2):
            assert part.room(part.places[0]) == 7
            part.close()
    with open_executor(workers=0, cache=9) as executor:
        assert executor.room("local") == 9
    with LocalExecutor() as executor:
        assert executor.room("local") > 2**28
    cluster_of = {"data": {"dataset": "iris"}}
    assert load_config(cluster_of, ["cluster.cache=4GB"]).cluster.cache == 4 * 10**9
    assert load_config(cluster_of, ["cluster.cache=4096"]).cluster.cache == 4096
    for wrong in ("much", "0", "-3MB"):
        with pytest.raises(PlanError, match=r"cluster\.cache"):
            load_config(cluster_of, [f"cluster.cache={wrong}"])


def test_a_filter_needs_no_more_than_the_room(loads):
    sources = [Counted(str(i), i) for i in range(6)]
    with LocalExecutor(ONE) as executor:
        stage = set_stage(replace(CALM, trust=PacFilter()), sources, held_out(), executor)
        assert stage.hosts["local"].data.nbytes == ONE
    # Described, for moments, in halves (twenty of them, looked up one by one), and judged.
    assert len(loads) == 4 * len(sources)
