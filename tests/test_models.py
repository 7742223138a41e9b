"""Every model keeps the contract; softmax equals a slow closed form, torch its own autograd."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
from names import same_everywhere
from numpy.typing import NDArray
from torch import nn

from msl.errors import DataError, PlanError
from msl.models import MODELS, Linear, Model, Softmax
from msl.models import make as make_model
from msl.models.base import Run
from msl.models.torch import TorchModel
from msl.models.torch_mlp import Mlp
from msl.types import Data

P, M = 5, 30
SAMPLES: list[tuple[Model, int]] = [
    (Softmax(P, 2), 2),
    (Softmax(P, 2, l2=0.3), 2),
    (Softmax(P, 4), 4),
    (Softmax(P, 4, l2=0.3), 4),
    (Linear(P, 2, "modified_huber", l2=0.3), 2),
    (Linear(P, 4, "modified_huber"), 4),
    (TorchModel(nn.Linear, (P, 4)), 4),
    (Mlp(n_features=P, n_classes=4, hidden=(7,)), 4),
]
every = pytest.mark.parametrize(("model", "classes"), SAMPLES, ids=same_everywhere)
softmaxes = pytest.mark.parametrize(
    ("model", "classes"), [s for s in SAMPLES if isinstance(s[0], Softmax)], ids=same_everywhere
)
Array = NDArray[np.float32]


def rows(classes: int, m: int = M) -> tuple[Array, NDArray[np.int64], Array]:
    """Features, labels and whole-number weights, some of them 0."""
    draw = np.random.default_rng(3)
    X = draw.standard_normal((m, P), np.float32)
    return X, draw.integers(0, classes, m), draw.integers(0, 4, m).astype(np.float32)


def away(model: Model) -> Array:
    """Parameters away from the start, where nothing is zero by chance."""
    noise = np.random.default_rng(4).standard_normal(model.layout.size, np.float32)
    return model.init(1) + np.float32(0.3) * noise


def slow_softmax(
    model: Softmax, params: Array, X: Array, y: NDArray[np.int64], weight: Array
) -> tuple[float, list[float]]:
    """Loss and gradient in plain loops; two classes are class 0 with logit 0 and one row."""
    outputs = 1 if model.n_classes == 2 else model.n_classes
    values = [float(v) for v in params]
    w, b = values[: outputs * P], values[outputs * P :]
    loss, gradient = 0.0, [0.0] * len(values)
    for features, label, share in zip(X, y, weight / weight.sum(dtype=float), strict=True):
        logits = [sum(w[c * P + j] * float(features[j]) for j in range(P)) + b[c]
                  for c in range(outputs)]  # fmt: skip
        shown = [0.0, *logits] if outputs == 1 else logits
        top = max(shown)
        total = sum(exp(z - top) for z in shown)
        loss += float(share) * (log(total) + top - shown[label])
        for c in range(outputs):
            number = c + len(shown) - outputs
            error = float(share) * (exp(shown[number] - top) / total - (number == label))
            for j in range(P):
                gradient[c * P + j] += error * float(features[j])
            gradient[outputs * P + c] += error
    loss += model.l2 / 2 * sum(v * v for v in w)
    for i, v in enumerate(w):
        gradient[i] += model.l2 * v
    return loss, gradient


def test_every_member_has_a_sample() -> None:
    assert {type(model) for model, _ in SAMPLES} == set(MODELS.values())
    assert all(MODELS[model.name] is type(model) for model, _ in SAMPLES)


@pytest.mark.parametrize("model", [model for model, _ in SAMPLES], ids=same_everywhere)
def test_travels_and_starts_from_its_key(model: Model) -> None:
    copy = pickle.loads(pickle.dumps(model))
    assert copy == model
    assert hash(copy) == hash(model)
    start = model.init(7)
    assert start.dtype == np.float32
    assert start.shape == (model.layout.size,)
    np.testing.assert_array_equal(start, copy.init(7))


@pytest.mark.parametrize(
    "model", [s[0] for s in SAMPLES if isinstance(s[0], TorchModel)], ids=same_everywhere
)
def test_another_key_gives_another_start(model: TorchModel) -> None:
    before = torch.random.get_rng_state()
    assert (model.init(7) != model.init(8)).all()
    # The caller's own stream of random numbers does not move.
    assert torch.equal(torch.random.get_rng_state(), before)


@every
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_is_the_slope_of_the_loss(model: Model, classes: int, weighted: bool) -> None:
    X, y, weight = rows(classes)
    params, given = away(model), weight if weighted else None
    gradient = model.gradient(params, X, y, given)
    assert gradient.dtype == np.float32
    assert gradient.shape == params.shape
    draw, step = np.random.default_rng(5), np.float32(5e-3)
    for _ in range(5):
        direction = draw.standard_normal(len(params), np.float32)
        direction /= np.linalg.norm(direction)
        ahead = model.loss(params + step * direction, X, y, given)
        behind = model.loss(params - step * direction, X, y, given)
        slope = (ahead - behind) / (2 * float(step))
        assert slope == pytest.approx(float(gradient @ direction), rel=5e-3, abs=2e-4)
    assert model.loss(params - np.float32(0.05) * gradient, X, y, given) < model.loss(
        params, X, y, given
    )


@every
def test_probabilities_agree_with_the_prediction(model: Model, classes: int) -> None:
    X, _, _ = rows(classes)
    shares = model.predict_proba(away(model), X)
    assert shares.dtype == np.float64
    assert shares.shape == (M, classes)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-12)
    predicted = model.predict(away(model), X)
    np.testing.assert_array_equal(predicted, shares.argmax(axis=1))
    assert len(set(predicted.tolist())) > 1


@every
def test_inputs_stay_and_bits_repeat(model: Model, classes: int) -> None:
    inputs: tuple[NDArray[Any], ...] = (away(model), *rows(classes))
    before = [array.copy() for array in inputs]
    for array in inputs:
        array.flags.writeable = False
    first, loss = model.gradient(*inputs), model.loss(*inputs)
    kept = first.copy()
    model.gradient(2 * inputs[0], *inputs[1:])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(model.gradient(*inputs), kept)
    assert model.loss(*inputs) == loss
    for array, old in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, old)


@every
def test_whole_weights_are_repeated_rows(model: Model, classes: int) -> None:
    X, y, weight = rows(classes)
    params, times = away(model), weight.astype(int)
    X2, y2 = np.repeat(X, times, axis=0), np.repeat(y, times)
    assert model.loss(params, X, y, weight) == pytest.approx(model.loss(params, X2, y2), rel=1e-5)
    np.testing.assert_allclose(
        model.gradient(params, X, y, weight), model.gradient(params, X2, y2), atol=1e-6
    )


@every
def test_weights_that_are_all_zero_are_refused(model: Model, classes: int) -> None:
    X, y, weight = rows(classes)
    for ask in (model.loss, model.gradient):
        with pytest.raises(DataError, match="all zero"):
            ask(away(model), X, y, 0 * weight)


@softmaxes
def test_softmax_equals_plain_loops(model: Softmax, classes: int) -> None:
    X, y, weight = rows(classes)
    params = away(model)
    for given in (None, weight):
        shares = np.ones(M, np.float32) if given is None else given
        loss, gradient = slow_softmax(model, params, X, y, shares)
        assert model.loss(params, X, y, given) == pytest.approx(loss, rel=1e-5)
        np.testing.assert_allclose(model.gradient(params, X, y, given), gradient, atol=2e-6)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("label", [-1, 4, 2**40])
def test_softmax_refuses_labels_outside_its_classes(classes: int, label: int) -> None:
    # The kernels index memory by the label: one too large would write into another array.
    X, y, _ = rows(classes)
    model, wrong = Softmax(P, classes), y.copy()
    wrong[-1] = label
    for ask in (model.loss, model.gradient):
        with pytest.raises(DataError, match=rf"class numbers 0\.\.{classes - 1}, got .*{label}"):
            ask(away(model), X, wrong)
        with pytest.raises(DataError, match="got float32"):
            ask(away(model), X, y.astype(np.float32))


def test_softmax_sizes() -> None:
    assert Softmax(P, 2).layout.blocks == (("weight", (1, P)), ("bias", (1,)))
    assert Softmax(P, 2).layout.size == P + 1
    assert Softmax(P, 4).layout.size == 4 * (P + 1)


@softmaxes
def test_softmax_withstands_large_logits(model: Softmax, classes: int) -> None:
    X, y, weight = rows(classes)
    params = np.float32(1e4) * away(model)
    loss, gradient = slow_softmax(model, params, X, y, weight)
    assert loss > 1e3
    assert model.loss(params, X, y, weight) == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(model.gradient(params, X, y, weight), gradient, rtol=1e-5, atol=1e-5)
    assert np.isfinite(model.predict_proba(params, X)).all()


@pytest.mark.parametrize("classes", [2, 4])
def test_penalty_leaves_the_bias_alone(classes: int) -> None:
    X, y, _ = rows(classes)
    plain, penalised = Softmax(P, classes), Softmax(P, classes, l2=0.5)
    params = away(plain)
    extra = penalised.gradient(params, X, y) - plain.gradient(params, X, y)
    blocks, own = plain.layout.split(extra), plain.layout.split(params)
    np.testing.assert_allclose(blocks["weight"], 0.5 * own["weight"], atol=1e-6)
    np.testing.assert_array_equal(blocks["bias"], 0)
    added = penalised.loss(params, X, y) - plain.loss(params, X, y)
    assert added == pytest.approx(0.25 * float((own["weight"] ** 2).sum()), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("softmax", {"n_features": 0, "n_classes": 2}),
        ("softmax", {"n_features": 3, "n_classes": 1}),
        ("softmax", {"n_features": 3, "n_classes": 2, "l2": -0.1}),
        ("softmax", {"n_features": 3, "n_classes": 2, "l2": float("nan")}),
        ("mlp", {"n_features": 0}),
        ("mlp", {"n_classes": 1}),
        ("mlp", {"hidden": (3, 0)}),
    ],
)
def test_impossible_sizes_are_refused(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(PlanError, match=r"need|must"):
        make_model(name, **arguments)


def test_models_are_listed_without_torch() -> None:
    ask = "import sys, msl.models; print(list(msl.models.MODELS), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == f"{list(MODELS)} False"


def test_torch_gradient_is_that_of_autograd() -> None:
    X, y, weight = rows(4)
    model = Mlp(n_features=P, n_classes=4, hidden=(7, 3))
    params = away(model)
    net = nn.Sequential(
        nn.Linear(P, 7), nn.ReLU(), nn.Linear(7, 3), nn.ReLU(), nn.Linear(3, 4)
    )  # fmt: skip
    nn.utils.vector_to_parameters(torch.from_numpy(params), net.parameters())
    each = nn.functional.cross_entropy(
        net(torch.from_numpy(X)), torch.from_numpy(y), reduction="none"
    )
    loss = (each * torch.from_numpy(weight)).sum() / float(weight.sum())
    own = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(net.parameters()))])
    np.testing.assert_allclose(model.gradient(params, X, y, weight), own.numpy(), atol=1e-6)
    assert model.loss(params, X, y, weight) == pytest.approx(loss.item(), rel=1e-6)
    assert [name for name, _ in model.layout.blocks] == [name for name, _ in net.named_parameters()]


def test_torch_parameters_are_views_of_one_vector() -> None:
    X, y, _ = rows(4)
    model = Mlp(n_features=P, n_classes=4, hidden=(7,))
    model.gradient(away(model), X, y)
    bound, start = model._bound(), 0
    for p in bound.module.parameters():
        assert p.grad is not None
        assert p.data_ptr() == bound.params.data_ptr() + 4 * start
        assert p.grad.data_ptr() == bound.grad.data_ptr() + 4 * start
        start += p.numel()
    assert start == len(bound.params) == model.layout.size


def test_torch_module_with_buffers_is_refused() -> None:
    with pytest.raises(PlanError, match="buffers"):
        _ = TorchModel(nn.BatchNorm1d, (P,)).layout


def net_with_dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(P, 50), nn.Dropout(0.5), nn.Linear(50, 4))


def test_torch_dropout_is_off() -> None:
    X, y, _ = rows(4)
    model = TorchModel(net_with_dropout)
    params = away(model)
    first = model.gradient(params, X, y)
    np.testing.assert_array_equal(model.gradient(params, X, y), first)
    plain = TorchModel(nn.Sequential, (nn.Linear(P, 50), nn.Identity(), nn.Linear(50, 4)))
    np.testing.assert_allclose(first, plain.gradient(params, X, y), atol=1e-6)


def test_threads_do_not_meet_in_one_torch_model() -> None:
    X, y, _ = rows(4)
    model = Mlp(n_features=P, n_classes=4, hidden=(7,))
    starts = [away(model), 3 * away(model)]
    alone = [model.gradient(params, X, y) for params in starts]

    def ask(number: int) -> bool:
        return all(
            np.array_equal(model.gradient(starts[number], X, y), alone[number]) for _ in range(100)
        )

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, [0, 1])) == [True, True]


def test_threads_start_from_their_own_keys() -> None:
    model = Mlp(n_features=P, n_classes=4, hidden=(64, 64))
    keys = list(range(100))
    alone = [model.init(key) for key in keys]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model.init, keys))
    np.testing.assert_array_equal(together, alone)


def spread(array: NDArray[Any]) -> NDArray[Any]:
    """Return equal numbers with gaps between them."""
    return np.repeat(array, 2)[::2]


def test_steps_do_not_depend_on_how_arrays_lie() -> None:
    """The kernel reads memory by address: gaps and other types must not reach it."""
    draw, model = np.random.default_rng(0), Softmax(5, 3)
    X, y, order = draw.standard_normal((12, 5), np.float32), np.arange(12) % 3, draw.permutation(12)
    weight = draw.integers(1, 4, 12).astype(np.float32)
    params = draw.standard_normal(model.layout.size, np.float32)

    def end(params: Any, y: Any, weight: Any, order: Any) -> tuple[bytes, float, bytes]:
        source, counts = Data(X, y, weight), {"rate": 0.1, "shown": 12}
        local, loss = model.local_sgd(params, source, order, batch=4, steps=3, **counts)
        (made,) = model.local_sgd_each(params, [source], [Run(order, 4, 3)], **counts)
        assert made is not None
        return local.tobytes(), loss, made[0].tobytes()

    wanted = end(params, y, weight, order)
    assert end(spread(params), spread(y), spread(weight), spread(order)) == wanted
    assert end(params, y, weight.astype(np.float64), order.astype(np.int32)) == wanted
    assert end(spread(params), y, weight, order.astype(np.int32)) == wanted
