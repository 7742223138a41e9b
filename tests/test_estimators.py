"""MultiSourceClassifier: scikit-learn's own checks, and what sources add to them."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks

from msl import MultiSourceClassifier
from msl.aggregators import Median


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([MultiSourceClassifier()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def lying_digits():
    X, y = load_digits(return_X_y=True)
    X, Xt, y, yt = train_test_split(X, y, random_state=0)
    sources = np.random.default_rng(0).integers(0, 20, len(y))
    return X, np.where(sources < 6, 9 - y, y), sources, Xt, yt


def test_a_robust_rule_withstands_lying_sources(lying_digits):
    X, y, sources, Xt, yt = lying_digits
    mean = MultiSourceClassifier("mean", rounds=30).fit(X, y, sources=sources)
    robust = MultiSourceClassifier("geometric_median", rounds=30).fit(X, y, sources=sources)
    assert robust.score(Xt, yt) > 0.92
    assert robust.score(Xt, yt) > mean.score(Xt, yt) + 0.03


def test_the_same_bits_on_a_cluster_and_the_client_is_never_pickled(lying_digits, cluster):
    X, y, sources, Xt, _ = lying_digits
    settings = {"codec": "maxmin", "rounds": 5}
    alone = MultiSourceClassifier(**settings).fit(X, y, sources=sources)
    spread = MultiSourceClassifier(**settings, client=cluster).fit(X, y, sources=sources)
    np.testing.assert_array_equal(alone.params_, spread.params_)
    again = pickle.loads(pickle.dumps(spread))
    assert again.client is None
    np.testing.assert_array_equal(again.predict(Xt), spread.predict(Xt))


def test_what_was_learned_from_whom_at_which_cost(lying_digits):
    X, y, sources, _, _ = lying_digits
    clf = MultiSourceClassifier(codec="maxmin", rounds=3).fit(X, y, sources=sources)
    assert [info.name for info in clf.sources_] == [str(i) for i in range(20)]
    assert sum(info.rows for info in clf.sources_) == len(X)
    assert clf.n_iter_ == 3
    assert clf.bytes_up_ == 3 * 20 * (32 + 2 * 8 + 328)
    assert clf.bytes_down_ == 3 * 20 * (32 + 2600)


def test_labels_of_any_kind_and_parts_as_objects():
    X, y = load_breast_cancer(return_X_y=True)
    names = np.array(["malignant", "benign"])[y]
    hospitals = np.array(["north", "south", "east"])[np.arange(len(y)) % 3]
    clf = MultiSourceClassifier(Median(), rounds=20).fit(X, names, sources=hospitals)
    assert clf.score(X, names) > 0.95
    assert [info.name for info in clf.sources_] == ["east", "north", "south"]


def test_aggregators_are_hyper_parameters():
    X, y = load_breast_cancer(return_X_y=True)
    grid = {"aggregator": ["mean", Median()], "n_sources": [5]}
    search = GridSearchCV(MultiSourceClassifier(rounds=5), grid, cv=3).fit(X, y)
    assert search.best_score_ > 0.9


def test_sources_that_do_not_fit_the_rows_are_refused():
    with pytest.raises(ValueError, match=r"sources must have shape \(4,\).*\(3,\)"):
        MultiSourceClassifier().fit(np.eye(4), [0, 1, 0, 1], sources=[1, 2, 3])
