"""Every algorithm keeps the contract; FedAvg and FedSGD equal slow, obvious loops."""

import pickle
from dataclasses import replace
from math import cos, pi, sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from msl.algorithms import ALGORITHMS, Algorithm, FedAvg, FedSgd, Lbfgs, Step, fedavg
from msl.algorithms import make as make_algorithm
from msl.errors import DataError, PlanError
from msl.models import Softmax
from msl.models.base import Model
from msl.random import generator
from msl.types import Data, Update

MODEL = Softmax(3, 3)
SAMPLES: list[Algorithm] = [
    FedAvg(),
    FedAvg(epochs=2, batch=7, lr=0.3),
    FedAvg(steps=5, batch=None, schedule="inverse_sqrt"),
    FedSgd(),
    FedSgd(lr=0.5, batch=6),
    Lbfgs(),
]
every = pytest.mark.parametrize("algorithm", SAMPLES, ids=repr)
weightings = pytest.mark.parametrize("weighted", [False, True])
Vector = NDArray[np.float32]


def source(m: int = 20, weighted: bool = False) -> Data:
    draw = np.random.default_rng(2)
    X, y = draw.standard_normal((m, 3), np.float32), draw.integers(0, 3, m)
    return Data(X, y, draw.integers(1, 4, m).astype(np.float32) if weighted else None)


def start() -> Vector:
    return np.random.default_rng(3).standard_normal(MODEL.layout.size, np.float32)


def gradient(params: Vector, data: Data, rows: Any) -> Vector:
    weight = None if data.weight is None else data.weight[rows]
    return MODEL.gradient(params, data.X[rows], data.y[rows], weight)


def solve(algorithm: Algorithm, data: Data, key: int = 7, round: int = 0) -> Update:
    solver = algorithm.solver(MODEL)
    return solver.solve(start(), data, solver.init(MODEL.layout.size), key, round)[0]


def slow_fedavg(settings: FedAvg, data: Data, key: int, lr: float) -> tuple[Vector, int]:
    """Where local SGD ends, one batch at a time, and how many steps it took."""
    local, draw, m, taken = start(), generator(key), len(data), 0
    size = m if settings.batch is None else settings.batch
    for _ in range(settings.epochs if settings.steps is None else settings.steps):
        waiting = draw.permutation(m).tolist()
        while waiting and taken != settings.steps:
            rows, waiting = waiting[:size], waiting[size:]
            local = local - np.float32(lr) * gradient(local, data, rows)
            taken += 1
    return local, taken


def test_every_member_has_a_sample() -> None:
    assert {type(algorithm) for algorithm in SAMPLES} == set(ALGORITHMS.values())
    assert all(ALGORITHMS[algorithm.name] is type(algorithm) for algorithm in SAMPLES)


@every
@weightings
def test_keeps_the_contract(algorithm: Algorithm, weighted: bool) -> None:
    assert pickle.loads(pickle.dumps(algorithm)) == algorithm
    solver, data, params = algorithm.solver(MODEL), source(weighted=weighted), start()
    assert pickle.loads(pickle.dumps(solver)) == solver
    params.flags.writeable = False
    memory = solver.init(len(params))
    update, _ = solver.solve(params, data, memory, 7, 0)
    again, _ = solver.solve(params, data, memory, 7, 0)
    np.testing.assert_array_equal(params, start())
    np.testing.assert_array_equal(update.vector, again.vector)
    assert update.vector.shape == params.shape
    assert update.vector.dtype == np.float32
    assert update.weight == (len(data) if data.weight is None else data.weight.sum())
    assert update.loss == pytest.approx(MODEL.loss(params, data.X, data.y, data.weight), rel=1e-6)

    rule = algorithm.server()
    moved, _ = rule.step(params, update.vector, rule.init(params))
    assert moved.dtype == np.float32
    assert not np.shares_memory(moved, params)
    assert MODEL.loss(moved, data.X, data.y, data.weight) < update.loss


