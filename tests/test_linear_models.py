"""Linear models: each loss equals a slow formula, its slope, and what scikit-learn makes of it."""

import pickle
from math import exp, inf, log
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score, r2_score

from msl.errors import DataError, PlanError
from msl.models import Linear, make
from msl.models.losses import LOSSES, Huber, Quantile

P, M = 5, 40
Array = NDArray[Any]

REGRESSIONS = [
    Linear(P, l2=0.3),
    Linear(P, criterion="huber", epsilon=0.7),
    Linear(P, criterion="quantile", quantile=0.8, l2=0.1),
    Linear(P, criterion="poisson", l2=0.2),
]
CLASSIFIERS = [
    Linear(P, 2, "hinge", l2=0.3),
    Linear(P, 4, "hinge"),
    Linear(P, 2, "modified_huber"),
    Linear(P, 4, "modified_huber", l2=0.3),
]
every = pytest.mark.parametrize("model", REGRESSIONS + CLASSIFIERS, ids=repr)


def slow(model: Linear, z: float, t: float) -> float:
    """The loss of one output, as its definition reads."""
    match model.criterion:
        case "squared":
            return (z - t) ** 2 / 2
        case "huber":
            far = abs(z - t)
            e = model.epsilon
            return far**2 / 2 if far <= e else e * far - e**2 / 2
        case "quantile":
            return model.quantile * (t - z) if z < t else (1 - model.quantile) * (z - t)
        case "poisson":
            return exp(z) - t + (t * log(t / exp(z)) if t else 0)
        case "hinge":
            return max(0.0, 1 - t * z)
        case _:
            return max(0.0, 1 - t * z) ** 2 if t * z >= -1 else -4 * t * z


def rows(model: Linear) -> tuple[Array, Array, Array]:
    """Features, targets and whole-number weights, some of them 0."""
    draw = np.random.default_rng(3)
    X = draw.standard_normal((M, P), np.float32)
    if model.n_classes:
        y: Array = draw.integers(0, model.n_classes, M)
    else:
        y = draw.poisson(2.0, M).astype(np.float32)
    return X, y, draw.integers(0, 4, M).astype(np.float32)


def away(model: Linear) -> Array:
    return np.random.default_rng(4).standard_normal(model.layout.size, np.float32)


def slow_loss(model: Linear, params: Array, X: Array, y: Array, weight: Array) -> float:
    """The whole objective in plain loops."""
    outputs = {None: 1, 2: 1}.get(model.n_classes, model.n_classes or 0)
    total = 0.0
    for features, target, share in zip(X, y, weight / weight.sum(), strict=True):
        for c in range(outputs):
            w = params[c * P : (c + 1) * P]
            z = float(sum(a * b for a, b in zip(w, features, strict=True)))
            z += float(params[outputs * P + c])
            own = {None: target, 2: 2 * target - 1}.get(model.n_classes, 1 if target == c else -1)
            total += float(share) * slow(model, z, float(own))
    return total + model.l2 / 2 * sum(float(v) ** 2 for v in params[: outputs * P])


@every
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_are_those_of_the_formula(model: Linear, weighted: bool) -> None:
    X, y, weight = rows(model)
    params, given = away(model), weight if weighted else None
    shares = weight if weighted else np.ones(M)
    assert model.loss(params, X, y, given) == pytest.approx(
        slow_loss(model, params, X, y, shares), rel=1e-5
    )
    gradient = model.gradient(params, X, y, given)
    assert gradient.dtype == np.float32
    assert gradient.shape == params.shape
    for i in range(len(params)):
        ahead, behind = params.astype(np.float64), params.astype(np.float64)
        ahead[i] += 1e-6
        behind[i] -= 1e-6
        slope = slow_loss(model, ahead, X, y, shares) - slow_loss(model, behind, X, y, shares)
        assert gradient[i] == pytest.approx(slope / 2e-6, rel=1e-4, abs=1e-5)


@every
def test_sparse_rows_give_what_dense_rows_give(model: Linear) -> None:
    X, y, weight = rows(model)
    X[np.abs(X) < 0.7] = 0
    params, thin = away(model), csr_array(X)
    assert model.loss(params, thin, y, weight) == pytest.approx(model.loss(params, X, y, weight))
    found = model.gradient(params, thin, y, weight)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model.gradient(params, X, y, weight), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.predict(params, thin), model.predict(params, X), rtol=1e-4)


@every
def test_travels_and_starts_at_zero(model: Linear) -> None:
    copy = pickle.loads(pickle.dumps(model))
    assert copy == model
    assert hash(copy) == hash(model)
    np.testing.assert_array_equal(model.init(7), np.zeros(model.layout.size, np.float32))
    outputs = model.n_classes if model.n_classes and model.n_classes > 2 else 1
    assert model.layout.blocks == (("weight", (outputs, P)), ("bias", (outputs,)))


