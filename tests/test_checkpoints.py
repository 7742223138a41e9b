"""Checkpoints: a run that goes on equals the one without a break to the bit, or says why not."""

import json
import pickle
from collections import deque
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from codec_samples import SAMPLES as CODECS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from rule_samples import SAMPLES as RULES
from rule_samples import distance_to_ones
from tasks import blob, blobs, held_out, plan

from msl.aggregators import CenteredClipping, Mean, Safeguard, Zeno
from msl.algorithms import ALGORITHMS, Lbfgs
from msl.attacks import ATTACKS, Delayed, Optimal
from msl.checkpoints import Checkpoints, run_of
from msl.checkpoints.classes import allowed
from msl.checkpoints.file import packed, read_tree, write_tree
from msl.checkpoints.identity import differing, digests
from msl.checkpoints.manifest import Manifest, rounds_in
from msl.checkpoints.places import write_memories
from msl.checkpoints.store import Folder
from msl.checkpoints.tree import pack, unpack
from msl.cluster import DaskExecutor, LocalExecutor
from msl.codecs import ErrorFeedback, MaxMin, OneBit, PowerSgd, TopK
from msl.delivery import Delivery, Kept, Worked
from msl.errors import CheckpointError, PlanError
from msl.ledger import Ledger
from msl.models import Softmax
from msl.rounds import Standing, first_standing, run_round, set_stage, train
from msl.sources import ArraySource

# -- a run by hand: some rounds, a checkpoint, and the rest from the checkpoint alone ------------


def some_rounds(stage, standing, rounds):
    reports = []
    for round in rounds:
        report, standing = run_round(stage, standing, round)
        reports.append(replace(report, seconds={}))
    return standing, reports


def broken_off(a_plan, folder, executor, after=(3,), keep=2, sources=None):
    """Run to the last checkpoint, and leave nothing but the folder."""
    stage = set_stage(a_plan, sources or blobs(), held_out(), executor)
    shelf = Checkpoints(str(folder), keep=keep).open(a_plan)
    standing, told = first_standing(stage), []
    ledger = Ledger.open(stage.infos, stage.verdict)
    for done in after:
        standing, reports = some_rounds(stage, standing, range(len(told), done))
        told += reports
        for report in reports:
            ledger = ledger.heard(report)
        shelf = shelf.save(executor, stage.root, standing.met, standing.worked, ledger, told)
    return shelf


def resumed(a_plan, folder, executor, rounds=6, sources=None):
    """Return all reports and the parameters of a run that goes on from a folder."""
    shelf = Checkpoints(str(folder)).open(a_plan, resume=True)
    for saved in shelf.saved(required=True):
        stage = set_stage(a_plan, sources or blobs(), held_out(), executor)
        saved.books(stage.infos)
        restored = saved.restore(a_plan, executor, stage.root, stage.ranks)
        if restored is not None:
            standing, told = some_rounds(stage, Standing(*restored), range(saved.done, rounds))
            (params,) = executor.gather([executor.submit(params_of, standing.met, at=stage.root)])
            return [replace(r, seconds={}) for r in saved.reports] + told, params
    raise AssertionError("saved() raises before it ends")


def params_of(met):
    return met.state.params


def undisturbed(a_plan, sources=None):
    with LocalExecutor() as executor:
        result = train(a_plan, sources or blobs(), executor, held_out=held_out())
    return [replace(r, seconds={}) for r in result.reports], result.params


def same(a, b):
    return a[1].tobytes() == b[1].tobytes() and a[0] == b[0]


