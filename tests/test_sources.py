"""Every source gives its rows where it is loaded, and the same rows when it is loaded again."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from msl import algorithms
from msl.attacks import Backdoor
from msl.attacks.base import DataAttack
from msl.cluster import DaskExecutor, LocalExecutor
from msl.errors import DataError, PlanError, UnknownNameError
from msl.models.base import Model
from msl.models.linear import Linear
from msl.models.softmax import Softmax
from msl.parts import describe
from msl.rounds import Plan, train
from msl.sources import (
    DATASETS,
    PARTITIONERS,
    ArraySource,
    ByColumn,
    CorruptedSource,
    Dirichlet,
    FeatureShift,
    FileSource,
    HeldOut,
    Iid,
    LoaderSource,
    Partitioner,
    PartitionSource,
    PooledSource,
    Quantity,
    Source,
    dataset,
    held_out_split,
    info_of,
    make,
)
from msl.sources import file as file_module
from msl.types import Data

X = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
Y = np.array([0, 1, 1, 2])
WEIGHT = np.array([1, 2, 0.5, 1], np.float32)
CSV = "a,b,c,y,w\n" + "".join(
    f"{a},{b},{c},{y},{w}\n" for (a, b, c), y, w in zip(X, Y, WEIGHT, strict=True)
)


@dataclass(frozen=True)
class NextLabel(DataAttack):
    name: ClassVar[str] = "next_label"

    def corrupt(self, y: NDArray[Any], n_classes: int) -> NDArray[Any]:
        return (y + 1) % n_classes


def three(scale: float) -> tuple[Any, ...]:
    return X * scale, Y, WEIGHT


def two() -> tuple[Any, ...]:
    return X.tolist(), Y.tolist()


def checked() -> Data:
    return Data(X.astype(np.float64), Y, WEIGHT)


def broken() -> None:
    raise KeyError("no such table")


def wrong() -> tuple[Any, ...]:
    return (X,)


def parquet(**columns: Any) -> bytes:
    stream = BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def put(name: str, content: bytes) -> str:
    path = f"memory://msl-test/{name}"
    fsspec.filesystem("memory").pipe_file(path, content)
    return path


def table_columns() -> dict[str, Any]:
    # An index column, and the features out of order: neither may reach X as it stands.
    index = {"__index_level_0__": [9, 9, 9, 9]}
    return index | {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": Y, "w": WEIGHT}


# Different kinds that hold the same rows: X, Y, WEIGHT.
MAKERS: dict[str, Callable[[], Source]] = {
    "array": lambda: ArraySource("s", X, Y, WEIGHT),
    "loader": lambda: LoaderSource("s", three, (1.0,)),
    "loader_of_data": lambda: LoaderSource("s", checked),
    "npz": lambda: FileSource("s", put("a.npz", npz(X=X, y=Y, w=WEIGHT)), weight="w"),
    "csv": lambda: FileSource("s", put("a.csv", CSV.encode()), weight="w"),
    "parquet": lambda: FileSource("s", put("a.parquet", parquet(**table_columns())), weight="w"),
}

OTHERS: dict[str, Callable[[], Source]] = {
    "partition": lambda: PartitionSource("s", "iris", Dirichlet(), 1, 3, key=7, held_out=0.2),
    "held_out": lambda: HeldOut("iris", 0.2, key=7, name="s"),
    "corrupted": lambda: CorruptedSource(ArraySource("s", X, Y, WEIGHT), NextLabel(), 3),
}


def raw(data: Data) -> list[Any]:
    arrays = (data.X, data.y, data.weight)
    return [None if a is None else (a.dtype, a.shape, a.tobytes()) for a in arrays]


def same(one: Data, two: Data) -> bool:
    return raw(one) == raw(two)


# --- every kind ---


@pytest.mark.parametrize("kind", MAKERS)
def test_a_source_gives_its_rows_and_its_facts(kind: str) -> None:
    source = MAKERS[kind]()
    data = source.load()
    assert same(data, Data(X, Y, WEIGHT))
    info = info_of(source.name, data)
    assert (info.name, info.rows, info.features, info.classes) == ("s", 4, 3, (0, 1, 2))
    # One digest for the same rows, wherever they come from.
    assert info.digest == info_of("other", Data(X, Y, WEIGHT)).digest


@pytest.mark.parametrize("kind", MAKERS | OTHERS)
def test_a_source_loads_again_after_a_pickle(kind: str) -> None:
    source = (MAKERS | OTHERS)[kind]()
    again = pickle.loads(pickle.dumps(source))
    assert again.name == "s"
    first, second = source.load(), again.load()
    assert same(first, second)
    assert info_of("s", first).digest == info_of("s", second).digest


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_changed_value_changes_the_digest(part: int) -> None:
    values = [X.copy(), Y.copy(), WEIGHT.copy()]
    values[part].flat[-1] += 1
    before = info_of("s", Data(X, Y, WEIGHT)).digest
    assert info_of("s", ArraySource("s", *values).load()).digest != before


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ((X[0], Y), "must have shape"),
        ((X[:0], Y[:0]), "has no rows"),
        ((X, Y[:2]), "need y of shape"),
        ((X, Y - 1), "start at 0"),
        ((X, ["a", "b", "c", "d"]), "class numbers or finite reals"),
        ((np.full((4, 3), np.nan), Y), "row 0"),
        (([["x"]] * 4, Y), "must be numbers"),
        ((X, Y, -WEIGHT), "weights"),
        ((X, Y, ["x"] * 4), "must be numbers"),
    ],
)
def test_bad_rows_are_refused_by_name(values: tuple[Any, ...], why: str) -> None:
    with pytest.raises(DataError, match=rf"'ward 3'.*{why}"):
        ArraySource("ward 3", *values).load()


# --- loader ---


def test_a_loader_may_leave_the_weights_out() -> None:
    data = LoaderSource("s", two).load()
    assert same(data, Data(X, Y))


@pytest.mark.parametrize(
    ("loader", "arguments"), [(lambda: (X, Y), ()), (three, (lambda: 1,))], ids=["loader", "args"]
)
def test_a_loader_that_cannot_travel_is_refused(loader: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(PlanError, match=r"'s'.*module-level function"):
        LoaderSource("s", loader, arguments)


def test_what_a_loader_raises_is_chained() -> None:
    with pytest.raises(DataError, match="'s': loader broken raised KeyError") as caught:
        LoaderSource("s", broken).load()
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_loader_must_return_rows() -> None:
    with pytest.raises(DataError, match=r"loader wrong must return .* got tuple of 1"):
        LoaderSource("s", wrong).load()


# --- file ---


def test_a_local_file_with_chosen_features(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(CSV)
    data = FileSource("s", str(path), target="w", features=("c", "a")).load()
    assert same(data, Data(X[:, [2, 0]], WEIGHT))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"path": "a.xlsx"}, "must be .npz, .csv, .parquet"),
        ({"path": "a.npz", "features": ("a",)}, "an npz holds X whole"),
        ({"path": "a.csv", "features": ("a", "y")}, "named twice among a, y, y"),
    ],
)
def test_an_impossible_file_source_is_refused(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=rf"'s', file {arguments['path']}: .*{why}"):
        FileSource("s", **arguments)


OBJECTS = np.array([{}, {}], dtype=object)


@pytest.mark.parametrize(
    ("name", "content", "arguments", "why"),
    [
        ("b.csv", CSV.encode(), {"target": "label"}, "no label; it has: a, b, c, y, w"),
        ("b.csv", CSV.encode(), {"weight": "n"}, "no n; it has: a, b, c, y, w"),
        ("b.csv", CSV.encode(), {"features": ("a", "z")}, "no z; it has: a, b, c, y, w"),
        ("b.csv", CSV.encode(), {"features": ()}, "no column is left"),
        ("b.csv", b"a,y\n", {}, "no rows"),
        ("b.csv", b"a,y\n1,0\n,1\n", {}, "column a has 1 nulls"),
        ("b.csv", b"a,b,y\n1,u,0\n2,v,1\n", {}, "column b must be numeric.* a, b, y"),
        ("b.csv", b"a,y\n1,2\n1,2,3\n", {}, "cannot read it"),
        ("b.csv", b"a,y\n1,-1\n", {}, "start at 0"),
        ("b.parquet", parquet(a=X[:, 0], y=Y), {"target": "t"}, "no t; it has: a, y"),
        ("b.parquet", parquet(a=["u", "v"], y=[0, 1]), {}, "column a must be numeric"),
        ("b.parquet", parquet(a=[1, 2], y=[0, None]), {}, "column y has 1 nulls"),
        ("b.parquet", b"not parquet", {}, "cannot read it"),
        ("b.npz", npz(X=X, y=Y), {"target": "t"}, "no t; it has: X, y"),
        ("b.npz", npz(features=X, y=Y), {}, "no X; it has: features, y"),
        ("b.npz", npz(X=OBJECTS, y=[0, 1]), {}, "allow_pickle=False"),
        ("b.npz", npz(X=X, y=Y[:2]), {}, "need y of shape"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_path(
    name: str, content: bytes, arguments: dict[str, Any], why: str
) -> None:
    source = FileSource("s", put(name, content), **arguments)
    with pytest.raises(DataError, match=f"(?s)'s'.*{why}") as caught:
        source.load()
    assert source.path in str(caught.value)


@pytest.mark.parametrize("path", ["memory://nowhere.csv", "/nowhere/a.npz", "nosuch://a.csv"])
def test_a_missing_file_or_store_is_named(path: str) -> None:
    with pytest.raises(DataError, match=f"'s', file {path}: cannot read it"):
        FileSource("s", path).load()


# --- data sets ---


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_can_be_learned_from_and_is_shared(name: str) -> None:
    X, y = dataset(name)
    assert same(ArraySource(name, X, y).load(), Data(X, y))
    assert len(np.unique(y)) == y.max() + 1
    with pytest.raises(ValueError, match="read-only"):
        X[0, 0] = 1
    assert dataset(name)[0] is X


def test_digits_are_scaled() -> None:
    X, _ = dataset("digits")
    assert (X.shape, X.min(), X.max()) == ((1797, 64), 0, 1)


def test_an_unknown_dataset_lists_the_names() -> None:
    with pytest.raises(UnknownNameError, match=r"'mnist'.*digits, iris, wine, breast_cancer"):
        dataset("mnist")


# --- partitioners ---

PARTS = [
    Iid(),
    Dirichlet(0.05),
    Dirichlet(5.0, min_rows=1),
    Quantity(0.2),
    FeatureShift(),
    ByColumn(1),
]


def test_every_partitioner_of_the_table_is_tested_and_made_from_its_description() -> None:
    assert {type(part) for part in PARTS} == set(PARTITIONERS.values())
    assert [make(**describe(part)) for part in PARTS] == PARTS
    assert [part.name for part in PARTITIONERS.values()] == list(PARTITIONERS)


@pytest.mark.parametrize("part", PARTS, ids=repr)
@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 12), extra=st.integers(0, 150), key=st.integers(0, 2**64 - 1))
def test_every_row_goes_to_exactly_one_source(
    part: Partitioner, n: int, extra: int, key: int
) -> None:
    m = n + extra
    X = np.stack([np.zeros(m), np.arange(m) % n], axis=1)
    y = np.arange(m) ** 2 % 5
    split = part.split(X, y, n, key)
    assert len(split) == n
    assert min(map(len, split)) >= 1
    assert all(np.all(np.diff(rows) > 0) for rows in split)
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(m))
    again = part.split(X, y, n, key)
    assert all(np.array_equal(a, b) for a, b in zip(split, again, strict=True))


@pytest.mark.parametrize("part", [Iid(), Dirichlet(), Quantity()], ids=repr)
def test_another_key_gives_another_split(part: Partitioner) -> None:
    X, y = dataset("iris")
    one, two = part.split(X, y, 3, key=1), part.split(X, y, 3, key=2)
    assert not np.array_equal(one[0], two[0])


@pytest.mark.parametrize("part", [Dirichlet(0.01), Quantity(0.01)], ids=repr)
@pytest.mark.parametrize(("n", "least"), [(20, 10), (300, 5)])
def test_no_source_is_left_with_fewer_rows_than_fit(part: Partitioner, n: int, least: int) -> None:
    X, y = dataset("digits")
    for key in range(3):
        assert min(map(len, part.split(X, y, n, key))) == least


def test_iid_sizes_differ_by_one_at_most() -> None:
    X, y = dataset("iris")
    assert {len(rows) for rows in Iid().split(X, y, 7, key=0)} == {21, 22}


def top_share(alpha: float) -> float:
    """Return the share of the most frequent class of a source, on average."""
    X, y = dataset("digits")
    split = Dirichlet(alpha).split(X, y, 10, key=3)
    return float(np.mean([np.bincount(y[rows]).max() / len(rows) for rows in split]))


def test_a_small_alpha_means_few_classes_at_a_source() -> None:
    assert top_share(0.05) > 0.5
    assert top_share(1000) < 0.15


def test_a_small_alpha_means_unequal_sizes() -> None:
    X, y = dataset("digits")
    sizes = [[len(r) for r in Quantity(a).split(X, y, 10, key=3)] for a in (0.1, 1000)]
    assert max(sizes[0]) > 5 * np.median(sizes[0])
    assert max(sizes[1]) < 1.3 * np.median(sizes[1])


def test_a_feature_shift_turns_pairs_by_the_source_s_own_angle() -> None:
    part = FeatureShift(angle=90, scale=0.5)
    seen = [part.transform(X, rank, 3, key=5) for rank in range(3)]
    turned = [s[:, 0] + 1j * s[:, 1] for s in seen]
    # As complex numbers, a turn and a scale are one factor for all rows.
    factors = [t[1] / (X[1, 0] + 1j * X[1, 1]) for t in turned]
    for s, t, factor in zip(seen, turned, factors, strict=True):
        assert s.dtype == np.float32
        np.testing.assert_allclose(t, factor * (X[:, 0] + 1j * X[:, 1]), rtol=1e-5)
        np.testing.assert_allclose(s[:, 2], abs(factor) * X[:, 2], rtol=1e-5)
        assert abs(np.angle(factor)) <= np.pi / 2
        assert 0.5 <= abs(factor) <= 1.5
    assert len(np.unique(np.round(factors, 3))) == 3
    assert np.array_equal(seen[1], part.transform(X, 1, 3, key=5))


def test_a_shift_of_nothing_changes_nothing() -> None:
    assert np.array_equal(FeatureShift(angle=0).transform(X, 1, 3, key=5), X)


def test_by_column_follows_the_values() -> None:
    split = ByColumn(0).split(np.array([[7], [3], [7], [5]]), np.zeros(4), 3, key=0)
    assert [rows.tolist() for rows in split] == [[1], [3], [0, 2]]


@pytest.mark.parametrize(
    ("part", "n", "why"),
    [
        (Iid(), 0, "cannot deal 4 rows to 0 sources"),
        (Iid(), 5, "cannot deal 4 rows to 5 sources"),
        (Dirichlet(min_rows=2), 3, "min_rows can be 1 at most"),
        (Quantity(min_rows=3), 2, "min_rows can be 2 at most"),
        (ByColumn(0), 3, "4 distinct values"),
        (ByColumn(3), 3, r"X has 0\.\.2"),
    ],
    ids=repr,
)
def test_an_impossible_split_is_refused(part: Partitioner, n: int, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        part.split(X, Y, n, key=0)


def test_dirichlet_refuses_real_targets() -> None:
    with pytest.raises(PlanError, match="real targets"):
        Dirichlet().split(X, WEIGHT, 2, key=0)


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("dirichlet", {"alpha": 0}, "alpha > 0, got 0"),
        ("quantity", {"min_rows": 0}, "min_rows >= 1"),
        ("feature_shift", {"angle": 200}, "angle <= 180"),
        ("feature_shift", {"scale": 1}, "scale < 1"),
        ("by_column", {"alpha": 1}, "takes: column"),
        ("pathological", {}, "iid, dirichlet, quantity, feature_shift, by_column"),
    ],
)
def test_make_refuses_in_words(name: str, arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        make(name, **arguments)


# --- one data set, many sources ---


@pytest.mark.parametrize("part", [Iid(), Dirichlet(), Quantity()], ids=repr)
def test_sources_and_held_out_rows_are_the_data_set(part: Partitioner) -> None:
    sources: list[Source] = [
        PartitionSource(f"s{rank}", "digits", part, rank, 5, key=9, held_out=0.2)
        for rank in range(5)
    ]
    test = HeldOut("digits", 0.2, key=9)
    loaded = [s.load() for s in [*sources, test]]
    rows = [(*x, label) for d in loaded for x, label in zip(d.X, d.y, strict=True)]
    X, y = dataset("digits")
    assert sorted(rows) == sorted((*x, label) for x, label in zip(X, y, strict=True))
    assert len(loaded[-1]) == pytest.approx(0.2 * len(y), abs=5)


def test_a_partition_source_sees_its_shifted_features() -> None:
    plain, shifted = (
        PartitionSource("s", "iris", part, 1, 3, key=2).load() for part in (Iid(), FeatureShift())
    )
    assert np.array_equal(plain.y, shifted.y)
    assert np.array_equal(shifted.X, FeatureShift().transform(plain.X, 1, 3, key=2))
    assert not np.array_equal(plain.X, shifted.X)


def test_a_solver_cannot_spoil_the_shared_data_set() -> None:
    source = PartitionSource("s", "iris", Iid(), 0, 1, key=2)
    source.load().X[:] = -1
    assert source.load().X.min() > 0


@pytest.mark.parametrize("rank", [-1, 3])
def test_a_rank_outside_the_run_is_refused(rank: int) -> None:
    with pytest.raises(PlanError, match=rf"'s': rank must be in 0\.\.2, got {rank}"):
        PartitionSource("s", "iris", Iid(), rank, 3, key=0)


@settings(deadline=None, max_examples=40)
@given(
    y=st.lists(st.integers(0, 3), min_size=1, max_size=60).map(np.array),
    fraction=st.floats(0, 0.99),
    key=st.integers(0, 2**64 - 1),
)
def test_held_out_rows_keep_the_classes(y: NDArray[Any], fraction: float, key: int) -> None:
    train, test = held_out_split(y, fraction, key)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))
    assert set(y[train]) == set(y)
    for label in np.unique(y):
        wanted = fraction * np.sum(y == label)
        assert abs(np.sum(y[test] == label) - wanted) <= 1
    assert np.array_equal(held_out_split(y, fraction, key)[1], test)


def test_held_out_rows_of_real_targets_are_any_rows() -> None:
    _, test = held_out_split(np.linspace(0, 1, 10), 0.3, key=1)
    assert len(test) == 3


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_a_held_out_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(PlanError, match=r"in \[0, 1\)"):
        held_out_split(Y, fraction, key=0)


# --- corrupted ---


def test_a_corrupted_source_keeps_all_but_its_labels() -> None:
    source = CorruptedSource(ArraySource("honest", X, Y, WEIGHT), NextLabel(), n_classes=3)
    assert source.name == "honest"
    assert same(source.load(), Data(X, np.array([1, 2, 2, 0]), WEIGHT))


@pytest.mark.parametrize(("y", "n_classes"), [(Y, 2), (WEIGHT, 3)])
def test_labels_an_attack_cannot_take_are_refused(y: NDArray[Any], n_classes: int) -> None:
    with pytest.raises(
        DataError, match=rf"'s': next_label needs class numbers 0\.\.{n_classes - 1}"
    ):
        CorruptedSource(ArraySource("s", X, y), NextLabel(), n_classes).load()


# --- sparse rows ---

FORMATS = [sparse.csr_matrix, sparse.csr_array, sparse.coo_array, sparse.csc_matrix]
CSR = sparse.csr_array(X)
CSR_FILE = {"data": CSR.data, "indices": CSR.indices, "indptr": CSR.indptr, "shape": CSR.shape}


@pytest.mark.parametrize("form", FORMATS)
def test_sparse_rows_stay_sparse_and_equal_ones_share_a_digest(form: Any) -> None:
    data = ArraySource("s", form(X.astype(np.float64)), Y, WEIGHT).load()
    assert data.X.format == "csr"
    assert data.X.dtype == np.float32
    assert np.array_equal(data.X.toarray(), X)
    info = info_of("s", data)
    assert (info.rows, info.features) == (4, 3)
    assert info.digest == info_of("s", ArraySource("s", CSR, Y, WEIGHT).load()).digest


def test_one_form_for_duplicates_stored_zeros_and_wide_indices() -> None:
    def digest(data: list[float], columns: list[int], starts: list[int]) -> str:
        X = sparse.csr_array((data, columns, starts), shape=(2, 3))
        X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
        before = X.copy()
        found = info_of("s", ArraySource("s", X, [0, 1]).load()).digest
        assert np.array_equal(X.indices, before.indices)  # what the caller has stays as it is
        return found

    plain = digest([1, 3, 2], [0, 2, 1], [0, 2, 3])
    assert digest([3, 0.5, 0.5, 0, 2], [2, 0, 0, 0, 1], [0, 3, 5]) == plain
    assert digest([1, 3, 2], [0, 2, 0], [0, 2, 3]) != plain
    assert digest([1, 3, 4], [0, 2, 1], [0, 2, 3]) != plain
    assert digest([1, 3, 2], [0, 2, 1], [0, 1, 3]) != plain


def test_rows_of_nothing_but_zeros_are_rows() -> None:
    data = ArraySource("s", sparse.csr_array((4, 3)), Y).load()
    assert (data.X.shape, data.X.nnz) == ((4, 3), 0)
    assert info_of("s", data).rows == 4


def test_bad_sparse_rows_are_refused_by_name() -> None:
    bad = CSR.copy()
    bad.data[-1] = np.inf
    with pytest.raises(DataError, match=r"'s': NaN or Inf in row 3 of X"):
        ArraySource("s", bad, Y).load()
    with pytest.raises(DataError, match="has no rows"):
        ArraySource("s", CSR[:0], Y[:0]).load()
    with pytest.raises(DataError, match="4 rows need y of shape"):
        ArraySource("s", CSR, Y[:2]).load()


def test_sparse_rows_come_from_files_and_are_pooled() -> None:
    file = FileSource("s", put("c.npz", npz(**CSR_FILE, y=Y, w=WEIGHT)), weight="w")
    assert np.array_equal(file.load().X.toarray(), X)
    both = PooledSource((file, ArraySource("t", X, Y, WEIGHT))).load()
    assert both.X.format == "csr"
    assert np.array_equal(both.X.toarray(), np.concatenate([X, X]))


@pytest.mark.parametrize(
    ("change", "why"),
    [({"indices": CSR.indices + 9}, "cannot read it"), ({"format": b"csc"}, "csc")],
)
def test_a_broken_sparse_file_is_refused(change: dict[str, Any], why: str) -> None:
    source = FileSource("s", put("d.npz", npz(**(CSR_FILE | change), y=Y)))
    with pytest.raises(DataError, match=rf"'s', file .*{why}"):
        source.load()


def test_sparse_rows_are_dealt_and_what_needs_dense_ones_says_so() -> None:
    n = len(np.unique(X[:, 1]))
    for part in (Iid(), ByColumn(1)):
        dealt = zip(part.split(CSR, Y, n, 3), part.split(X, Y, n, 3), strict=True)
        assert all(np.array_equal(one, two) for one, two in dealt)
    with pytest.raises(PlanError, match="dense features"):
        FeatureShift().transform(CSR, 0, 2, 3)
    with pytest.raises(PlanError, match="dense rows"):
        Backdoor().corrupt_data(ArraySource("s", CSR, Y).load(), 3)


@pytest.mark.parametrize(
    ("model", "algorithm"),
    [
        (Softmax(40, 3, l2=1e-2), "fedavg"),
        (Softmax(40, 3, l2=1e-2), "lbfgs"),
        (Softmax(40, 2), "fedsgd"),
        (Linear(40, 3, criterion="modified_huber", l2=1e-2), "lbfgs"),
        (Linear(40), "fedavg"),
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_rows_are_learned_from_as_dense_ones(
    model: Model, algorithm: str, weighted: bool
) -> None:
    draw = np.random.default_rng(5)
    rows = sparse.random(240, 40, 0.1, rng=draw, format="csr", dtype=np.float32)
    z = rows @ draw.standard_normal((40, model.n_classes or 1))
    y = z[:, 0] if model.n_classes is None else np.argmax(z, axis=1)
    weight = np.arange(240) % 3 if weighted else None
    found = []
    for X in (rows, rows.toarray()):
        sources = [
            ArraySource(str(i), X[i::4], y[i::4], None if weight is None else weight[i::4])
            for i in range(4)
        ]
        plan = Plan(model, algorithms.make(algorithm), rounds=12)
        with LocalExecutor() as executor:
            run = train(plan, sources, executor, held_out=ArraySource("h", X, y))
        found.append((run.params, run.reports[-1].loss))
    assert np.abs(found[1][0]).max() > 0.01
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-3, atol=1e-5)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)


def test_sparse_rows_on_workers_give_the_same_bits(cluster: Client) -> None:
    draw = np.random.default_rng(6)
    X = sparse.random_array((120, 30), density=0.1, rng=draw, format="csr", dtype=np.float32)
    y = np.asarray(X.sum(axis=1) > 1.4, np.int64)
    sources = [ArraySource(str(i), X[i::3], y[i::3]) for i in range(3)]
    plan = Plan(Softmax(30, 2), algorithms.make("lbfgs"), rounds=5)
    with LocalExecutor() as here, DaskExecutor(cluster) as there:
        one, two = (train(plan, sources, executor) for executor in (here, there))
    assert np.array_equal(one.params, two.params)
    assert [info.digest for info in one.sources] == [info.digest for info in two.sources]


def test_what_unpacks_to_more_than_the_machine_holds_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = np.zeros((100_000, 20), np.float32), np.zeros(100_000, np.int64)
    np.savez_compressed(tmp_path / "a.npz", X=X, y=y)
    pd.DataFrame(X).add_prefix("x").assign(y=y).to_parquet(tmp_path / "a.parquet")
    assert (tmp_path / "a.npz").stat().st_size < 100_000
    monkeypatch.setattr(file_module, "_memory", lambda: 4_000_000)
    for name in ("a.npz", "a.parquet"):
        with pytest.raises((DataError, ValueError), match=r"unpacks to [78] MiB"):
            FileSource("a", str(tmp_path / name), target="y").load()
