"""Linear estimators: scikit-learn's own checks, its optima, and what sources add to them."""

import pickle
import warnings
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import (
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
)
from sklearn.metrics import log_loss, mean_pinball_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from msl.aggregators import GeometricMedian, Mean, Median, TrimmedMean
from msl.algorithms import FedAvg
from msl.codecs import ErrorFeedback, MaxMin, TopK
from msl.estimators import MultiSourceClassifier, MultiSourceRegressor
from msl.models import Linear, Softmax
from msl.waiting import Deadline

Array = NDArray[Any]
LOADERS = {"breast_cancer": load_breast_cancer, "digits": load_digits, "wine": load_wine}

# SGDClassifier has to be excused from the same two.
WEIGHTS = {
    f"check_sample_weight_equivalence_on_{kind}_data": "gradients travel as float32, which is "
    "less exact than the 1e-7 that is asked for"
    for kind in ("dense", "sparse")
}


@pytest.fixture(autouse=True)
def _no_current_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that another test has started is nobody's default here."""
    monkeypatch.setattr("msl.estimators.base.current_client", lambda: None)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        MultiSourceClassifier(),
        MultiSourceClassifier("hinge", rounds=100),
        MultiSourceClassifier("modified_huber", n_sources=3, aggregator="median"),
        MultiSourceRegressor(),
        MultiSourceRegressor("huber"),
        MultiSourceRegressor("quantile", rounds=100),
        MultiSourceRegressor("poisson"),
    ],
    expected_failed_checks=lambda _: WEIGHTS,
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def owners_of(y: Array, n: int) -> Array:
    """Sources that hold few classes, or a range of targets, each."""
    noise = np.random.default_rng(0).standard_normal(len(y))
    return np.argsort(np.argsort(y + 0.5 * y.std() * noise)) * n // len(y)


# Its optima.


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", list(LOADERS))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_default_settings_reach_logistic_regression(name: str, scaled: bool) -> None:
    X, y = LOADERS[name](return_X_y=True)
    X = StandardScaler().fit_transform(X) if scaled else X
    X, Xt, y, yt = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    theirs = LogisticRegression(solver="newton-cholesky", tol=1e-8, max_iter=1000).fit(X, y)
    ours = MultiSourceClassifier().fit(X, y, sources=owners_of(y, 8))
    assert ours.score(Xt, yt) == pytest.approx(theirs.score(Xt, yt), abs=0.005)
    for rows, labels in ((X, y), (Xt, yt)):
        found = log_loss(labels, ours.predict_proba(rows))
        assert found == pytest.approx(log_loss(labels, theirs.predict_proba(rows)), rel=0.01)

    def objective(model: Any) -> float:
        return log_loss(y, model.predict_proba(X)) + (model.coef_**2).sum() / 2 / len(y)

    assert objective(ours) == pytest.approx(objective(theirs), rel=1e-6 if scaled else 1e-4)


@pytest.mark.parametrize("scaled", [False, True])
def test_default_settings_reach_ridge(scaled: bool) -> None:
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X) if scaled else X
    ours = MultiSourceRegressor().fit(X, y, sources=owners_of(y, 8))
    theirs = Ridge(alpha=1.0).fit(X, y)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-5)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4 * abs(theirs.coef_).max())
    assert ours.intercept_ == pytest.approx(theirs.intercept_, rel=1e-5)


def test_the_other_losses_reach_their_optima() -> None:
    X, y = load_diabetes(return_X_y=True)
    sources = owners_of(y, 5)
    ours = MultiSourceRegressor("poisson", alpha=1e-3 * len(y)).fit(X, y, sources=sources)
    counts = PoissonRegressor(alpha=1e-3, tol=1e-8, max_iter=2000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, counts.coef_, atol=1e-3)
    assert ours.score(X, y) == pytest.approx(
        1 - ((y - counts.predict(X)) ** 2).sum() / y.var() / len(y)
    )
    # HuberRegressor learns the scale of its residuals: told that scale, the optimum is the same.
    robust = HuberRegressor(epsilon=1.35, alpha=0, tol=1e-9, max_iter=5000).fit(X, y)
    told = MultiSourceRegressor("huber", epsilon=1.35 * robust.scale_, alpha=0)
    told.fit(X, y, sources=sources)
    np.testing.assert_allclose(told.predict(X), robust.predict(X), rtol=0.01)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        high = MultiSourceRegressor("quantile", quantile=0.8, alpha=0).fit(X, y, sources=sources)
    exact = QuantileRegressor(quantile=0.8, alpha=0).fit(X, y)
    assert mean_pinball_loss(y, high.predict(X), alpha=0.8) == pytest.approx(
        mean_pinball_loss(y, exact.predict(X), alpha=0.8), rel=0.005
    )
    assert np.mean(y < high.predict(X)) == pytest.approx(0.8, abs=0.02)


