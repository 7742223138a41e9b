"""Codecs that see the layers: what stays raw, what each layer gets, and what it costs."""

from itertools import product

import numpy as np
import pytest
from codec_samples import heavy, normal, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from tasks import blobs, held_out, plan

from msl.cluster import LocalExecutor
from msl.codecs import Adaptive, ErrorFeedback, LayerWise, MaxMin, Payload, PowerSgd, TopK
from msl.codecs.allocate import STEPS, allocate
from msl.codecs.parts import bits_of_blocks
from msl.errors import DataError
from msl.models import make as make_model
from msl.rounds import train
from msl.types import Layout

LAYOUT = Layout(
    (("in.weight", (64, 40)), ("in.bias", (64,)), ("norm", (8, 2)), ("out.weight", (32, 64)))
)


def vector(seed: int = 0) -> np.ndarray:
    """Layers of very different scales and tails."""
    blocks = [normal(2560, seed), 30 * normal(64, seed), normal(16, seed), 1e-3 * heavy(2048, seed)]
    return np.concatenate(blocks).astype(np.float32)


def test_small_blocks_vectors_and_named_ones_stay_exact() -> None:
    x, codec = vector(), LayerWise(MaxMin(4), small=1024).fit(LAYOUT)
    payload, _ = codec.encode(x)
    decoded = Payload.from_bytes(payload.to_bytes()).decode()
    for name, block in LAYOUT.split(decoded).items():
        exact = same_bits(block, LAYOUT.split(x)[name])
        assert exact == (name in ("in.bias", "norm"))
    named = LayerWise(MaxMin(4), raw=("out.*",)).fit(LAYOUT)
    kept = LAYOUT.split(named.encode(x)[0].decode())["out.weight"]
    assert same_bits(kept, LAYOUT.split(x)["out.weight"])


def test_raw_blocks_travel_as_one_part() -> None:
    codec = LayerWise(MaxMin(4)).fit(LAYOUT)
    payload, _ = codec.encode(vector())
    assert payload.buffers[0].tolist() == [[2560, 1], [64, 0], [16, 0], [2048, 2]]
    layers = [32 + 8 * 5 + 1280, 32 + 8 * 4 + 1024]
    assert payload.nbytes == codec.nbytes(LAYOUT.size)
    assert payload.nbytes == 32 + 8 * 4 + (8 + 32 + 4 * 80) + sum(8 + n for n in layers)


def test_layers_by_themselves_lose_less_than_one_vector() -> None:
    def loss(decoded: np.ndarray) -> float:
        pairs = zip(LAYOUT.split(decoded).values(), LAYOUT.split(vector()).values(), strict=True)
        return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)

    by_layer, _ = LayerWise(MaxMin(4, 1024)).fit(LAYOUT).encode(vector())
    whole, _ = MaxMin(4, 1024).encode(vector())
    assert loss(by_layer.decode()) < 0.4
    assert loss(whole.decode()) > 10


def test_a_layout_of_another_model_is_refused() -> None:
    for codec in (LayerWise(), PowerSgd(), Adaptive()):
        with pytest.raises(DataError, match=f"for {LAYOUT.size} numbers got 61"):
            codec.fit(LAYOUT).encode(normal(61))


def test_an_index_in_an_error_is_that_of_the_whole_vector() -> None:
    x = vector()
    x[3000] = np.nan
    for codec in (LayerWise(), PowerSgd(), Adaptive(), LayerWise(TopK())):
        with pytest.raises(DataError, match="at index 3000"):
            codec.fit(LAYOUT).encode(x)


