"""All steps of a softmax model in one call equal the oracle's, row by row."""

import numpy as np
import oracles
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from msl_kernels.softmax_sgd import softmax_sgd


def task(m, p, c, epochs=1):
    draw = np.random.default_rng(100 * m + 10 * p + c)
    X, y = draw.standard_normal((m, p), np.float32), draw.integers(0, max(c, 2), m)
    params = draw.standard_normal(c * (p + 1), np.float32) / np.float32(np.sqrt(p))
    return params, X, y, np.concatenate([draw.permutation(m) for _ in range(epochs)])


def check(params, X, y, order, **settings):
    found, loss = softmax_sgd(params, X, y, order, **settings)
    wanted, first_loss = oracles.softmax_sgd(
        params, X, y, order, **{"weight": None, "l2": None, "shown": 0, **settings}
    )
    assert found.dtype == np.float32
    assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert loss == pytest.approx(first_loss, rel=1e-5)
    return found


# One logit, and each way to cut classes into blocks; columns around a vector, and an odd pitch.
@pytest.mark.parametrize("c", [1, 3, 4, 5, 6, 7, 10])
@pytest.mark.parametrize("p", [1, 15, 16, 17, 33])
def test_equals_the_oracle(p, c):
    params, X, y, order = task(23, p, c)
    check(params, X, y, order, batch=5, steps=5, rate=0.3, shown=23)


@pytest.mark.parametrize("batch", [1, 2, 4, 6, 10, 11])
def test_batches_end_with_their_epoch(batch):
    params, X, y, order = task(11, 6, 3, epochs=3)
    for steps in (0, 1, 3 * -(-11 // batch)):
        check(params, X, y, order, batch=batch, steps=steps, rate=0.2)


@pytest.mark.parametrize("c", [1, 3])
def test_weights_and_penalties(c):
    params, X, y, order = task(20, 9, c, epochs=2)
    weight = np.random.default_rng(0).integers(1, 5, 20).astype(np.float32)
    l2 = np.linspace(0, 2, 9).astype(np.float32)
    settings = {"batch": 7, "steps": 6, "rate": 0.1, "shown": 13}
    plain = check(params, X, y, order, **settings)
    for more in ({"weight": weight}, {"l2": l2}, {"weight": weight, "l2": l2}):
        assert (check(params, X, y, order, **settings, **more) != plain).any()


def test_a_large_model():
    params, X, y, order = task(60, 784, 10)
    check(params, X, y, order, batch=10, steps=6, rate=0.03, shown=60)


def test_the_bits_do_not_depend_on_where_the_rows_lie():
    params, X, y, order = task(20, 21, 3)
    settings = {"batch": 6, "steps": 4, "rate": 0.1, "shown": 20}
    found, loss = softmax_sgd(params, X, y, order, **settings)
    for skip in range(1, 16):
        raw = np.empty(X.size + skip, np.float32)
        moved = raw[skip:].reshape(X.shape)
        moved[:] = X
        raw.flags.writeable = moved.flags.writeable = False
        again, again_loss = softmax_sgd(params, moved, y, order, **settings)
        assert_array_equal(found, again)
        assert loss == again_loss


def test_leaves_what_it_is_given():
    params, X, y, order = task(9, 5, 3)
    before = params.copy(), X.copy()
    found, loss = softmax_sgd(params, X, y, order, batch=4, steps=3, rate=0.1)
    assert_array_equal(params, before[0])
    assert_array_equal(X, before[1])
    assert not np.shares_memory(found, params)
    assert loss == 0.0
    assert params.flags.writeable
    assert X.flags.writeable


@pytest.mark.parametrize("rate", [1e30, 1e38, 1e300])
def test_what_diverges_is_not_finite(rate):
    params, X, y, order = task(20, 5, 3)
    l2 = np.full(5, 0.1, np.float32)
    with np.errstate(over="ignore"):
        found, _ = softmax_sgd(params, X, y, order, batch=4, steps=5, rate=rate, l2=l2)
    assert not np.isfinite(found).all()