def test_hinge_is_about_as_good_as_a_linear_svm() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    theirs = SVC(kernel="linear").fit(X, y)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        ours = MultiSourceClassifier("hinge").fit(X, y, sources=owners_of(y, 5))

    def objective(model: Any) -> float:
        margin = (2 * y - 1) * model.decision_function(X)
        return float(np.maximum(0, 1 - margin).sum() + (model.coef_**2).sum() / 2)

    assert objective(ours) < 1.05 * objective(theirs)
    assert not hasattr(ours, "predict_proba")


def test_weights_of_rows_and_classes_count_as_they_do_in_scikit_learn() -> None:
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    weight = np.random.default_rng(1).uniform(0, 3, len(y))
    weight[:10] = 0
    settings: dict[str, Any]
    for settings in ({}, {"class_weight": "balanced"}, {"class_weight": {0: 5.0}}):
        theirs = LogisticRegression(tol=1e-9, max_iter=5000, **settings)
        theirs.fit(X, y, sample_weight=weight)
        ours = MultiSourceClassifier(tol=1e-6, **settings)
        ours.fit(X, y, sources=owners_of(y, 6), sample_weight=weight)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)


def test_a_source_whose_rows_weigh_nothing_is_not_there() -> None:
    X, y = load_wine(return_X_y=True)
    sources = np.arange(len(y)) % 4
    ours = MultiSourceClassifier().fit(X, y, sources=sources, sample_weight=sources != 2)
    assert [info.name for info in ours.sources_] == ["0", "1", "3"]
    with pytest.raises(ValueError, match="at least one non-zero"):
        ours.fit(X, y, sample_weight=np.zeros(len(y)))


def test_sparse_rows_reach_the_same_optimum() -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[y < 3] / 16, y[y < 3]
    thin = MultiSourceClassifier().fit(csr_array(X), y, sources=owners_of(y, 4))
    dense = MultiSourceClassifier().fit(X, y, sources=owners_of(y, 4))
    np.testing.assert_allclose(thin.coef_, dense.coef_, atol=2e-3)
    np.testing.assert_array_equal(thin.predict(X), thin.predict(csr_array(X)))
    assert thin.sources_[0].digest != dense.sources_[0].digest  # it was not made dense


def test_a_huge_column_in_one_source_does_not_blind_the_others() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    sources = np.arange(len(y)) % 9
    X[sources == 0] *= 1e12
    clf = MultiSourceClassifier(aggregator="median", rounds=50)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        clf.fit(X, y, sources=sources)
    assert clf.score(X[sources != 0], y[sources != 0]) > 0.95


@pytest.mark.parametrize(
    "model", [Softmax(3, 3), Softmax(3, 2), Linear(3, 4, "modified_huber"), Linear(3)], ids=repr
)
def test_a_penalty_per_feature_is_one_penalty_in_other_units(model: Any) -> None:
    draw = np.random.default_rng(2)
    X, units = draw.standard_normal((20, 3), np.float32), np.array([2, 0.5, 4], np.float32)
    y = draw.integers(0, model.n_classes or 9, 20)
    y = y if model.n_classes else y.astype(np.float32)
    one, per_feature = (
        replace(model, l2=0.3),
        replace(model, l2=tuple(0.3 / units.astype(float) ** 2)),
    )
    params = draw.standard_normal(model.layout.size, np.float32)
    scaled = params.copy()
    model.layout.split(scaled)["weight"][:] *= units
    assert per_feature.loss(scaled, X / units, y) == pytest.approx(one.loss(params, X, y))
    gradient = per_feature.gradient(scaled, X / units, y)
    model.layout.split(gradient)["weight"][:] *= units
    np.testing.assert_allclose(gradient, one.gradient(params, X, y), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="3 features needs as many l2, got 2"):
        replace(model, l2=(0.1, 0.2))
    with pytest.raises(ValueError, match="needs l2 >= 0, got -1"):
        replace(model, l2=(0.1, -1.0, 0.2))
    assert hash(per_feature) == hash(pickle.loads(pickle.dumps(per_feature)))


