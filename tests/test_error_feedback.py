"""What a codec loses comes back: identities of error feedback, and what it must refuse."""

from itertools import pairwise

import numpy as np
import pytest
from codec_samples import BUCKET, SAMPLES, encode, heavy, normal, same_bits

from msl.codecs import (
    Codec,
    Eden,
    ErrorFeedback,
    Lattice,
    LayerWise,
    MaxMin,
    NuQsgd,
    PowerSgd,
    Qsgd,
    RandK,
    Sign,
    TopK,
)
from msl.errors import DataError, PlanError
from msl.types import Layout

FED_BACK = [
    *(c for c in SAMPLES if isinstance(c, ErrorFeedback)),
    ErrorFeedback(Qsgd(bits=4, bucket=BUCKET)),
    ErrorFeedback(RandK(0.25, scaled=False)),
    ErrorFeedback(Eden(bits=2, block=BUCKET)),
    ErrorFeedback(Lattice(bits=3)),
    ErrorFeedback(TopK(0.1, selection="sampled")),
]
each = pytest.mark.parametrize("codec", FED_BACK, ids=repr)


@each
def test_nothing_is_lost_over_the_rounds(codec: ErrorFeedback) -> None:
    rounds, size = 50, 61
    memory, sent, wanted, largest = codec.init(size), np.zeros(size), np.zeros(size), 0.0
    for t in range(rounds):
        vector = normal(size, seed=t)
        before = memory[0].copy()
        payload, memory = codec.encode(vector, memory, key=t)
        decoded = payload.decode()
        asked = vector + before
        largest = max(largest, float(np.abs(asked).max()))
        np.testing.assert_allclose(decoded + memory[0], asked, atol=1e-6 * largest)
        sent += decoded
        wanted += vector
    slack = rounds * np.finfo(np.float32).eps * largest
    np.testing.assert_allclose(sent + memory[0], wanted, rtol=0, atol=slack)
    assert largest < 100, "the residual grows"


@pytest.mark.parametrize(
    "codec", [TopK(0.1), TopK(0.25, bucket=BUCKET), RandK(0.25, scaled=False)], ids=repr
)
def test_sparsifiers_split_to_the_last_bit(codec: Codec) -> None:
    feedback, memory = ErrorFeedback(codec), None
    for t in range(5):
        vector = heavy(61, seed=t)
        asked = vector + (0 if memory is None else memory[0])
        payload, memory = feedback.encode(vector, memory, key=t)
        assert same_bits(payload.decode() + memory[0], asked.astype(np.float32))


@pytest.mark.parametrize("codec", [Sign(), TopK(0.1)], ids=repr)
def test_fused_feedback_equals_the_steps(codec: Codec) -> None:
    vector, residual = normal(1000), heavy(1000)
    payload, after, _ = codec.compensate(vector, residual, None, key=5)
    slow, expected, _ = Codec.compensate(codec, vector, residual, None, key=5)
    assert payload.to_bytes() == slow.to_bytes()
    assert same_bits(after, expected)
    assert same_bits(residual, heavy(1000))


@each
def test_a_missing_memory_is_a_zero_residual(codec: ErrorFeedback) -> None:
    vector = normal(61)
    without, fresh = codec.encode(vector, key=1), codec.encode(vector, codec.init(61), key=1)
    assert without[0].to_bytes() == fresh[0].to_bytes()
    assert same_bits(without[1][0], fresh[1][0])


@pytest.mark.parametrize(
    "codec",
    [
        Qsgd(bits=4, norm="l2"),
        NuQsgd(levels=3, bucket=512),
        RandK(0.25),
        RandK(0.75),
        Lattice(bits=1),
        LayerWise(RandK(0.25)),
    ],
    ids=repr,
)
def test_what_may_lose_more_than_all_is_refused(codec: Codec) -> None:
    with pytest.raises(PlanError, match="can grow without end"):
        ErrorFeedback(codec)


def test_why_it_is_refused() -> None:
    """By hand: around few levels of l2 the residual outgrows every bound.

    One level of linf also loses more than a normal vector has, but its residuals are not normal:
    they settle at nine times the vector.
    """

    def longest(codec: Codec) -> float:
        residual = np.zeros(512, np.float32)
        for t in range(200):
            _, residual, _ = codec.compensate(normal(512, seed=t), residual, None, key=t)
        return float(np.linalg.norm(residual) / 512**0.5)

    assert longest(Qsgd(bits=4, bucket=512, norm="l2")) > 1000
    assert longest(NuQsgd(levels=3, bucket=512)) > 1000
    assert 5 < longest(Qsgd(bits=2, bucket=512)) < 20
    assert longest(Qsgd(bits=4, bucket=512)) < 0.5


def test_feedback_around_feedback_is_refused() -> None:
    with pytest.raises(PlanError, match="around error_feedback"):
        ErrorFeedback(ErrorFeedback(Sign()))
    with pytest.raises(PlanError, match=r"decay in \(0, 1\], got 0"):
        ErrorFeedback(Sign(), decay=0)