def brute_force(errors: np.ndarray, nbytes: np.ndarray, default: int, alpha: float) -> int:
    layers = range(len(errors))
    budget = alpha * errors[:, default].sum()
    return min(
        sum(nbytes[i, c] for i, c in zip(layers, picks, strict=True))
        for picks in product(range(errors.shape[1]), repeat=len(errors))
        if sum(errors[i, c] for i, c in zip(layers, picks, strict=True)) <= budget * (1 + 1e-12)
    )


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    layers=st.integers(1, 4),
    choices=st.integers(1, 4),
    alpha=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_allocation_is_the_best_there_is(
    seed: int, layers: int, choices: int, alpha: float
) -> None:
    draw = np.random.default_rng(seed)
    # Multiples of the budget's step, so that rounding changes nothing.
    errors = draw.integers(1, 50, (layers, choices)).astype(float)
    default = int(draw.integers(choices))
    errors[:, default] = 50
    errors *= STEPS / (alpha * errors[:, default].sum())
    errors = np.rint(errors)
    errors[0, default] += STEPS / alpha - errors[:, default].sum()
    nbytes = draw.integers(1, 1000, (layers, choices))
    picks = allocate(errors, nbytes, default, alpha)
    got = int(nbytes[np.arange(layers), picks].sum())
    uniform = int(nbytes[:, default].sum())
    try:
        best = min(brute_force(errors, nbytes, default, alpha), uniform)
    except ValueError:
        best = uniform
    assert got == best


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), layers=st.integers(1, 30))
def test_allocation_is_never_larger_and_keeps_the_budget(seed: int, layers: int) -> None:
    draw = np.random.default_rng(seed)
    errors = draw.lognormal(size=(layers, 6))
    nbytes = draw.integers(1, 10**9, (layers, 6))
    picks = allocate(errors, nbytes, default=2)
    at = np.arange(layers)
    assert nbytes[at, picks].sum() <= nbytes[:, 2].sum()
    assert errors[at, picks].sum() <= errors[:, 2].sum() * (1 + layers / STEPS)


def test_without_error_nothing_is_chosen() -> None:
    assert allocate(np.zeros((3, 2)), np.ones((3, 2), int), 1).tolist() == [1, 1, 1]


def adapted(codec: Adaptive, rounds: int) -> tuple[list[int], object]:
    memory, sizes = None, []
    for t in range(rounds):
        payload, memory = codec.encode(vector(t), memory, key=t)
        sizes.append(payload.nbytes)
    return sizes, memory


def test_adapting_saves_bytes_within_the_error_budget() -> None:
    codec = Adaptive(MaxMin(4, 256), every=4, window=2).fit(LAYOUT)
    sizes, memory = adapted(codec, 9)
    assert len(set(sizes[:4])) == 1
    assert sizes[4] < 0.95 * sizes[3]
    # The layer whose error weighs nothing gets the fewest bits.
    assert memory.chosen[0] > memory.chosen[1] == 2  # type: ignore[attr-defined]
    x = vector(77)
    uniform = LayerWise(MaxMin(4, 256)).fit(LAYOUT).encode(x)[0].decode()
    own = codec.encode(x, memory)[0].decode()

    def summed(decoded: np.ndarray) -> float:
        pairs = zip(LAYOUT.split(decoded).values(), LAYOUT.split(x).values(), strict=True)
        return sum(float(np.linalg.norm(a - b)) for a, b in pairs)

    assert summed(own) <= 1.1 * summed(uniform)


@pytest.mark.parametrize(
    "codec",
    [
        Adaptive(TopK(0.1), "density", (0.01, 0.05, 0.2), every=2, window=1),
        Adaptive(PowerSgd(rank=2), "rank", (1, 4), every=2, window=1),
        ErrorFeedback(Adaptive(MaxMin(4), every=2, window=1)),
    ],
    ids=repr,
)
def test_any_parameter_and_feedback_around_it(codec: Adaptive | ErrorFeedback) -> None:
    codec, memory = codec.fit(LAYOUT), None
    for t in range(5):
        payload, memory = codec.encode(vector(t), memory, key=t)
        assert Payload.from_bytes(payload.to_bytes()).decode().shape == (LAYOUT.size,)


def test_bits_of_blocks_count_every_byte_of_the_parts() -> None:
    payload, _ = LayerWise(MaxMin(4)).fit(LAYOUT).encode(vector())
    lengths = payload.buffers[0][:, 0]
    assert (bits_of_blocks(payload) * lengths).sum() / 8 == payload.nbytes - 32 - 32


def test_a_run_fits_the_codec_to_its_model_and_reports_the_layers() -> None:
    model = make_model("mlp", n_features=6, n_classes=3, hidden=(32,))
    codec = ErrorFeedback(Adaptive(MaxMin(4, 64), small=64, every=3, window=2))
    settings = plan(model=model, codec=codec, attack=None, corrupted=(), rounds=8)
    result = train(settings, blobs(), LocalExecutor(), held_out=held_out())
    named = [dict(report.layers) for report in result.reports]
    assert set(named[0]) == {name for name, _ in model.layout.blocks}
    assert not named[1]
    assert all(f"layers/{name}" in result.reports[0].metrics() for name in named[0])
    assert result.reports[-1].accuracy > 0.8