# Liars.


@pytest.fixture(scope="module")
def lying_digits() -> tuple[Array, ...]:
    X, y = load_digits(return_X_y=True)
    X, Xt, y, yt = train_test_split(X, y, random_state=0)
    sources = np.random.default_rng(0).integers(0, 20, len(y))
    return X, np.where(sources < 6, 9 - y, y), sources, Xt, yt


def test_a_robust_rule_withstands_lying_sources(lying_digits: tuple[Array, ...]) -> None:
    X, y, sources, Xt, yt = lying_digits
    settings: dict[str, Any] = {"C": 0.01, "rounds": 60}
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        mean = MultiSourceClassifier(**settings).fit(X, y, sources=sources)
        robust = MultiSourceClassifier(aggregator="geometric_median", **settings)
        robust.fit(X, y, sources=sources)
    assert robust.score(Xt, yt) > 0.92
    assert robust.score(Xt, yt) > mean.score(Xt, yt) + 0.02


def test_a_trust_rule_says_whom_it_believes_and_why(lying_digits: tuple[Array, ...]) -> None:
    X, y, sources, Xt, yt = lying_digits
    clf = MultiSourceClassifier(trust="pac_filter", C=0.01).fit(X, y, sources=sources)
    table = clf.trust_report_
    assert sorted(table["name"][table["trust"] == 0], key=int) == [str(i) for i in range(6)]
    assert clf.score(Xt, yt) > 0.92


def test_grid_search_by_source_picks_a_robust_rule(lying_digits: tuple[Array, ...]) -> None:
    X, y, sources, _, _ = lying_digits
    honest = MultiSourceClassifier(rounds=30, C=0.01)
    grid = {"aggregator": ["mean", GeometricMedian()], "codec": ["none", MaxMin(bits=8)]}
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        import sklearn

        with sklearn.config_context(enable_metadata_routing=True):
            honest.set_fit_request(sources=True)
            search = GridSearchCV(honest, grid, cv=GroupKFold(4))
            search.fit(X, y, sources=sources, groups=sources)
    assert isinstance(search.best_params_["aggregator"], GeometricMedian)


# Being an estimator.


def test_sources_are_routed_through_pipelines_and_cross_validation() -> None:
    import sklearn

    X, y = load_wine(return_X_y=True)
    sources = np.arange(len(y)) % 5
    with sklearn.config_context(enable_metadata_routing=True):
        clf = MultiSourceClassifier().set_fit_request(sources=True, sample_weight=True)
        pipe = make_pipeline(StandardScaler(), clf).fit(X, y, sources=sources)
        found = cross_validate(
            pipe, X, y, cv=GroupKFold(5), params={"sources": sources, "groups": sources},
            return_estimator=True,
        )  # fmt: skip
    assert len(pipe[-1].sources_) == 5
    assert [len(one[-1].sources_) for one in found["estimator"]] == [4] * 5
    assert found["test_score"].mean() > 0.95