def goes_on(a_plan, folder, rounds=2, sources=None):
    with LocalExecutor() as executor:
        broken_off(a_plan, folder, executor, after=(rounds,), sources=sources)
        return resumed(a_plan, folder, executor, a_plan.rounds, sources)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"codec": ErrorFeedback(PowerSgd(rank=1))},
        {"codec": ErrorFeedback(OneBit(bucket=8)), "per_round": 3},
        {"codec": ErrorFeedback(TopK(0.1), decay=0.5), "per_round": 2, "seed": 9},
        {"aggregator": CenteredClipping(), "attack": Delayed(2)},
        {"aggregator": Safeguard(short=2, calibrate=2), "attack": Optimal(evaluations=4)},
        {"algorithm": Lbfgs(), "attack": None, "corrupted": (), "aggregator": Mean()},
    ],
    ids=repr,
)
def test_any_number_of_places_goes_on_to_the_same_bits(changes, cluster, tmp_path):
    a_plan = plan(**changes)
    whole = undisturbed(a_plan)
    with DaskExecutor(cluster) as executor:
        broken_off(a_plan, tmp_path / "two", executor)
    with LocalExecutor() as executor:
        broken_off(a_plan, tmp_path / "one", executor)
        assert same(resumed(a_plan, tmp_path / "two", executor), whole)
    with DaskExecutor(cluster) as executor:
        assert same(resumed(a_plan, tmp_path / "two", executor), whole)
        assert same(resumed(a_plan, tmp_path / "one", executor), whole)
        executor.places = executor.places[:1]
        assert same(resumed(a_plan, tmp_path / "two", executor), whole)


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_every_codec_goes_on(codec, tmp_path):
    calm = plan(codec=codec, attack=None, corrupted=(), rounds=4, per_round=5)
    assert same(goes_on(calm, tmp_path), undisturbed(calm))


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_every_aggregator_goes_on(rule, tmp_path):
    calm = plan(aggregator=rule, attack=None, corrupted=(), rounds=4, trusted=20)
    # As many as test_aggregators.py has rows: kernels are compiled anew for another number.
    sources = blobs(12)
    assert same(goes_on(calm, tmp_path, sources=sources), undisturbed(calm, sources))


@pytest.mark.parametrize("name", list(ATTACKS))
def test_every_attack_goes_on(name, tmp_path):
    a_plan = plan(attack=ATTACKS[name](), codec=MaxMin(8, 8), rounds=5)
    assert same(goes_on(a_plan, tmp_path), undisturbed(a_plan))


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_every_algorithm_goes_on(name, tmp_path):
    a_plan = plan(algorithm=ALGORITHMS[name](), aggregator=Mean(), rounds=12)
    assert same(goes_on(a_plan, tmp_path, rounds=7), undisturbed(a_plan))


def test_the_books_go_on(tmp_path):
    a_plan = plan(per_round=3)
    with LocalExecutor() as executor:
        shelf = broken_off(a_plan, tmp_path, executor, after=(2, 4))
        whole = train(replace(a_plan, rounds=4), blobs(), executor, held_out=held_out())
    saved = next(shelf.saved())
    assert saved.done == 4
    assert saved.ledger.table().equals(whole.ledger.table())
    assert [r.round for r in saved.reports] == [0, 1, 2, 3]


# -- what is on the disk --------------------------------------------------------------------------


def files_below(folder):
    return sorted(str(f.relative_to(folder)) for f in Path(folder).rglob("*") if f.is_file())


def test_each_place_writes_its_own_part_and_the_last_two_are_kept(cluster, tmp_path):
    with DaskExecutor(cluster) as executor:
        broken_off(plan(), tmp_path, executor, after=(1, 2, 4))
    parts = ["books.tree", "manifest.json", "memories-0.tree", "memories-1.tree", "state.tree"]
    assert files_below(tmp_path) == [
        *(f"{round}/{part}" for round in ("000001", "000003") for part in parts),
        "reports-000000-000000.tree",
        "reports-000001-000001.tree",
        "reports-000002-000003.tree",
        "run.json",
    ]
    manifest = json.loads((tmp_path / "000003/manifest.json").read_text())
    assert [part["ranks"] for part in manifest["memories"]] == [[0, 2, 4, 6], [1, 3, 5]]