def test_old_residuals_decay_and_follow_the_rate() -> None:
    codec = ErrorFeedback(Sign(), decay=0.5)
    _, memory = codec.encode(normal(61))
    assert codec.carry(memory)[0] is memory[0]
    np.testing.assert_array_equal(codec.carry(memory, age=3)[0], memory[0] / 4)
    np.testing.assert_array_equal(codec.carry(memory, rate=4.0)[0], memory[0] * 4)


def test_rescaling_makes_feedback_on_gradients_that_on_steps() -> None:
    """With a changing rate, eta C(g + e eta_old / eta) walks as C(eta g + e) does."""
    on_gradient, on_step = ErrorFeedback(TopK(0.1)), ErrorFeedback(TopK(0.1))
    first, second = on_gradient.init(64), on_step.init(64)
    walked, expected, old = np.zeros(64), np.zeros(64), None
    for t, rate in enumerate((1.0, 1.0, 0.25, 0.25, 0.5)):
        gradient = normal(64, seed=t)
        if old is not None:
            first = on_gradient.carry(first, rate=old / rate)
        payload, first = on_gradient.encode(gradient, first)
        walked += rate * payload.decode()
        payload, second = on_step.encode(np.float32(rate) * gradient, second)
        expected += payload.decode()
        old = rate
    np.testing.assert_allclose(walked, expected, rtol=1e-6)


def test_a_refused_vector_leaves_the_residual() -> None:
    codec = ErrorFeedback(Sign())
    _, memory = codec.encode(normal(61))
    before = memory[0].copy()
    bad = normal(61)
    bad[7] = np.nan
    with pytest.raises(DataError, match="at index 7"):
        codec.encode(bad, memory)
    assert same_bits(memory[0], before)


def test_feedback_lowers_the_loss_where_a_codec_alone_stalls() -> None:
    """Softmax regression on ten normal classes, eight senders, top 1 % of the gradient."""
    with_it, without = toy_loss(ErrorFeedback(TopK(0.01))), toy_loss(TopK(0.01))
    assert with_it < 0.6 * without


def toy_loss(codec: Codec, steps: int = 300, senders: int = 8) -> float:
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((10, 64)) * 0.6
    y = draw.integers(0, 10, 4000)
    x = (centres[y] + draw.standard_normal((4000, 64))).astype(np.float32)
    weights, memories = np.zeros((10, 64), np.float32), [None] * senders

    def probabilities(rows: np.ndarray) -> np.ndarray:
        z = x[rows] @ weights.T
        p = np.exp(z - z.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    for t in range(steps):
        step = np.zeros(640, np.float32)
        for s in range(senders):
            rows = draw.integers(0, 4000, 32)
            p = probabilities(rows)
            p[np.arange(32), y[rows]] -= 1
            gradient = (p.T @ x[rows] / 32).astype(np.float32).reshape(-1)
            payload, memories[s] = codec.encode(gradient, memories[s], key=t * senders + s)
            step += payload.decode()
        weights -= 0.5 * step.reshape(10, 64) / senders
    every = np.arange(4000)
    return float(-np.log(probabilities(every)[every, y]).mean())


LAYERS = Layout((("first", (40, 30)), ("bias", (40,)), ("second", (25, 40))))


def low_rank(seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    blocks = [
        draw.standard_normal((40, 2)) @ draw.standard_normal((2, 30)),
        draw.standard_normal(40),
        draw.standard_normal((25, 2)) @ draw.standard_normal((2, 40)),
    ]
    return np.concatenate([b.reshape(-1) for b in blocks]).astype(np.float32)


def test_powersgd_finds_what_is_of_low_rank() -> None:
    codec = PowerSgd(rank=2).fit(LAYERS)
    vector, memory = low_rank(), None
    for _ in range(2):
        payload, memory = codec.encode(vector, memory)
    np.testing.assert_allclose(payload.decode(), vector, atol=1e-4)


def test_powersgd_converges_to_the_best_rank() -> None:
    codec, memory = PowerSgd(rank=3).fit(LAYERS), None
    vector = normal(LAYERS.size) + 3 * low_rank()
    errors = []
    for _ in range(30):
        payload, memory = codec.encode(vector, memory)
        errors.append(np.linalg.norm(payload.decode() - vector))
    best = 0.0
    for name, block in LAYERS.split(vector).items():
        if name != "bias":
            best += (np.linalg.svd(block, compute_uv=False)[3:] ** 2).sum()
    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(errors))
    assert errors[-1] == pytest.approx(best**0.5, rel=1e-3)


def test_powersgd_comes_back_after_a_zero() -> None:
    codec, memory = ErrorFeedback(PowerSgd(rank=2).fit(LAYERS)), None
    for vector in (np.zeros(LAYERS.size, np.float32), low_rank(), low_rank()):
        payload, memory = codec.encode(vector, memory)
    assert np.linalg.norm(memory[0]) < np.linalg.norm(low_rank())
    assert payload.decode().any()


def test_maxmin_memory_is_a_residual_and_nothing_else() -> None:
    residual, inner = ErrorFeedback(MaxMin(bucket=BUCKET)).encode(normal(61))[1]
    assert inner is None
    assert same_bits(residual, normal(61) - encode(MaxMin(bucket=BUCKET), normal(61)).decode())
