"""Whatever form the sources come in, the same rows give the same model, and stay where they are."""

import pickle
from collections.abc import Sequence
from functools import partial
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client
from numpy.typing import NDArray
from scipy.sparse import csr_array, dok_array
from sklearn.linear_model import LogisticRegression
from tasks import blob, broken

from msl.algorithms import Lbfgs
from msl.cluster import LocalExecutor
from msl.cluster.base import Handle
from msl.errors import DataError, SourceError, WorkerLostError
from msl.estimators import MultiSourceClassifier, MultiSourceRegressor
from msl.estimators.inputs import are_sources
from msl.models import Softmax
from msl.plan import Plan
from msl.rounds import Start, train
from msl.sources import ArraySource, LoaderSource
from msl.types import Data, Report

Array = NDArray[Any]
N, P = 5, 6
PARTS = [blob(rank) for rank in range(N)]
X = np.concatenate([rows for rows, _ in PARTS])
Y = np.concatenate([labels for _, labels in PARTS])
OWNERS = np.repeat(np.arange(N), 40)


def named(rank: int) -> tuple[Array, Array]:
    """A loader of labels that are words."""
    rows, labels = blob(rank)
    return rows, np.array(["red", "green", "blue"])[labels]


def framed(rank: int) -> tuple[pd.DataFrame, pd.Series]:
    rows, labels = blob(rank)
    return pd.DataFrame(rows, columns=list("abcdef")), pd.Series(labels)


@pytest.fixture(autouse=True)
def _no_current_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that another test has started is nobody's default here."""
    monkeypatch.setattr("msl.estimators.base.current_client", lambda: None)


@pytest.fixture(scope="module")
def pooled() -> MultiSourceClassifier:
    return MultiSourceClassifier().fit(X, Y, sources=OWNERS)


FORMS = {
    "arrays": dict(enumerate(PARTS)),
    "a list": PARTS,
    "weighted": [(rows, labels, np.ones(40)) for rows, labels in PARTS],
    "Data": [Data(rows, labels) for rows, labels in PARTS],
    "loaders": {rank: partial(blob, rank) for rank in range(N)},
    "sources": [LoaderSource(str(rank), blob, (rank,)) for rank in range(N)],
    "frames": [framed(rank) for rank in range(N)],
    "all sorts": [PARTS[0], partial(blob, 1), ArraySource("2", *PARTS[2]), *PARTS[3:]],
}


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_gives_the_same_bits(form: str, pooled: MultiSourceClassifier) -> None:
    clf = MultiSourceClassifier().fit(FORMS[form])
    assert [info.name for info in clf.sources_] == [str(rank) for rank in range(N)]
    if form == "weighted":
        np.testing.assert_allclose(clf.params_, pooled.params_, atol=1e-5)
    else:
        np.testing.assert_array_equal(clf.params_, pooled.params_)
        assert [i.digest for i in clf.sources_] == [i.digest for i in pooled.sources_]
    rows = pd.DataFrame(X, columns=list("abcdef")) if form == "frames" else X
    assert clf.n_features_in_ == P
    assert clf.score(rows, Y) == pooled.score(X, Y)


def test_the_optimum_is_that_of_the_pooled_rows(pooled: MultiSourceClassifier) -> None:
    theirs = LogisticRegression(tol=1e-9, max_iter=1000).fit(X, Y)
    np.testing.assert_allclose(pooled.coef_, theirs.coef_, atol=2e-3)


def test_loaders_run_on_the_workers(pooled: MultiSourceClassifier, cluster: Client) -> None:
    clf = MultiSourceClassifier(client=cluster).fit(FORMS["loaders"])
    np.testing.assert_array_equal(clf.params_, pooled.params_)
    assert {info.place for info in clf.sources_} == set(cluster.scheduler_info()["workers"])
    with pytest.raises(SourceError, match=r"source 'b' failed while loading on worker tcp.*fire"):
        MultiSourceClassifier(client=cluster).fit({"a": partial(blob, 1), "b": partial(broken, 2)})


def test_labels_of_loaders_may_be_words() -> None:
    clf = MultiSourceClassifier().fit({rank: partial(named, rank) for rank in range(N)})
    assert clf.classes_.tolist() == ["blue", "green", "red"]
    assert clf.score(X, np.array(["red", "green", "blue"])[Y]) > 0.9


def test_columns_have_names_and_an_order() -> None:
    clf = MultiSourceClassifier().fit({rank: partial(framed, rank) for rank in range(N)})
    assert clf.feature_names_in_.tolist() == list("abcdef")
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(pd.DataFrame(X, columns=list("abcdeg")))
    turned, labels = framed(1)
    with pytest.raises(DataError, match="different names, or in another order"):
        clf.fit([framed(0), (turned[list("fedcba")], labels)])
    assert not hasattr(clf.fit(PARTS), "feature_names_in_")


def test_frames_with_labels_per_row(pooled: MultiSourceClassifier) -> None:
    frame = pd.DataFrame(X, columns=list("abcdef"))
    clf = MultiSourceClassifier().fit(frame, pd.Series(Y), sources=pd.Series(OWNERS))
    np.testing.assert_array_equal(clf.params_, pooled.params_)
    assert clf.feature_names_in_.tolist() == list("abcdef")


def test_rows_may_be_sparse_at_some_sources() -> None:
    clf = MultiSourceClassifier().fit([(csr_array(PARTS[0][0]), PARTS[0][1]), *PARTS[1:]])
    theirs = LogisticRegression(tol=1e-9, max_iter=1000).fit(X, Y)
    np.testing.assert_allclose(clf.coef_, theirs.coef_, atol=5e-3)