def test_the_client_carries_no_part_of_a_checkpoint(cluster, tmp_path):
    small, large = (_client_bytes(cluster, tmp_path, wide) for wide in (8, 4000))
    assert large < small + 2000


def _client_bytes(client, folder, features):
    """Bytes that saving and restoring move through the client, both ways, as pickles."""
    rows = np.random.default_rng(0).standard_normal((12, features)).astype(np.float32)
    sources = [ArraySource(f"w{r}", rows + r, np.arange(12) % 3) for r in range(4)]
    a_plan = plan(model=Softmax(features, 3), attack=None, corrupted=(), rounds=2)
    moved = []
    with DaskExecutor(client) as executor:
        stage = set_stage(a_plan, sources, None, executor)
        standing, told = some_rounds(stage, first_standing(stage), range(2))
        ledger = Ledger.open(stage.infos, stage.verdict)
        for report in told:
            ledger = ledger.heard(report)
        send = executor._send_one

        async def measured(place, program):
            values = await send(place, program)
            moved.append(len(pickle.dumps(program)) + len(pickle.dumps(values)))
            return values

        executor._send_one = measured
        shelf = Checkpoints(str(folder / str(features))).open(a_plan)
        shelf = shelf.save(executor, stage.root, standing.met, standing.worked, ledger, told)
        next(shelf.saved()).restore(a_plan, executor, stage.root, stage.ranks)
    return sum(moved)


def test_another_file_system():
    whole = undisturbed(plan())
    with LocalExecutor() as executor:
        broken_off(plan(), "memory://runs/7", executor)
        assert same(resumed(plan(), "memory://runs/7", executor), whole)


# -- what can be wrong ----------------------------------------------------------------------------


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def turned(file):
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)


def not_json(file):
    file.write_text(file.read_text()[:40])


def newer(file):
    file.write_text(file.read_text().replace('"format":1', '"format":2'))


def outside(file):
    file.write_text(file.read_text().replace("000003/state.tree", "../3/state.tree"))


def others(file):
    manifest = json.loads(file.read_text())
    manifest["plan"]["codec"] = "0" * 64
    file.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("part", "harm", "words"),
    [
        ("state.tree", cut, "bytes, the manifest says"),
        ("state.tree", turned, "state.tree: its SHA-256"),
        ("memories-0.tree", turned, "memories-0.tree: its SHA-256"),
        ("memories-0.tree", Path.unlink, "memories-0.tree"),
        ("books.tree", turned, "books.tree: its SHA-256"),
        ("manifest.json", not_json, "cannot be read"),
        ("manifest.json", newer, "format"),
        ("manifest.json", outside, "name"),
        ("manifest.json", others, "another codec"),
    ],
)
def test_a_damaged_checkpoint_makes_way_for_the_one_before(part, harm, words, tmp_path):
    a_plan = plan()
    with LocalExecutor() as executor:
        broken_off(a_plan, tmp_path, executor, after=(2, 4))
        harm(tmp_path / "000003" / part)
        with pytest.warns(RuntimeWarning, match=rf"(?s)round 3 .*cannot be used.*{words}"):
            found = resumed(a_plan, tmp_path, executor)
        assert same(found, undisturbed(a_plan))
        for file in (tmp_path / "000001").glob("*.tree"):
            cut(file)
        with (
            pytest.warns(RuntimeWarning),
            pytest.raises(CheckpointError, match=r"none of the 2 checkpoint\(s\)"),
        ):
            resumed(a_plan, tmp_path, executor)


def test_without_a_manifest_there_is_no_checkpoint(tmp_path):
    (tmp_path / "000000").mkdir()
    (tmp_path / "000000/state.tree").touch()
    with LocalExecutor() as executor:
        shelf = broken_off(plan(), tmp_path, executor, after=(2, 4))
    # What was broken off before goes when one is whole.
    assert not (tmp_path / "000000").exists()
    (tmp_path / "000003/manifest.json").unlink()
    assert [saved.done for saved in shelf.saved()] == [2]
    assert rounds_in(Folder(str(tmp_path))) == [1]


