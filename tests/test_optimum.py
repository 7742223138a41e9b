"""With honest sources, lbfgs ends where scikit-learn does on the pooled rows; else, it ends."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.model_selection import train_test_split

from msl.aggregators import Aggregator, GeometricMedian, Mean
from msl.algorithms import FedSgd, Lbfgs, ServerRule
from msl.algorithms.pace import LEAST_RATE, WINDOW, Pace
from msl.attacks import SignFlip
from msl.cluster import LocalExecutor
from msl.codecs import ErrorFeedback, MaxMin
from msl.codecs.base import Codec
from msl.codecs.none import Identity
from msl.models import Linear, Model, Softmax
from msl.rounds import Plan, Result, train
from msl.sources import ArraySource

Array = NDArray[Any]
LOADERS = {"breast_cancer": load_breast_cancer, "digits": load_digits, "wine": load_wine}
C = 1.0


def standardised(X: Array) -> Array:
    spread = X.std(axis=0)
    found: Array = ((X - X.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
    return found


def classes(name: str) -> tuple[Array, Array]:
    X, y = LOADERS[name](return_X_y=True)
    return standardised(X), y


def sources(X: Array, y: Array, n: int = 8, weight: Array | None = None) -> list[ArraySource]:
    """Sources of unequal sizes that hold few classes each: rows by target, roughly, then cut."""
    noise = np.random.default_rng(0).standard_normal(len(y))
    order = np.argsort(y + 0.5 * y.std() * noise)
    cuts = np.cumsum(np.arange(1, n)) * len(y) // (n * (n + 1) // 2)
    return [
        ArraySource(f"s{i}", X[own], y[own], None if weight is None else weight[own])
        for i, own in enumerate(np.split(order, cuts))
    ]


def learn(
    model: Model,
    held: list[ArraySource],
    rounds: int,
    codec: Codec | None = None,
    aggregator: Aggregator | None = None,
    **plan: Any,
) -> Result:
    with LocalExecutor() as executor:
        return train(
            Plan(
                model,
                plan.pop("algorithm", Lbfgs()),
                aggregator or Mean(),
                codec or Identity(),
                rounds=rounds,
                **plan,
            ),
            held,
            executor,
        )


def logistic(X: Array, y: Array, **fit: Any) -> tuple[Softmax, Array, LogisticRegression]:
    """The model with the penalty of scikit-learn, its optimum there, and who found it."""
    found = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(X.astype(float), y, **fit)
    total = float(sum(fit["sample_weight"])) if fit else len(y)
    model = Softmax(X.shape[1], int(y.max()) + 1, 1 / (C * total))
    return model, np.append(found.coef_, found.intercept_).astype(np.float32), found


@pytest.mark.parametrize(("name", "rounds"), [("breast_cancer", 30), ("digits", 80), ("wine", 30)])
def test_log_loss_reaches_the_pooled_optimum(name: str, rounds: int) -> None:
    X, y = classes(name)
    X, Xt, y, yt = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    model, optimum, theirs = logistic(X, y)
    params = learn(model, sources(X, y), rounds).params
    assert model.loss(params, X, y) == pytest.approx(model.loss(optimum, X, y), rel=1e-5)
    accuracy = float(np.mean(model.predict(params, Xt) == yt))
    assert accuracy == pytest.approx(theirs.score(Xt, yt), abs=0.005)


def test_weights_of_rows_count_as_scikit_learn_counts_them() -> None:
    X, y = classes("wine")
    weight = np.random.default_rng(1).uniform(0.1, 3, len(y)).astype(np.float32)
    model, optimum, _ = logistic(X, y, sample_weight=weight)
    params = learn(model, sources(X, y, weight=weight), 30).params
    assert model.loss(params, X, y, weight) == pytest.approx(
        model.loss(optimum, X, y, weight), rel=1e-5
    )


def test_squared_loss_reaches_ridge() -> None:
    X, y = load_diabetes(return_X_y=True)
    X, y = standardised(X), y.astype(np.float32)
    model, theirs = Linear(10, l2=1 / len(y)), Ridge(alpha=1.0).fit(X, y)
    params = learn(model, sources(X, y), 30).params
    np.testing.assert_allclose(params[:-1], theirs.coef_, atol=0.01)
    assert model.score(params, X, y) == pytest.approx(theirs.score(X, y), rel=1e-6)


def test_poisson_reaches_scikit_learn_from_far_away() -> None:
    # The first gradient is that of a mean of 1 where 150 is right: exp punishes a step too far.
    X, y = load_diabetes(return_X_y=True)
    X, y = standardised(X), y.astype(np.float32)
    theirs = PoissonRegressor(alpha=1e-3, tol=1e-8, max_iter=1000).fit(X, y)
    params = learn(Linear(10, criterion="poisson", l2=1e-3), sources(X, y), 50).params
    np.testing.assert_allclose(params, np.append(theirs.coef_, theirs.intercept_), atol=1e-3)


@pytest.mark.parametrize("criterion", ["huber", "quantile"])
def test_far_targets_of_a_bounded_slope_are_reached(criterion: str) -> None:
    # Slopes are constant at first: nothing but longer and longer steps gets there.
    draw = np.random.default_rng(0)
    X = draw.standard_normal((600, 3)).astype(np.float32)
    truth = np.array([30.0, -20.0, 10.0, 5000.0], np.float32)
    y = (X @ truth[:3] + truth[3] + draw.standard_normal(600)).astype(np.float32)
    params = learn(Linear(3, criterion=criterion), sources(X, y), 80).params
    np.testing.assert_allclose(params, truth, atol=0.5)


def test_margins_come_close_to_the_optimum() -> None:
    X, y = classes("wine")
    smooth, kinked = (Linear(13, 3, c, l2=1 / len(y)) for c in ("modified_huber", "hinge"))
    found = minimize(
        lambda w: (smooth.loss(w, X, y), smooth.gradient(w, X, y)),
        smooth.init(0).astype(float),
        jac=True,
        options={"maxiter": 2000},
    )
    assert smooth.loss(learn(smooth, sources(X, y), 80).params, X, y) < 1.0001 * found.fun
    # 0.0628 by scikit-learn's dual coordinate ascent, LinearSVC(loss="hinge", C=1).
    assert kinked.loss(learn(kinked, sources(X, y), 150).params, X, y) < 1.03 * 0.0628


def alike(X: Array, y: Array, n: int) -> list[ArraySource]:
    """Sources whose rows are drawn alike."""
    order = np.array_split(np.random.default_rng(0).permutation(len(y)), n)
    return [ArraySource(f"s{i}", X[own], y[own]) for i, own in enumerate(order)]


def test_eight_bits_with_feedback_reach_the_optimum_too() -> None:
    X, y = classes("breast_cancer")
    model, optimum, _ = logistic(X, y)
    # Where sources are alike, their geometric median is near their mean.
    for aggregator, within in ((Mean(), 1e-3), (GeometricMedian(), 1e-2)):
        codec = ErrorFeedback(MaxMin(bits=8))
        params = learn(model, alike(X, y, 8), 30, codec, aggregator).params
        assert model.loss(params, X, y) < (1 + within) * model.loss(optimum, X, y)


def test_liars_do_not_carry_the_model_away() -> None:
    X, y = classes("breast_cancer")
    X, Xt, y, yt = train_test_split(X, y, random_state=0)
    model = Softmax(30, 2, 1 / len(y))
    params = learn(
        model,
        alike(X, y, 10),
        60,
        aggregator=GeometricMedian(),
        attack=SignFlip(3.0),
        corrupted=(0, 4, 7),
    ).params
    assert float(np.mean(model.predict(params, Xt) == yt)) > 0.94


# The server rule by itself, on surfaces that are known.

CURVATURES = np.geomspace(1e-3, 1, 30)


def walk(rule: ServerRule, gradient: Any, start: Array, rounds: int) -> tuple[list[Array], Any]:
    """Every place the rule asked about, and its state at the end."""
    params, state = start.astype(np.float32), rule.init(start)
    asked = [params]
    for number in range(rounds):
        params, state = rule.step(params, -gradient(params, number).astype(np.float32), state)
        asked.append(params)
    return asked, state


def bowl(params: Array, _: int) -> Array:
    return CURVATURES * (params - 1)


def test_a_long_valley_takes_few_rounds() -> None:
    # scipy's L-BFGS of the same memory, with losses and in float64, asks 121 times.
    places, _ = walk(Lbfgs(tolerance=0).server(), bowl, np.zeros(30), 130)
    norms = [float(np.linalg.norm(bowl(place, 0))) for place in places]
    assert min(norms) < 1e-5 * norms[0]
    plain, _ = walk(FedSgd(lr=1.0).server(), bowl, np.zeros(30), 130)
    assert float(np.linalg.norm(bowl(plain[-1], 0))) > 1e-3 * norms[0]


def test_done_is_said_and_then_the_model_stands_still() -> None:
    rule = Lbfgs(tolerance=1e-4).server()
    assert not rule.converged(rule.init(np.zeros(30, np.float32)))
    places, state = walk(rule, bowl, np.zeros(30), 120)
    assert rule.converged(state)
    np.testing.assert_array_equal(places[-1], places[-2])
    first, last = (float(np.linalg.norm(bowl(place, 0))) for place in (places[0], places[-1]))
    assert last <= 1e-4 * first
    # Rounds that were already queued change nothing, whatever comes in.
    after, same = rule.step(places[-1], np.ones(30, np.float32), state)
    np.testing.assert_array_equal(after, places[-1])
    assert same is state
    assert not np.shares_memory(after, state.params)
    assert not FedSgd().server().converged(None)


def test_a_step_too_far_is_tried_again_shorter() -> None:
    # Slope along the first step: -1 before, e^8 after.
    def cliff(params: Array, _: int) -> Array:
        return np.exp(8 * params) - 2

    places, _ = walk(Lbfgs().server(), cliff, np.zeros(1), 40)
    first, second = float(places[1][0]), float(places[2][0])
    assert first == 1.0
    assert second == pytest.approx(0.1 * first)
    assert places[-1][0] == pytest.approx(np.log(2) / 8, rel=1e-4)


@pytest.mark.parametrize(("factor", "until"), [(-100, 5), (-0.5, 3)])
def test_a_forged_gradient_is_forgotten(factor: float, until: int) -> None:
    # The aggregate is turned round. After the weaker one every step from there looks too long.
    def forged(params: Array, number: int) -> Array:
        return bowl(params, number) * (factor if 3 <= number <= until else 1)

    places, _ = walk(Lbfgs(tolerance=0).server(), forged, np.zeros(30), 150)
    np.testing.assert_allclose(places[-1], 1, atol=0.01)


def test_steps_grow_four_times_at_most() -> None:
    draw = np.random.default_rng(0)
    places, _ = walk(Lbfgs().server(), lambda *_: draw.standard_cauchy(30), np.zeros(30), 200)
    steps = [float(np.linalg.norm(b - a)) for a, b in pairwise(places)]
    assert steps[0] <= 1
    for number in range(1, len(steps)):
        assert steps[number] <= 4.01 * max(steps[:number])


def test_pure_noise_comes_to_rest() -> None:
    draw = np.random.default_rng(0)
    rule = Lbfgs().server()
    places, state = walk(rule, lambda p, _: p + draw.standard_normal(30), np.zeros(30), 300)
    assert rule.converged(state)
    assert np.linalg.norm(places[-1]) < 10


def test_pace_slows_down_for_noise_only() -> None:
    draw = np.random.default_rng(0)
    ahead, lost = Pace(np.zeros(50, np.float32), 1.0), Pace(np.zeros(50, np.float32), 1.0)
    there = here = np.zeros(50, np.float32)
    for _ in range(4 * WINDOW):
        step = np.full(50, 0.1, np.float32)
        there = there + step
        ahead = ahead.after(there, step, 1.0)
        step = draw.standard_normal(50).astype(np.float32)
        here = here + step
        lost = lost.after(here, step, 1.0)
    assert (ahead.rate, lost.rate) == (1.0, 1 / 16)
    assert lost.rate < LEAST_RATE
    assert lost.over
    for _ in range(WINDOW):  # the gradient shrinks: this was no noise, though nothing moved far
        lost = lost.after(here, np.zeros(50, np.float32), 0.5)
    assert lost.rate == 1 / 16
