"""The scaler gives what the pooled rows would give, and no row leaves its source."""

import pickle
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from msl.errors import DataError, PlanError, SourceError
from msl.estimators.scaler import FederatedScaler
from msl.sources import ArraySource
from msl.sources.summary import Summary, carry, merged

METHODS = ("standard", "minmax", "robust")
DRAW = np.random.default_rng(0)
# Far from zero, of different units, one constant: what float32 sums and naive formulas get wrong.
X = np.column_stack(
    [1e6 + DRAW.standard_normal(240), DRAW.exponential(1e-6, 240), np.full(240, 0.1)]
)
OWNERS = DRAW.integers(0, 7, 240)
WEIGHT = DRAW.integers(0, 4, 240)


def scaler(**arguments: Any) -> FederatedScaler:
    return FederatedScaler(**arguments)


@parametrize_with_checks(
    [
        *(FederatedScaler(method=method, n_sources=3) for method in METHODS),
        FederatedScaler(with_mean=False),
    ]
)
def test_scikit_learns_contract(estimator: Any, check: Any) -> None:
    check(estimator)


# --- the same as pooled ---


@pytest.mark.parametrize(
    ("method", "pooled"),
    [("standard", StandardScaler()), ("minmax", MinMaxScaler()), ("robust", RobustScaler())],
)
def test_it_scales_as_if_all_rows_were_in_one_place(method: str, pooled: Any) -> None:
    found = scaler(method=method).fit(X, sources=OWNERS)
    expected = pooled.fit(X)
    np.testing.assert_allclose(found.transform(X), expected.transform(X), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.inverse_transform(found.transform(X)), X, rtol=1e-12)
    np.testing.assert_allclose(found.mean_, X.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.var_, X.var(axis=0), rtol=1e-9, atol=1e-30)
    assert found.scale_ is not None
    assert found.scale_[2] == 1
    assert found.n_samples_seen_ == 240
    assert [info.rows for info in found.sources_] == np.bincount(OWNERS).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_is_a_repetition(method: str) -> None:
    weighted = scaler(method=method, n_quantiles=500).fit(X, None, OWNERS, WEIGHT)
    repeated = scaler(method=method, n_quantiles=500).fit(np.repeat(X, WEIGHT, axis=0))
    np.testing.assert_allclose(weighted.transform(X), repeated.transform(X), atol=1e-6)
    for name in ("mean_", "var_", "data_min_", "data_max_"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-9)
    assert weighted.n_samples_seen_ == repeated.n_samples_seen_ == WEIGHT.sum()


@pytest.mark.parametrize("method", METHODS)
def test_rows_may_come_a_part_at_a_time(method: str) -> None:
    whole, parts = scaler(method=method).fit(X), scaler(method=method)
    for start in range(0, 240, 37):
        parts.partial_fit(X[start : start + 37], sources=OWNERS[start : start + 37])
    np.testing.assert_allclose(parts.transform(X), whole.transform(X), rtol=1e-6, atol=1e-6)
    assert parts.n_samples_seen_ == 240
    parts.fit(X[:10])
    assert parts.n_samples_seen_ == 10


@pytest.mark.parametrize("method", METHODS)
def test_sparse_rows_stay_sparse(method: str) -> None:
    rows = sparse.random(500, 20, 0.1, rng=1, format="csr") + sparse.csr_array(np.eye(500, 20))
    arguments: dict[str, Any] = {"method": method, "with_mean": False, "quantile_range": (2, 98)}
    owners = np.arange(500) % 3
    found, dense = (
        scaler(**arguments).fit(one, None, owners, owners + 1) for one in (rows, rows.toarray())
    )
    for name in ("mean_", "var_", "data_min_", "data_max_", "scale_"):
        np.testing.assert_allclose(getattr(found, name), getattr(dense, name), rtol=1e-12)
    scaled = found.transform(rows)
    assert scaled.format == "csr"
    np.testing.assert_allclose(scaled.toarray(), dense.transform(rows.toarray()), rtol=1e-12)
    np.testing.assert_allclose(found.inverse_transform(scaled).toarray(), rows.toarray())
    twice = sparse.csr_array(([1.0, 2.0], [0, 0], [0, 2, 2]), shape=(2, 1))
    assert scaler(with_mean=False).fit(twice).mean_.tolist() == [1.5]
    with pytest.raises(ValueError, match="set with_mean=False"):
        scaler(method=method).fit(rows)