def test_settings_of_parts_are_parameters() -> None:
    clf = MultiSourceClassifier(codec="maxmin", aggregator="trimmed_mean")
    assert clf.get_params()["codec__bits"] == MaxMin().bits
    assert "codec__bits" not in clf.get_params(deep=False)
    clf.set_params(codec__bits=2, algorithm__memory=5)
    assert clf.codec == MaxMin(bits=2)
    assert clf.algorithm.memory == 5
    clf.set_params(codec="topk", codec__density=0.5, aggregator="mean")
    assert clf.codec == TopK(density=0.5)
    deep = MultiSourceClassifier(codec=ErrorFeedback(TopK(0.1)))
    assert deep.set_params(codec__codec__density=0.2).codec == ErrorFeedback(TopK(0.2))
    assert clone(deep).codec == deep.codec
    assert deep.get_params()["codec__codec__density"] == 0.2
    assert deep.set_params(codec__codec="maxmin").codec == ErrorFeedback(MaxMin())
    clf.set_params(aggregator="trimmed_mean", aggregator__f=2)  # which needs to be told
    assert clf.aggregator == TrimmedMean(f=2)
    for codec in ("maxmin", MaxMin()):
        with pytest.raises(ValueError, match=r"maxmin.* bit; it (has|takes): bits"):
            MultiSourceClassifier(codec=codec).set_params(codec__bit=2)
    with pytest.raises(ValueError, match="Invalid parameter 'rate'"):
        clf.set_params(rate=3)


def test_grid_search_over_settings_of_a_part() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    clf = MultiSourceClassifier(codec="maxmin", n_sources=4, rounds=20)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        search = GridSearchCV(clf, {"codec__bits": [2, 8]}, cv=3).fit(X, y)
    assert search.best_estimator_.codec == MaxMin(bits=search.best_params_["codec__bits"])
    assert search.best_score_ > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "log"}, "loss must be one of log_loss, hinge"),
        ({"C": 0}, "C must be > 0"),
        ({"validation": "row"}, "'rows' or 'sources'"),
        ({"validation_fraction": 1.0}, "validation_fraction must be in"),
        ({"n_sources": 0}, "n_sources"),
        ({"rounds": 0}, "rounds"),
        ({"aggregator": "average"}, "unknown aggregator 'average'"),
        ({"codec": 3}, "codec must be a name or a part"),
    ],
)
def test_bad_parameters_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiSourceClassifier(**arguments).fit(np.eye(4), [0, 1, 0, 1])


def test_targets_below_zero_are_no_counts() -> None:
    with pytest.raises(ValueError, match="poisson needs targets >= 0"):
        MultiSourceRegressor("poisson").fit(np.eye(3), [1.0, -1.0, 2.0])


def test_labels_of_any_kind_and_classes_that_sources_lack() -> None:
    X, y = load_wine(return_X_y=True)
    names = np.array(["barolo", "grignolino", "barbera"])[y]
    clf = MultiSourceClassifier().fit(X, names, sources=names)  # one class each
    assert clf.score(X, names) > 0.98
    assert clf.classes_.tolist() == sorted(set(names))
    assert [info.classes for info in clf.sources_] == [(0,), (1,), (2,)]


def test_what_was_learned_from_whom_at_which_cost(lying_digits: tuple[Array, ...]) -> None:
    X, y, sources, _, _ = lying_digits
    clf = MultiSourceClassifier(codec="maxmin", rounds=3)
    with pytest.raises(NotFittedError, match="no history_ before"):
        _ = clf.history_
    with pytest.warns(ConvergenceWarning, match="3 rounds were not enough"):
        clf.fit(X, y, sources=sources)
    assert sum(info.rows for info in clf.sources_) == len(X)
    assert clf.n_iter_ == 3
    assert clf.bytes_up_ == 3 * 20 * (32 + 2 * 8 + 328)
    assert clf.bytes_down_ == 3 * 20 * (32 + 2600)
    assert clf.history_["bytes/up"].sum() == clf.bytes_up_
    assert clf.history_.index.name == "round"
    assert clf.trust_report_["rows"].tolist() == [info.rows for info in clf.sources_]
    assert 0 < clf.guarantee_["bound/excess"] <= 1


def test_rounds_and_sources_can_be_looked_at() -> None:
    X, y = load_wine(return_X_y=True)
    clf = MultiSourceClassifier(n_sources=4, early_stopping=True).fit(X, y)
    assert clf.plot_history().figure_.axes
    assert clf.plot_trust().ax_.get_yticklabels()
    plt.close("all")
    assert "MultiSourceClassifier" in clf._repr_html_()


# Rounds one by one.