def test_a_full_disk_does_not_end_the_training(tmp_path):
    a_plan = plan()
    (tmp_path / "000002").mkdir()
    (tmp_path / "000002/state.tree.new").symlink_to("/dev/full")
    with LocalExecutor() as executor:
        with pytest.warns(
            RuntimeWarning, match="No space left on device; training goes on"
        ) as said:
            shelf = broken_off(a_plan, tmp_path, executor, after=(1, 3, 5))
        assert len(said) == 1
        assert str(tmp_path) in str(said[0].message)
        assert not (tmp_path / "000002").exists()
        assert [saved.done for saved in shelf.saved()] == [5, 1]
        assert same(resumed(a_plan, tmp_path, executor), undisturbed(a_plan))


def test_a_folder_that_not_all_places_reach_is_said(cluster):
    # Each process has a memory of its own.
    with DaskExecutor(cluster) as executor:
        with pytest.warns(RuntimeWarning, match="not seen here; the folder must be one that all"):
            shelf = broken_off(plan(), "memory://runs/apart", executor)
        assert list(shelf.saved(required=True)) == []
        with LocalExecutor() as here:
            broken_off(plan(), "memory://runs/here", here)
        with (
            pytest.warns(RuntimeWarning, match=r"cannot be used: .*FileNotFoundError"),
            pytest.raises(CheckpointError, match="none of the 1"),
        ):
            resumed(plan(), "memory://runs/here", executor)


def test_a_failure_is_said_once_until_it_works_again(tmp_path):
    with LocalExecutor() as executor:
        for name in ("000001", "000002", "000004"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "memories-0.tree.new").symlink_to("/dev/full")
        with pytest.warns(RuntimeWarning) as said:
            shelf = broken_off(plan(), tmp_path, executor, after=(1, 2, 3, 4, 5))
    assert [str(warning.message)[:20] for warning in said] == [
        "checkpoint 000001 in",
        "checkpoint 000004 in",
    ]
    assert (shelf.failing, shelf.done) == (True, 4)


def test_equal_plans_have_equal_digests_and_others_say_where_they_differ():
    judged = plan(aggregator=Zeno(f=1, loss=distance_to_ones))
    assert digests(pickle.loads(pickle.dumps(judged))) == digests(judged)
    others = {
        "aggregator": [Zeno(f=1, loss=held_out), Zeno(f=2, loss=distance_to_ones), Mean()],
        "codec": [MaxMin(bits=4, bucket=8, rounding="stochastic"), ErrorFeedback(MaxMin(4, 8))],
        "corrupted": [(1,), (4, 1)],
        "model": [Softmax(6, 4), Softmax(6, 3, l2=0.1)],
        "trusted": [3],
    }
    for name, values in others.items():
        for value in values:
            assert differing(digests(judged), digests(replace(judged, **{name: value}))) == [name]


def test_other_plans_and_other_sources_are_refused(tmp_path):
    with LocalExecutor() as executor:
        broken_off(plan(), tmp_path, executor)
        with pytest.raises(PlanError, match="another codec, seed: resume it"):
            resumed(plan(codec=MaxMin(8, 8), seed=6), tmp_path, executor)
        with pytest.raises(PlanError, match="holds the checkpoints of a run"):
            Checkpoints(str(tmp_path)).open(plan())
        with pytest.raises(PlanError, match="holds no run to go on with"):
            resumed(plan(), tmp_path / "elsewhere", executor)
        with pytest.raises(PlanError, match="had 7 sources, not 6"):
            resumed(plan(), tmp_path, executor, sources=blobs(6))
        X, y = blob(2)
        sources = [*blobs(2), ArraySource("site-2", X + 1, y), *blobs()[3:]]
        with pytest.raises(PlanError, match="'site-2' has other rows"):
            resumed(plan(), tmp_path, executor, sources=sources)
        # More rounds, and another policy on failures, are the same run.
        longer = plan(rounds=8, on_failure="drop")
        found = resumed(longer, tmp_path, executor, rounds=8)
    assert found[1].tobytes() == undisturbed(longer)[1].tobytes()


