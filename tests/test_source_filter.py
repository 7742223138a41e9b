"""SourceFilter: scikit-learn's own checks, and what it leaves out in front of other estimators."""

import pickle
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from msl.errors import DataError, PlanError
from msl.estimators.source_filter import SourceFilter
from msl.trust import TrustReport, TrustRule

SITES = np.array([f"site-{i}" for i in range(9)])
LIARS = SITES[[1, 4, 6]]


@dataclass(frozen=True)
class Given(TrustRule):
    """Believes as it is told."""

    weights: tuple[float, ...]
    name: ClassVar[str] = "given"

    def weigh(self, sources, executor):
        executor.gather([executor.submit(rows_at, s.host, s.rank, at=s.place) for s in sources])
        return TrustReport(self.weights, ("as told",) * len(sources))


def rows_at(host, rank):
    return len(host.data[rank])


@pytest.fixture(scope="module")
def task():
    """Rows of nine sites of which three swap the labels: X, y, what they say, whose they are."""
    X, y = make_classification(1800, 6, n_informative=4, class_sep=1.5, random_state=0)
    sites = SITES[np.random.default_rng(0).integers(0, 9, len(y))]
    return X, y, np.where(np.isin(sites, LIARS), 1 - y, y), sites


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([SourceFilter(LogisticRegression()), SourceFilter(Ridge())])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_liars_are_left_out_and_the_rest_is_what_the_estimator_sees(task):
    X, y, said, sites = task
    clf = SourceFilter(LogisticRegression()).fit(X, said, sources=sites)
    good = ~np.isin(sites, LIARS)
    assert set(clf.trusted_sources_) == set(SITES) - set(LIARS)
    alone = LogisticRegression().fit(X[good], y[good])
    np.testing.assert_array_equal(clf.estimator_.coef_, alone.coef_)
    assert clf.score(X, y) == alone.score(X, y)
    np.testing.assert_array_equal(clf.sample_weight_, good.astype(float))


def test_what_is_told_of_sources(task):
    X, _, said, sites = task
    found = SourceFilter().fit(X, said, sources=sites)
    assert found.source_labels_.tolist() == SITES.tolist()
    assert found.weights_.shape == (9,)
    assert found.discrepancy_.shape == (9, 9)
    assert found.report_["name"].tolist() == SITES.tolist()
    assert found.report_["rows"].sum() == len(X)
    assert found.report_.loc[found.weights_ == 0, "name"].tolist() == LIARS.tolist()
    assert "site-4" in found.ledger_.html()
    assert not hasattr(found, "predict")
    weights = found.sample_weight(["site-4", "site-0"])
    np.testing.assert_array_equal(weights, [0, 1])
    with pytest.raises(DataError, match=r"\['mars'\] were not judged"):
        found.sample_weight(["site-0", "mars"])


def test_weights_reach_the_estimator_with_those_of_rows(task):
    X, y, _, sites = task
    trust = np.linspace(0, 1, 9)
    rows = np.random.default_rng(1).uniform(0.5, 2, len(y))
    clf = SourceFilter(GaussianNB(), Given(tuple(trust)))
    clf.fit(X, y, sources=sites, sample_weight=rows)
    weight = rows * trust[np.searchsorted(SITES, sites)]
    seen = weight > 0
    alone = GaussianNB().fit(X[seen], y[seen], sample_weight=weight[seen])
    np.testing.assert_array_equal(clf.predict_proba(X), alone.predict_proba(X))


def test_an_estimator_without_weights_takes_a_rule_that_keeps_or_leaves_out(task):
    X, y, said, sites = task
    near = SourceFilter(KNeighborsClassifier()).fit(X, said, sources=sites)
    assert near.score(X, y) > 0.9
    unsure = SourceFilter(KNeighborsClassifier(), Given((0.5,) * 9))
    with pytest.raises(PlanError, match="KNeighborsClassifier takes no sample_weight"):
        unsure.fit(X, y, sources=sites)


def test_it_stands_in_pipelines_and_searches(task):
    X, _, said, sites = task
    line = make_pipeline(StandardScaler(), SourceFilter(LogisticRegression()))
    line.fit(X, said, sourcefilter__sources=sites)
    assert len(line[-1].trusted_sources_) == 6
    inside = SourceFilter(make_pipeline(StandardScaler(), LogisticRegression()))
    assert len(inside.fit(X, said, sources=sites).trusted_sources_) == 6
    grid = {"estimator__C": [0.1, 1.0], "rule": ["all", None]}
    search = GridSearchCV(SourceFilter(LogisticRegression()), grid, cv=2)
    assert search.fit(X, said, sources=sites).best_score_ > 0.5


def test_sources_are_routed(task):
    X, _, said, sites = task
    with sklearn.config_context(enable_metadata_routing=True):
        clf = SourceFilter(LogisticRegression()).set_fit_request(sources=True)
        line = make_pipeline(StandardScaler(), clf).fit(X, said, sources=sites)
        assert len(line[-1].trusted_sources_) == 6
        scores = cross_val_score(clf, X, said, params={"sources": sites}, cv=2)
    assert len(scores) == 2


def test_frames_keep_their_names(task):
    X, _, said, sites = task
    frame = pd.DataFrame(X, columns=list("abcdef"), index=np.arange(len(X))[::-1])
    clf = SourceFilter(LogisticRegression()).fit(frame, said, sources=pd.Series(sites))
    assert clf.estimator_.feature_names_in_.tolist() == list("abcdef")
    np.testing.assert_array_equal(clf.predict(frame), clf.estimator_.predict(frame))


def test_real_targets(task):
    X, _, _, sites = task
    y = X @ np.arange(1.0, 7) + np.random.default_rng(3).standard_normal(len(X))
    said = np.where(np.isin(sites, LIARS), -y, y)
    model = SourceFilter(Ridge()).fit(X, said, sources=sites)
    assert set(model.trusted_sources_) == set(SITES) - set(LIARS)
    assert model.score(X, y) > 0.9


def test_the_same_on_a_cluster_and_the_client_is_never_pickled(task, cluster):
    X, _, said, sites = task
    alone = SourceFilter(LogisticRegression()).fit(X, said, sources=sites)
    spread = SourceFilter(LogisticRegression(), client=cluster).fit(X, said, sources=sites)
    np.testing.assert_array_equal(alone.discrepancy_, spread.discrepancy_)
    np.testing.assert_array_equal(alone.weights_, spread.weights_)
    again = pickle.loads(pickle.dumps(spread))
    assert again.client is None
    np.testing.assert_array_equal(again.predict(X), alone.predict(X))


def test_one_source_and_none_that_is_believed(task):
    X, y, _, sites = task
    clf = SourceFilter(LogisticRegression()).fit(X, y)
    np.testing.assert_array_equal(clf.sample_weight_, np.ones(len(y)))
    with pytest.raises(DataError, match="believes no source"):
        SourceFilter(LogisticRegression(), Given((0.0,) * 9)).fit(X, y, sources=sites)


@pytest.mark.parametrize(
    ("sources", "why"),
    [([1, 2, 3], r"shape \(4,\).*\(3,\)"), ([1, None, 2, 2], "one kind, got NoneType, int")],
)
def test_sources_that_do_not_fit_the_rows_are_refused(sources, why):
    with pytest.raises(DataError, match=why):
        SourceFilter().fit(np.eye(4), [0, 1, 0, 1], sources=sources)


def test_a_clone_has_the_same_parameters():
    clf = SourceFilter(LogisticRegression(C=2.0), Given((1.0,)))
    again = clone(clf)
    assert again.rule == clf.rule
    assert again.get_params()["estimator__C"] == 2.0