def test_partial_fit_is_a_round_of_fit() -> None:
    X, y = load_wine(return_X_y=True)
    sources = owners_of(y, 4)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        whole = MultiSourceClassifier(rounds=7, codec="maxmin").fit(X, y, sources=sources)
    steps = MultiSourceClassifier(codec="maxmin")
    for _ in range(7):
        steps.partial_fit(X, y, classes=[0, 1, 2], sources=sources)
    np.testing.assert_array_equal(steps.params_, whole.params_)
    np.testing.assert_array_equal(steps.coef_, whole.coef_)
    assert steps.n_iter_ == 7
    assert steps.bytes_up_ == whole.bytes_up_
    with pytest.raises(ValueError, match="unknown label 3"):
        steps.partial_fit(X, np.full(len(y), 3))


def test_partial_fit_meets_new_rows() -> None:
    X, y = load_diabetes(return_X_y=True)
    reg = MultiSourceRegressor(alpha=0.1)
    for number in range(60):
        rows = slice(number % 2 * 221, (number % 2 + 1) * 221)
        reg.partial_fit(X[rows], y[rows])
    assert reg.score(X, y) > 0.45
    again = pickle.loads(pickle.dumps(reg)).partial_fit(X, y)
    np.testing.assert_array_equal(again.params_, reg.partial_fit(X, y).params_)


def test_warm_start_goes_on_from_the_last_solution() -> None:
    X, y = load_wine(return_X_y=True)
    clf = MultiSourceClassifier(warm_start=True).fit(X, y)
    first = clf.n_iter_
    clf.set_params(C=0.9).fit(X, y)
    assert clf.n_iter_ < first
    cold = MultiSourceClassifier(C=0.9).fit(X, y)
    np.testing.assert_allclose(clf.coef_, cold.coef_, atol=1e-3)
    clf.fit(X[y > 0], y[y > 0])  # another problem: from the start
    assert clf.coef_.shape == (1, 13)
    X, y = load_diabetes(return_X_y=True)
    for loss in ("squared_error", "poisson"):
        reg = MultiSourceRegressor(loss, warm_start=True).fit(X, y)
        before, coef = reg.n_iter_, reg.coef_
        assert reg.fit(X, y).n_iter_ < before
        np.testing.assert_allclose(reg.coef_, coef, rtol=0.01)


@pytest.mark.parametrize("validation", ["rows", "sources"])
def test_early_stopping_keeps_the_best_round(validation: str) -> None:
    X, y = load_digits(return_X_y=True)
    clf = MultiSourceClassifier(
        early_stopping=True, validation=validation, validation_fraction=0.2, n_iter_no_change=4
    ).fit(X, y, sources=np.arange(len(y)) % 10)
    scores = clf.history_["eval/accuracy"]
    assert 4 < clf.n_iter_ < 100
    assert scores.idxmax() <= clf.n_iter_ - 4
    assert clf.score(X, y) > 0.9
    assert sum(info.rows for info in clf.sources_) == pytest.approx(0.8 * len(y), rel=0.01)
    assert len(clf.sources_) == (10 if validation == "rows" else 8)
    # The model is the one of that round.
    shorter = clone(clf).set_params(rounds=int(scores.idxmax()) + 1)
    np.testing.assert_array_equal(
        shorter.fit(X, y, sources=np.arange(len(y)) % 10).params_, clf.params_
    )


class Heard(BaseEstimator):
    """A callback that notes the rounds, and asks for the end after some."""

    def __init__(self, stop: int = 10**9) -> None:
        self.stop, self.tasks = stop, []

    def setup(self, estimator: Any, context: Any) -> None: ...

    def teardown(self, estimator: Any, context: Any) -> None:
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self.tasks.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        self.tasks.append(("end", context.task_name, context.task_id))
        return context.task_id + 1 >= self.stop and context.task_name == "round"