def test_a_folder_knows_its_run(tmp_path):
    Checkpoints(str(tmp_path)).open(plan(), run="4f00")
    assert run_of(str(tmp_path)) == "4f00"
    with pytest.raises(PlanError, match="holds no run"):
        run_of(str(tmp_path / "elsewhere"))
    with pytest.raises(PlanError, match="every >= 1"):
        Checkpoints(str(tmp_path), every=0)


# -- values and bytes -----------------------------------------------------------------------------

numbers = arrays_of.arrays(
    st.sampled_from(["?", "i1", "<u2", "<i8", "<f2", "<f4", "<f8", "<c8"]),
    arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    plain | numbers | numbers.map(np.asfortranarray),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.booleans()), inner, max_size=3)
    ),
    max_leaves=8,
)


def through_bytes(value, **kept):
    file = BytesIO()
    nbytes, digest = write_tree(file, packed(value, "value"))
    assert nbytes == len(file.getvalue())
    file.seek(0)
    return read_tree(file, nbytes, digest, **kept)


def alike(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        order = "A" if isinstance(a, np.ndarray) else "C"
        layout = a.dtype == b.dtype and a.shape == b.shape
        return layout and a.tobytes(order) == b.tobytes(order)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return alike(list(a.items()), list(b.items()))
    return repr(a) == repr(b)


@settings(max_examples=150, deadline=None)
@given(values)
def test_values_come_back_as_they_were(value):
    assert alike(through_bytes(value), value)


def test_scalars_gaps_and_shared_arrays_come_back():
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    value = [np.float32(np.inf), np.bool_(True), table.T, table[:, ::2], table, table]
    found = through_bytes(value)
    assert all(
        np.array_equal(a, b) and type(a) is type(b) for a, b in zip(found, value, strict=True)
    )
    assert found[2].flags.f_contiguous
    assert found[4] is found[5]


def test_only_the_asked_ranks_are_made():
    memories = {rank: (np.full(5, rank), None) for rank in range(4)}
    assert alike(through_bytes(memories, ranks={1, 3}), {1: memories[1], 3: memories[3]})


class Named(NamedTuple):
    x: int


@dataclass(frozen=True)
class Foreign:
    x: int


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": (1, {2})}, r"state\['a'\]\[1\] is a builtins:set"),
        ([b"x"], r"state\[0\] is a builtins:bytes"),
        (Foreign(1), "Foreign"),
        (Named(1), "Named"),
        (deque([1]), "collections:deque"),
        (np.array([None]), "state is an array of object"),
        (np.zeros(2, ">f4"), "state is an array of >f4"),
        (np.array(["a"]), "state is an array of <U1"),
        (np.random.default_rng(0), "Generator"),
        (len, "builtin_function_or_method"),
    ],
)
def test_what_no_file_can_hold_is_named(value, words):
    with pytest.raises(CheckpointError, match=words):
        pack(value, "state")


def test_a_memory_that_no_file_can_hold_ends_the_run_with_its_place(tmp_path):
    worked = Worked(Delivery((), {}, 0.0), {3: Kept(None, (np.zeros(2), {1}), 0)})
    with pytest.raises(CheckpointError, match=r"memories\[3\]\.coding\[1\] is a builtins:set"):
        write_memories(worked, str(tmp_path), "000000", 0)
    assert files_below(tmp_path) == []