# --- quantiles: the stated error ---


def worst_rank_error(found: NDArray[Any], column: NDArray[Any], at: NDArray[Any]) -> float:
    """Return how far ranks are off, as a share of the rows; tied rows share all their ranks."""
    ordered = np.sort(column)
    low = np.searchsorted(ordered, found, side="left") / len(ordered)
    high = np.searchsorted(ordered, found, side="right") / len(ordered)
    return float(np.maximum(np.maximum(low - at, at - high), 0).max())


AT = np.linspace(0, 1, 101)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=8),
    k=st.integers(2, 64),
    shape=st.sampled_from(["normal", "lognormal", "ties", "apart", "sorted"]),
    key=st.integers(0, 2**32 - 1),
)
def test_quantiles_of_merged_summaries_keep_their_bound(
    sizes: list[int], k: int, shape: str, key: int
) -> None:
    draw = np.random.default_rng(key)
    rows = []
    for i, m in enumerate(sizes):
        z = draw.standard_normal((m, 1))
        rows.append(
            {
                "normal": z,
                "lognormal": np.exp(3 * z),
                "ties": np.round(z),
                "apart": z + 100 * i,
                "sorted": np.arange(m)[:, None] + 0.5 * i,
            }[shape]
        )
    pooled = np.concatenate(rows)[:, 0]
    seen = merged([Summary.of(one, None, k) for one in rows])
    assert len(seen.points[0]) <= k * len(sizes)
    found = seen.quantiles(AT)[:, 0]
    assert worst_rank_error(found, pooled, AT) <= 0.5 / k + 1 / len(pooled) + 1e-9
    if max(sizes) <= k:
        np.testing.assert_allclose(found, np.quantile(pooled, AT), atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(calls=st.integers(1, 40), k=st.integers(8, 40), key=st.integers(0, 2**32 - 1))
def test_quantiles_of_a_stream_keep_their_bound(calls: int, k: int, key: int) -> None:
    draw = np.random.default_rng(key)
    batches = [draw.standard_normal((draw.integers(1, 120), 1)) + i / 9 for i in range(calls)]
    levels: list[Summary | None] = []
    for batch in batches:
        levels = carry(levels, Summary.of(batch, None, k), k)
    kept = [level for level in levels if level is not None]
    assert sum(len(level.points[0]) for level in kept) <= k * (1 + np.log2(calls))
    pooled = np.concatenate(batches)[:, 0]
    error = worst_rank_error(merged(kept).quantiles(AT)[:, 0], pooled, AT)
    assert error <= (1 + np.log2(calls)) / 2 / k + 1 / len(pooled) + 1e-9


def test_a_lying_source_moves_the_median_by_its_share_only() -> None:
    x = np.random.default_rng(3).standard_normal((1000, 1))
    lied = np.where(np.arange(1000)[:, None] < 100, 1e9, x)
    owners = np.arange(1000) // 100
    assert scaler().fit(lied, sources=owners).mean_[0] > 1e7
    robust = scaler(method="robust").fit(lied, sources=owners)
    assert abs(robust.center_[0]) < 0.3
    assert robust.scale_[0] < 2


# --- loaders: rows stay where they are ---


def load(start: int) -> tuple[Any, ...]:
    return X[start::4], ["no number"] * 60, np.arange(60) % 3 + 1


def load_first() -> tuple[Any, ...]:
    return load(0)


def load_narrow() -> tuple[Any, ...]:
    return X[:, :2], np.zeros(240)


def load_nothing() -> None:
    raise OSError("no such disk")


def loaders() -> dict[str, Any]:
    return {f"ward {i}": partial(load, i) for i in range(4)}


@pytest.mark.parametrize("method", METHODS)
def test_loaders_run_on_workers_to_the_same_bits(
    cluster: Client, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr("msl.estimators.asking.current_client", lambda: None)
        here = scaler(method=method).fit(loaders())
    assert {info.place for info in here.sources_} == {"local"}
    there = scaler(method=method, client=cluster).fit(loaders())
    for name in ("center_", "scale_", "mean_", "var_", "data_min_", "data_max_"):
        assert np.array_equal(getattr(here, name), getattr(there, name))
    assert len({info.place for info in there.sources_}) == 2
    assert [info.name for info in there.sources_] == [f"ward {i}" for i in range(4)]
    assert [info.rows for info in there.sources_] == [60] * 4
    parts = [load(i) for i in range(4)]
    pooled = scaler(method=method).fit(
        np.concatenate([p[0] for p in parts]), None, None, np.concatenate([p[2] for p in parts])
    )
    np.testing.assert_allclose(here.mean_, pooled.mean_, rtol=1e-12)
    np.testing.assert_allclose(here.transform(X), pooled.transform(X), rtol=1e-6, atol=1e-6)
    again = pickle.loads(pickle.dumps(there))
    assert again.client is None
    assert np.array_equal(again.transform(X), there.transform(X))


def test_sources_of_all_kinds_and_lists_of_rows() -> None:
    mixed = {"north": load_first, "south": (X, np.zeros(240)), "east": ArraySource("e", X, OWNERS)}
    found = scaler().fit(mixed)
    assert [(info.name, info.rows) for info in found.sources_] == [
        ("north", 60),
        ("south", 240),
        ("east", 240),
    ]
    assert [info.name for info in scaler().fit([load_first, (X, OWNERS)]).sources_] == ["0", "1"]
    assert scaler().fit([(1.0, 2.0), (3.0, 4.0)]).mean_.tolist() == [2, 3]
    assert scaler(with_mean=False).fit(sparse.dok_array(X)).n_samples_seen_ == 240


def test_frames_of_sources_name_the_columns() -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    found = scaler().fit({"north": frame, "south": (frame, OWNERS)})
    assert found.get_feature_names_out().tolist() == ["a", "b", "c"]
    assert found.n_samples_seen_ == 480
    with pytest.raises(DataError, match="another order"):
        scaler().fit({"north": frame, "south": frame[["b", "a", "c"]]})
    assert not hasattr(found.fit({"north": X}), "feature_names_in_")


def test_rows_of_this_process_are_not_sent(cluster: Client) -> None:
    found = scaler(client=cluster).fit({"here": (X, OWNERS), "there": load_first})
    assert found.sources_[0].place == "here"
    assert found.sources_[1].place in cluster.scheduler_info()["workers"]


@pytest.mark.parametrize(
    ("rows", "arguments", "error", "why"),
    [
        ([load_first, load_narrow], {}, DataError, "source '1' has 2 features, not 3"),
        ([load_nothing], {}, SourceError, "no such disk"),
        ([(X, OWNERS, np.zeros(240))], {}, DataError, "all rows have weight 0"),
        ([load_first], {"sources": [1]}, DataError, "says whose"),
        (X, {"sources": [1, 2]}, DataError, r"sources must have shape \(240,\)"),
        (X, {"sample_weight": np.zeros(240)}, ValueError, "at least one non-zero"),
    ],
)
def test_what_does_not_fit_is_said(
    rows: Any, arguments: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        scaler().fit(rows, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"method": "l2"},
        {"method": "robust", "quantile_range": (75, 25)},
        {"n_quantiles": 1},
        {"n_sources": 0},
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="must be"):
        scaler(**arguments).fit(X)


# --- in scikit-learn's company ---


def test_names_and_frames_pass_through() -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    found = scaler().set_output(transform="pandas").fit(frame, sources=OWNERS)
    assert found.transform(frame).columns.tolist() == ["a", "b", "c"]
    assert found.feature_names_in_.tolist() == ["a", "b", "c"]


def test_sources_are_routed_through_a_pipeline_and_a_search() -> None:
    y = (X[:, 0] > 1e6).astype(int)
    with config_context(enable_metadata_routing=True):
        step = scaler().set_fit_request(sources=True)
        line = make_pipeline(step, LogisticRegression())
        grid = {"federatedscaler__method": list(METHODS)}
        search = GridSearchCV(line, grid, cv=GroupKFold(3)).fit(X, y, sources=OWNERS, groups=OWNERS)
    fitted = search.best_estimator_[0]
    assert len(fitted.sources_) == 7
    assert search.best_score_ > 0.9
    assert clone(fitted).get_params() == fitted.get_params()