def test_rounds_drive_callbacks_and_a_callback_can_stop_them() -> None:
    X, y = load_wine(return_X_y=True)
    heard = Heard(stop=3)
    clf = MultiSourceClassifier().set_callbacks(heard).fit(X, y)
    assert clf.n_iter_ == 3
    rounds = [(what, "round", k) for k in range(3) for what in ("begin", "end")]
    assert heard.tasks == [("begin", "fit", 0), *rounds, ("end", "fit", 0), "teardown"]
    plain = MultiSourceClassifier().fit(X, y)
    watched = MultiSourceClassifier().set_callbacks(Heard()).fit(X, y)
    np.testing.assert_array_equal(plain.params_, watched.params_)


def test_scores_are_monitored_round_by_round() -> None:
    X, y = load_wine(return_X_y=True)
    monitor = ScoringMonitor(scoring="neg_log_loss")
    clf = MultiSourceClassifier().set_callbacks(monitor, ProgressBar()).fit(X, y)
    log = monitor.get_logs().data_as_pandas
    scores = log["neg_log_loss"][log["task_name"] == "round"]
    assert len(scores) == clf.n_iter_
    assert scores.iloc[-1] > scores.iloc[0] + 0.2
    assert scores.iloc[-1] == pytest.approx(-log_loss(y, clf.predict_proba(X)))


# Where it runs.


def test_the_same_bits_on_a_cluster_and_the_client_is_never_pickled(
    lying_digits: tuple[Array, ...], cluster: Any
) -> None:
    X, y, sources, Xt, _ = lying_digits
    settings: dict[str, Any] = {"codec": "maxmin", "rounds": 5, "aggregator": "median"}
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        alone = MultiSourceClassifier(**settings).fit(X, y, sources=sources)
        spread = MultiSourceClassifier(**settings, client=cluster).fit(X, y, sources=sources)
    np.testing.assert_array_equal(alone.params_, spread.params_)
    assert {info.place for info in spread.sources_} == set(cluster.scheduler_info()["workers"])
    assert clone(spread).client is cluster
    again = pickle.loads(pickle.dumps(spread))
    assert again.client is None
    np.testing.assert_array_equal(again.predict(Xt), spread.predict(Xt))
    assert pickle.loads(pickle.dumps(MultiSourceClassifier(client=cluster))).client is None


def test_without_a_client_the_current_one_is_taken(
    monkeypatch: pytest.MonkeyPatch, cluster: Any
) -> None:
    monkeypatch.undo()
    X, y = load_wine(return_X_y=True)
    with cluster.as_current():
        clf = MultiSourceClassifier(n_sources=2).fit(X, y)
    assert {info.place for info in clf.sources_} == set(cluster.scheduler_info()["workers"])


def test_other_algorithms_and_parts_as_objects() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    hospitals = np.array(["north", "south", "east"])[np.arange(len(y)) % 3]
    for aggregator in (Median(), Mean()):
        clf = MultiSourceClassifier(
            aggregator=aggregator, algorithm=FedAvg(lr=0.1, epochs=2), rounds=20
        ).fit(X, y, sources=hospitals)
        assert clf.score(X, y) > 0.95
    assert [info.name for info in clf.sources_] == ["east", "north", "south"]
    assert clf.n_iter_ == 20


def test_without_a_penalty_the_optimum_is_least_squares() -> None:
    X, y = load_diabetes(return_X_y=True)
    ours = MultiSourceRegressor(alpha=0, tol=1e-7, rounds=400).fit(X, y, sources=owners_of(y, 4))
    theirs = LinearRegression().fit(X, y)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-5)


def test_sources_that_do_not_fit_the_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sources must have shape \(4,\).*\(3,\)"):
        MultiSourceClassifier().fit(np.eye(4), [0, 1, 0, 1], sources=[1, 2, 3])


def test_few_sources_are_drawn_and_the_slow_are_not_waited_for():
    X, y = load_iris(return_X_y=True)
    clf = MultiSourceClassifier(
        algorithm="fedavg", per_round=3, sampler="cyclic", waiting=Deadline(60), rounds=4
    )
    clf.fit(X, y, sources=np.arange(150) % 6)
    assert clf.history_["round/participants"].tolist() == [3] * 4
    assert clf.history_["round/late"].tolist() == [0] * 4
    assert clf.ledger_.table()["rounds"].tolist() == [2] * 6
    assert clf.set_params(waiting__seconds=5).waiting == Deadline(5)
