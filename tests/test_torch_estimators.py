"""Any torch module as an estimator: scikit-learn's checks, and what a module needs."""

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn
from torch.utils.data import TensorDataset

from msl.errors import PlanError
from msl.estimators import MultiSourceTorchClassifier, MultiSourceTorchRegressor


class Net(nn.Module):
    """A module that is told its sizes by the names it has for them."""

    def __init__(self, n_features: int, n_outputs: int, width: int = 8, depths: Any = ()) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(n_features, width), nn.Linear(width, n_outputs)
        self.depths = depths

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x)))


def flat(n_features: int) -> nn.Module:
    """One output as (m,)."""
    return nn.Sequential(nn.Linear(n_features, 1), nn.Flatten(0))


def absolute(z: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
    return nn.functional.l1_loss(z, y, reduction=reduction)


@pytest.fixture(autouse=True)
def _no_current_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that another test has started is nobody's default here."""
    monkeypatch.setattr("msl.estimators.base.current_client", lambda: None)


# SGDClassifier has to be excused from the same.
WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": "mini-batches are drawn from other rows when "
    "rows are repeated, and float32 is less exact than the 1e-7 that is asked for"
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        MultiSourceTorchClassifier(rounds=5),
        MultiSourceTorchRegressor(rounds=5, n_sources=2),
    ],
    expected_failed_checks=lambda _: WEIGHTS,
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def digits() -> tuple[Any, ...]:
    X, y = load_digits(return_X_y=True)
    X, Xt, y, yt = train_test_split(X, y, random_state=0)
    return X, Xt, y, yt, np.random.default_rng(0).integers(0, 10, len(y))


def test_a_module_learns_digits_though_sources_lie() -> None:
    X, Xt, y, yt, sources = digits()
    clf = MultiSourceTorchClassifier(rounds=15, aggregator="geometric_median")
    clf.fit(X, np.where(sources < 3, 9 - y, y), sources=sources)
    assert clf.score(Xt, yt) > 0.93
    np.testing.assert_allclose(clf.predict_proba(Xt).sum(axis=1), 1)
    assert clf.n_iter_ == len(clf.history_) == 15
    assert clf.bytes_up_ > 15 * 10 * 4 * clf.params_.size


def test_a_module_learns_real_targets_in_their_units() -> None:
    X, y = load_diabetes(return_X_y=True)
    reg = MultiSourceTorchRegressor(flat, lr=0.02, rounds=20, criterion=absolute)
    reg.fit(X, y, sources=np.arange(len(y)) % 4)
    assert reg.score(X, y) > 0.45
    assert np.median(reg.predict(X)) == pytest.approx(np.median(y), rel=0.1)


def test_arguments_of_the_module_are_parameters() -> None:
    clf = MultiSourceTorchClassifier(Net, module__width=3, rounds=1)
    assert clf.get_params()["module__width"] == 3
    assert clone(clf).module__width == 3
    assert "module__width=3" in repr(clf)
    clf.set_params(module__depths=[1, 2], codec="maxmin", codec__bits=8)
    X, _, y, _, _ = digits()
    assert clf.fit(X, y).params_.size == 3 * 65 + 10 * 4
    search = GridSearchCV(clf, {"module__width": [2, 16]}, cv=2).fit(X[:300], y[:300])
    assert search.best_estimator_.params_.size == 16 * 65 + 10 * 17


def test_partial_fit_and_warm_start_go_on() -> None:
    X, Xt, y, yt, _ = digits()
    clf = MultiSourceTorchClassifier(Net, rounds=3)
    whole = clone(clf).fit(X, y)
    steps = clone(clf)
    for _ in range(3):
        steps.partial_fit(X, y, classes=np.arange(10))
    np.testing.assert_array_equal(steps.params_, whole.params_)
    warm = clone(clf).set_params(warm_start=True).fit(X, y)
    assert warm.fit(X, y).score(Xt, yt) > whole.score(Xt, yt)


def test_early_stopping_keeps_the_best() -> None:
    X, _, y, _, sources = digits()
    clf = MultiSourceTorchClassifier(early_stopping=True, n_iter_no_change=2, validation="sources")
    clf.fit(X, y, sources=sources)
    assert clf.n_iter_ < 50
    assert clf.history_["eval/accuracy"].max() > 0.9


def test_it_travels_to_workers_and_through_pickle(cluster: Any) -> None:
    X, Xt, y, _, sources = digits()
    here = MultiSourceTorchClassifier(rounds=2, codec="maxmin").fit(X, y, sources=sources)
    there = clone(here).set_params(client=cluster).fit(X, y, sources=sources)
    np.testing.assert_array_equal(here.params_, there.params_)
    again = pickle.loads(pickle.dumps(there))
    np.testing.assert_array_equal(again.predict(Xt), there.predict(Xt))


def test_datasets_are_sources() -> None:
    X, _, y, _, sources = digits()
    images = torch.tensor(X, dtype=torch.float32).reshape(-1, 8, 8)
    parts = [TensorDataset(images[sources == i], torch.tensor(y)[sources == i]) for i in range(10)]
    clf = MultiSourceTorchClassifier(rounds=2)
    found = clone(clf).fit(parts)
    np.testing.assert_array_equal(found.params_, clf.fit(X, y, sources=sources).params_)
    assert [i.digest for i in found.sources_] == [i.digest for i in clf.sources_]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"module": nn.Linear(4, 2)}, "must be a class of nn.Module or a function"),
        ({"module": 3}, "must be a class of nn.Module or a function"),
        ({"module": flat}, r"outputs of shape \(2, 3\), it gave \(2,\)"),
        ({"hidden": 3}, "has no parameter hidden; arguments of the module begin with module__"),
    ],
)
def test_what_is_no_module_is_refused(arguments: dict[str, Any], message: str) -> None:
    clf = MultiSourceTorchClassifier(**arguments)
    with pytest.raises(PlanError, match=message):
        clf.fit(np.eye(6, 4), [0, 1, 2, 0, 1, 2])


def test_linear_estimators_do_not_wait_for_torch() -> None:
    code = (
        "import sys, msl; from msl.estimators import MultiSourceClassifier as C;"
        "C().fit([[0.], [1.]], [0, 1]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