@pytest.mark.parametrize("name", list(LOSSES))
def test_the_curvature_is_the_least_bound(name: str) -> None:
    loss = {"huber": Huber(0.6), "quantile": Quantile(0.3)}.get(name) or LOSSES[name]()
    z = np.linspace(-5, 9, 200_001)
    for t in (-1.0, 1.0) if loss.classes else (0.0, 2.0):
        slope = loss.slope(z, np.full_like(z, t))
        steepest = float((np.diff(slope) / np.diff(z)).max())
        # A kink, or exp, has no bound: it is far above those of the other losses.
        assert steepest == pytest.approx(loss.curvature, rel=1e-3) or (
            loss.curvature == inf and steepest > 1e3
        )


def test_a_mean_beyond_all_counts_still_has_a_finite_way_back() -> None:
    model, X = Linear(1, criterion="poisson"), np.ones((2, 1), np.float32)
    far, y = np.array([500.0, 500.0], np.float32), np.array([1.0, 2.0], np.float32)
    assert np.isfinite(model.loss(far, X, y))
    gradient = model.gradient(far, X, y)
    assert np.isfinite(gradient).all()
    assert (gradient > 0).all()
    assert np.isfinite(model.predict(far, X)).all()


def test_classes_against_the_rest_are_models_of_their_own() -> None:
    whole, one = Linear(P, 4, "modified_huber", l2=0.2), Linear(P, 2, "modified_huber", l2=0.2)
    X, y, _ = rows(whole)
    params = away(whole)
    parts = [np.append(params[c * P : (c + 1) * P], params[4 * P + c]) for c in range(4)]
    labels = [(y == c).astype(np.int64) for c in range(4)]
    assert whole.loss(params, X, y) == pytest.approx(
        sum(one.loss(part, X, label) for part, label in zip(parts, labels, strict=True))
    )
    scores = [one.decision(part, X)[:, 0] for part in parts]
    np.testing.assert_array_equal(whole.predict(params, X), np.argmax(scores, axis=0))


@pytest.mark.parametrize("classes", [2, 4])
def test_probabilities_are_those_of_scikit_learn(classes: int) -> None:
    model = Linear(P, classes, "modified_huber")
    X, y, _ = rows(model)
    params = away(model)
    theirs = SGDClassifier(loss="modified_huber", max_iter=5, tol=None).fit(X, y)
    outputs = 1 if classes == 2 else classes
    theirs.coef_ = params[: outputs * P].reshape(outputs, P)
    theirs.intercept_ = params[outputs * P :]
    found = model.predict_proba(params, X)
    np.testing.assert_allclose(found, theirs.predict_proba(X), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    # All refuse: every class is as likely as any other.
    nobody = np.append(np.zeros(outputs * P), np.full(outputs, -3)).astype(np.float32)
    shown = [1.0, 0.0] if classes == 2 else [1 / classes] * classes
    np.testing.assert_allclose(model.predict_proba(nobody, X[:1]), [shown])


@every
def test_score_is_accuracy_or_r2(model: Linear) -> None:
    X, y, weight = rows(model)
    found = model.predict(away(model), X)
    judge = accuracy_score if model.n_classes else r2_score
    for given in (None, weight):
        score = model.score(away(model), X, y, given)
        assert score == pytest.approx(judge(y, found, sample_weight=given), rel=1e-5)


def test_targets_that_do_not_vary_have_no_r2() -> None:
    assert Linear(1).score(np.zeros(2, np.float32), np.ones((3, 1)), np.full(3, 4.0)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"criterion": "log"}, "criterion must be one of squared, huber"),
        ({"criterion": "hinge"}, "set n_classes"),
        ({"criterion": "squared", "n_classes": 3}, "leave n_classes out"),
        ({"criterion": "hinge", "n_classes": 1}, "n_classes >= 2"),
        ({"n_features": 0}, "n_features >= 1"),
        ({"l2": -1.0}, "l2 >= 0"),
        ({"l2": float("nan")}, "l2 >= 0"),
        ({"criterion": "huber", "epsilon": 0.0}, "epsilon > 0"),
        ({"criterion": "quantile", "quantile": 1.0}, "quantile in"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make("linear", **{"n_features": P, **arguments})


def test_rows_that_do_not_fit_are_refused() -> None:
    X = np.ones((3, P), np.float32)
    margin, count = Linear(P, 3, "hinge"), Linear(P, criterion="poisson")
    with pytest.raises(DataError, match=r"class numbers 0\.\.2"):
        margin.loss(away(margin), X, np.array([0, 1, 3]))
    with pytest.raises(DataError, match="class numbers"):
        margin.gradient(away(margin), X, np.array([0.0, 1.0, 2.0]))
    with pytest.raises(DataError, match="targets >= 0"):
        count.gradient(away(count), X, np.array([0.0, 1.0, -2.0]))
    with pytest.raises(DataError, match="all zero"):
        count.loss(away(count), X, np.ones(3), np.zeros(3))
    with pytest.raises(PlanError, match="no probabilities"):
        margin.predict_proba(away(margin), X)