def test_the_loss_is_that_of_the_first_rows() -> None:
    data = source(1500, weighted=True)
    assert data.weight is not None
    shown = MODEL.loss(start(), data.X[:1024], data.y[:1024], data.weight[:1024])
    for algorithm in (FedAvg(steps=1), FedSgd()):
        assert solve(algorithm, data).loss == pytest.approx(shown, rel=1e-6)


@weightings
def test_one_full_step_is_one_gradient(weighted: bool) -> None:
    data = source(weighted=weighted)
    whole = gradient(start(), data, slice(None))
    once = solve(FedAvg(batch=None, lr=0.5), data)
    stepped = start() - np.float32(0.5) * whole
    np.testing.assert_allclose(once.vector, stepped - start(), atol=1e-6)
    np.testing.assert_array_equal(solve(FedSgd(), data).vector, -whole)


@weightings
@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        (FedAvg(batch=32, lr=0.3), 1),
        (FedAvg(epochs=3, batch=7, lr=0.3), 9),
        (FedAvg(epochs=2, batch=None, lr=0.3), 2),
        (FedAvg(epochs=9, steps=2, batch=7, lr=0.3), 2),
        (FedAvg(steps=5, batch=7, lr=0.3), 5),
        (FedAvg(steps=6, batch=10, lr=0.3), 6),
    ],
    ids=repr,
)
def test_fedavg_equals_plain_loops(settings: FedAvg, steps: int, weighted: bool) -> None:
    data = source(weighted=weighted)
    local, taken = slow_fedavg(settings, data, 7, settings.lr)
    assert taken == steps
    np.testing.assert_allclose(solve(settings, data).vector, local - start(), atol=1e-6)


@weightings
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("l2", [0.0, 0.5, (0.1, 0.0, 2.0)], ids=str)
def test_the_fast_way_of_a_model_equals_single_steps(l2: Any, classes: int, weighted: bool) -> None:
    data, model = source(50, weighted), Softmax(3, classes, l2=l2)
    data = replace(data, y=data.y % classes)
    order = np.concatenate([generator(key).permutation(50) for key in range(3)])
    fast, loss = model.local_sgd(model.init(0), data, order, batch=7, steps=20, rate=0.3, shown=30)
    slow, plain = Model.local_sgd(
        model, model.init(0), data, order, batch=7, steps=20, rate=0.3, shown=30
    )
    np.testing.assert_allclose(fast, slow, atol=1e-6)
    assert loss == pytest.approx(plain, rel=1e-6)


def test_many_epochs_are_cut_into_calls_of_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = FedAvg(epochs=7, batch=6, lr=0.3)
    whole = solve(settings, source(20))
    monkeypatch.setattr(fedavg, "CALL_ROWS", 40)
    parts = solve(settings, source(20))
    np.testing.assert_array_equal(parts.vector, whole.vector)
    assert parts.loss == whole.loss


@weightings
def test_fedsgd_draws_a_batch_without_replacement(weighted: bool) -> None:
    data = source(weighted=weighted)
    rows = generator(7).choice(len(data), 6, replace=False)
    found = solve(FedSgd(batch=6), data)
    np.testing.assert_array_equal(found.vector, -gradient(start(), data, rows))
    np.testing.assert_array_equal(
        solve(FedSgd(batch=len(data)), data).vector, solve(FedSgd(), data).vector
    )


@every
def test_a_row_of_weight_zero_is_a_row_that_is_not_there(algorithm: Algorithm) -> None:
    whole = source(weighted=True)
    # Most batches of 6 or 7 rows would hold nothing but zeros.
    weight = np.where(np.arange(len(whole)) % 9 == 0, whole.weight, 0).astype(np.float32)
    kept = np.flatnonzero(weight)
    less = solve(algorithm, Data(whole.X[kept], whole.y[kept], weight[kept]))
    found = solve(algorithm, replace(whole, weight=weight))
    np.testing.assert_array_equal(found.vector, less.vector)
    assert (found.weight, found.loss) == (less.weight, less.loss)
    with pytest.raises(DataError, match="all zero"):
        solve(algorithm, replace(whole, weight=0 * weight))