def test_the_allowed_classes_are_ours_and_frozen():
    for name, cls in allowed().items():
        assert name.startswith("msl.")
        assert name == f"{cls.__module__}:{cls.__qualname__}"
    known = {"msl.aggregators.guard:Guard", "msl.algorithms.pace:Pace", "msl.meeting:State"}
    assert known | {"msl.ledger:Ledger", "msl.delivery:Kept", "msl.types:Report"} <= set(allowed())


@pytest.mark.parametrize(
    "tree",
    [
        {"class": "builtins:eval", "fields": {}},
        {"class": "os:system", "fields": {"command": "true"}},
        {"class": "msl.delivery:Kept", "fields": {"solving": None, "coding": None}},
        {"class": "msl.delivery:Kept", "fields": ["solving", "coding", "round"]},
        {"class": ["msl.delivery:Kept"], "fields": {}},
        {
            "class": "msl.codecs.maxmin:MaxMin",
            "fields": {"bits": 99, "bucket": 8, "rounding": "nearest"},
        },
        {"pickle": "gASVAAAA"},
        {"array": 1},
        {"array": -1},
        {"array": "0"},
        {"scalar": 0},
        {"float": "1e5"},
        {"dict": [[[], 1]]},
        {"dict": [[1]]},
        {"tuple": 3},
        {},
        {"tuple": [], "dict": []},
    ],
    ids=str,
)
def test_a_tree_that_none_of_ours_made_is_refused(tree):
    with pytest.raises(CheckpointError, match="not a tree of values"):
        unpack(tree, [np.zeros(2)])


def forged(header, rest=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    return b"msl-tree" + length.to_bytes(8, "little") + text + rest


def spec(*arrays, tree=None):
    return {"format": 1, "tree": tree, "arrays": list(arrays)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pickle.dumps([1, 2, 3] * 9), "does not start"),
        (b"msl", "cut short"),
        (forged({}, length=2**63), "does not start"),
        (forged(b"{"), "header"),
        (forged(b"[" * 100_000), "header"),
        (forged({"format": 2}), "format 2"),
        (forged(spec(["<f8", [2**40], "C"])), "do not fit"),
        (forged(spec(["<f8", [2**62, 2**62, 0], "C"], tree={"array": 0})), "shape"),
        (forged(spec(["<f8", [4], "C"]), b"1234567"), "do not fit"),
        (forged(spec(["<f8", [-1], "C"]), b"12345678"), "shape"),
        (forged(spec(["|O", [1], "C"]), b"12345678"), "no array here"),
        (forged(spec(["<f8", [1], "K"]), b"12345678"), "no array here"),
        (forged(spec(["<f8", [1] * 40, "C"]), b"12345678"), "no array here"),
        (forged(spec(["<f8", [True], "C"]), b"12345678"), "shape"),
        (forged(spec(tree={"tuple": []}) | {"arrays": 3}), "header"),
        (forged(b'{"format":1,"tree":NaN,"arrays":[]}'), "NaN is no JSON"),
    ],
)
def test_bytes_that_none_of_ours_wrote_are_refused(data, words):
    with pytest.raises(CheckpointError, match=words):
        read_tree(BytesIO(data), len(data), "0" * 64)


def test_nothing_is_made_before_the_digest_is_right():
    data = forged(spec(tree={"class": "os:system", "fields": {}}))
    with pytest.raises(CheckpointError, match="SHA-256"):
        read_tree(BytesIO(data), len(data), "0" * 64)


def test_a_manifest_never_leads_out_of_its_folder():
    part = {"nbytes": 1, "sha256": "0" * 64}
    for name in (
        "../state.tree",
        "/etc/passwd",
        "000001/../../state.tree",
        "state.tree\n",
        "a/b.tree",
    ):
        with pytest.raises(ValueError, match="name"):
            Manifest.model_validate_json(
                json.dumps(
                    {"round": 1, "plan": {}, "state": part | {"name": name}, "books": part}
                    | {"memories": [], "reports": []}
                )
            )