# Dask collections.


@pytest.mark.parametrize("elsewhere", [False, True])
def test_partitions_are_sources(
    elsewhere: bool, pooled: MultiSourceClassifier, cluster: Client
) -> None:
    client = cluster if elsewhere else None
    array = da.from_array(X, chunks=(40, 2)), da.from_array(Y, chunks=100)
    frame = dd.from_pandas(pd.DataFrame(X).assign(y=Y), npartitions=N, sort=False)
    for rows, labels in (array, (frame.drop(columns="y"), frame["y"])):
        clf = MultiSourceClassifier(client=client).fit(rows, labels)
        np.testing.assert_array_equal(clf.params_, pooled.params_)
        assert [info.rows for info in clf.sources_] == [40] * N
    weight = da.ones(len(Y), chunks=40)
    MultiSourceRegressor(client=client).fit(array[0], array[1], sample_weight=weight)


def test_a_partition_travels_without_the_others() -> None:
    from msl.estimators.inputs import of_dask

    rows = da.concatenate([da.from_array(part, chunks=-1) for part, _ in PARTS])
    labels = da.concatenate([da.from_array(part, chunks=-1) for _, part in PARTS])
    one, *_ = of_dask(rows, labels, None)
    assert len(pickle.dumps(one.arguments)) < 2 * (PARTS[0][0].nbytes + PARTS[0][1].nbytes)


def test_partitions_have_to_fit() -> None:
    frame = dd.from_pandas(pd.DataFrame(X).assign(y=Y), npartitions=N, sort=False)
    rows, labels = frame.drop(columns="y"), frame["y"]
    with pytest.raises(DataError, match="give y as one with the same partitions"):
        MultiSourceClassifier().fit(rows, Y)
    with pytest.raises(DataError, match=r"same partitions, got \[5, 2\]"):
        MultiSourceClassifier().fit(rows, labels.repartition(npartitions=2))
    with pytest.raises(DataError, match="names and weights already"):
        MultiSourceClassifier().fit(rows, labels, sources=OWNERS)


def test_persisted_collections_are_refused(cluster: Client) -> None:
    frame = dd.from_pandas(pd.DataFrame(X).assign(y=Y), npartitions=N, sort=False)
    with cluster.as_current():
        frame, array = frame.persist(), da.from_array(X, chunks=40).persist()
    for rows in (frame.drop(columns="y"), array):
        with pytest.raises(DataError, match="from before persist"):
            MultiSourceClassifier().fit(rows, frame["y"])


# What is no list of sources, and what is wrong with one.


def test_rows_are_no_sources() -> None:
    assert not are_sources([(1, 2), (3, 4)], None)
    assert not are_sources(dok_array((2, 2)), None)
    assert not are_sources(X, None)
    assert not are_sources([], None)
    assert not are_sources(PARTS, Y)
    assert are_sources({}, None)


@pytest.mark.parametrize(
    ("sources", "settings", "message"),
    [
        ({}, {}, "no sources"),
        ({"a": 3}, {}, "source 'a' must be .* got int"),
        ({"a": lambda: 3}, {}, "source 'a' must give .* got int"),
        ({"a": PARTS[0], "b": (X[:, :3], Y)}, {}, "same columns; some have 6 of them, one 3"),
        ({"a": (X, Y[:9])}, {}, "source 'a': .*inconsistent numbers of samples"),
        ({"a": (np.full((2, 2), np.nan), [0, 1])}, {}, "source 'a': .*NaN"),
        ({"a": (X, Y, -np.ones(200))}, {}, "source 'a': .*[Nn]egative"),
        (PARTS, {"early_stopping": True}, "validation='sources'"),
        (PARTS[:1], {"early_stopping": True, "validation": "sources"}, "of 1 sources none"),
        ({"a": (X, np.zeros(200))}, {}, "at least 2 classes"),
    ],
)
def test_what_is_wrong_is_said(sources: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((DataError, SourceError), match=message):
        MultiSourceClassifier(**settings).fit(sources)


def test_sources_elsewhere_can_judge() -> None:
    clf = MultiSourceClassifier(early_stopping=True, validation="sources")
    clf.fit({rank: partial(blob, rank) for rank in range(N)})
    assert len(clf.sources_) == N - 1
    assert clf.history_["eval/accuracy"].notna().all()


# Rounds that are lost.


class Failing(LocalExecutor):
    """Loses its worker at some gathers."""

    def __init__(self, at: Sequence[int]) -> None:
        super().__init__()
        self.at, self.calls = at, 0

    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        self.calls += 1
        if self.calls in self.at:
            raise WorkerLostError(("local",), "pulled the plug")
        return super().gather(handles)

    def refresh(self) -> None: ...


def test_rounds_are_run_again_when_a_worker_is_lost_and_heard_once() -> None:
    sources = [LoaderSource(str(rank), blob, (rank,)) for rank in range(N)]
    plan = Plan(Softmax(P, 3), Lbfgs(), rounds=12)
    start = Start(np.full(21, 0.1, np.float32))
    heard: list[list[int]] = []
    left = []
    for at in ((), (4, 9, 30)):
        rounds: list[int] = []

        def watch(report: Report, params: Any, rounds: list[int] = rounds) -> bool:
            assert params().shape == (21,)
            rounds.append(report.round)
            return report.round == 9

        with Failing(at) as executor:
            left.append(train(plan, sources, executor, start=start, watch=watch))
        heard.append(rounds)
    assert heard == [list(range(10))] * 2
    assert left[1].ledger.rounds == 10
    np.testing.assert_array_equal(left[0].params, left[1].params)