@pytest.mark.parametrize("algorithm", [FedAvg(batch=6), FedSgd(batch=6)], ids=repr)
def test_another_key_draws_other_rows(algorithm: Algorithm) -> None:
    assert (solve(algorithm, source(), 7).vector != solve(algorithm, source(), 8).vector).any()


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        (FedAvg(lr=0.4), lambda _: 0.4),
        (FedAvg(lr=0.4, schedule="cosine", rounds=10), lambda r: 0.2 * (1 + cos(pi * r / 10))),
        (FedAvg(lr=0.4, schedule="inverse_sqrt"), lambda r: 0.4 / sqrt(r + 1)),
    ],
    ids=["constant", "cosine", "inverse_sqrt"],
)
def test_schedules(settings: FedAvg, rate: Any) -> None:
    data = source()
    assert settings.rate(0) == pytest.approx(0.4)
    for round in (0, 3, 9):
        assert settings.rate(round) == pytest.approx(rate(round))
        local, _ = slow_fedavg(settings, data, 7, rate(round))
        found = solve(settings, data, round=round)
        np.testing.assert_allclose(found.vector, local - start(), atol=1e-6)


def test_the_cosine_does_not_rise_again() -> None:
    settings = FedAvg(schedule="cosine", rounds=4)
    assert settings.rate(3) > 0
    assert settings.rate(4) == settings.rate(7) == 0


def test_servers_step_along_the_direction() -> None:
    params, direction = start(), start()[::-1].copy()
    for rule, rate in (
        (FedAvg(server_lr=0.5).server(), 0.5),
        (FedAvg().server(), 1.0),
        (FedSgd(lr=0.25).server(), 0.25),
    ):
        assert rule == Step(rate)
        moved, _ = rule.step(params, direction, rule.init(params))
        np.testing.assert_allclose(moved, params + rate * direction, rtol=1e-6)
    np.testing.assert_array_equal(params, start())


@pytest.mark.parametrize("lr", [1e30, 1e38, 1e300])
@pytest.mark.parametrize("classes", [2, 3])
def test_divergence_is_said(lr: float, classes: int) -> None:
    data = replace(source(), y=source().y % classes)
    solver = FedAvg(steps=5, batch=5, lr=lr).solver(Softmax(3, classes, l2=0.1))
    params = np.ones(solver.model.layout.size, np.float32)
    with pytest.raises(DataError, match="lower the algorithm's lr"):
        solver.solve(params, data, None, 7, 0)


@pytest.mark.parametrize("size", [3e38, np.inf, np.nan])
def test_a_gradient_that_is_not_finite_is_said(size: float) -> None:
    solver = FedSgd().solver(MODEL)
    with pytest.raises(DataError, match="not finite"):
        solver.solve(np.float32(size) * np.sign(start()), source(), None, 7, 0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fedavg", {"epochs": 0}),
        ("fedavg", {"steps": 0}),
        ("fedavg", {"batch": 0}),
        ("fedavg", {"epochs": 1.5}),
        ("fedavg", {"batch": 2.5}),
        ("fedavg", {"rounds": 0, "schedule": "cosine"}),
        ("fedavg", {"rounds": -5, "schedule": "cosine"}),
        ("fedavg", {"lr": 0.0}),
        ("fedavg", {"lr": float("nan")}),
        ("fedavg", {"server_lr": -1.0}),
        ("fedavg", {"schedule": "linear"}),
        ("fedavg", {"schedule": "cosine"}),
        ("fedsgd", {"lr": 0.0}),
        ("fedsgd", {"lr": float("nan")}),
        ("fedsgd", {"batch": 0}),
        ("fedsgd", {"batch": 2.5}),
    ],
)
def test_bad_settings_are_refused(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=next(iter(arguments))):
        make_algorithm(name, **arguments)
