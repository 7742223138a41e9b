"""Rounding to powers of two equals its oracle to the bit, and errs as theory says."""

from contextlib import contextmanager

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from oracles import from_nonuniform as slow_from_nonuniform
from oracles import natural as slow_natural
from oracles import nonuniform as slow_nonuniform
from oracles import pack
from oracles import unnatural as slow_unnatural

from msl_kernels.natural import BLOCK, natural, unnatural
from msl_kernels.nonuniform import from_nonuniform, nonuniform, nonuniform_bits
from msl_kernels.parallel import PARALLEL_FROM
from msl_kernels.quantize import n_buckets, packed_nbytes

B = 64
KEY = 0x0123456789ABCDEF
SMALLEST = 2.0**-149
NOT_FINITE = {"nan": np.nan, "-nan": np.copysign(np.nan, -1), "inf": np.inf, "-inf": -np.inf}


def normal(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def of_all_sizes(n, seed=0):
    """Any bits but those of NaN and Inf: denormal numbers and the top binade among them."""
    raw = np.random.default_rng(seed).integers(0, 2**32, n, np.uint32)
    x = raw.view(np.float32)
    x[~np.isfinite(x)] = -0.0
    x[::5] *= np.float32(2.0**-100)
    return x


def naturally(x, key):
    exponents, signs, bad = natural(x, key)
    assert bad == -1
    return unnatural(exponents, signs, len(x))


def nonuniformly(x, levels, bucket, key):
    norms, packed, bad = nonuniform(x, levels, bucket, key)
    assert bad == -1
    return from_nonuniform(norms, packed, len(x), levels, bucket)


def nmse(y, x):
    return np.sum((y.astype(np.float64) - x) ** 2) / np.sum(x.astype(np.float64) ** 2)


@contextmanager
def threads(count):
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_natural_equals_the_oracle(n):
    x = of_all_sizes(n)
    exponents, signs = np.full(n, 255, np.uint8), np.full(packed_nbytes(n, 1), 255, np.uint8)
    assert natural(x, KEY, exponents, signs)[2] == -1
    slow_exponents, slow_signs = slow_natural(x, KEY)
    assert_array_equal(exponents, slow_exponents)
    assert_array_equal(signs, pack(slow_signs, 1))
    decoded = unnatural(exponents, signs, n)
    assert_array_equal(decoded, slow_unnatural(slow_exponents, slow_signs))
    assert_array_equal(np.signbit(decoded), slow_signs)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, B - 1, B, B + 1, 3 * B + 5])
@pytest.mark.parametrize("levels", [1, 2, 3, 6, 7, 14, 30])
def test_nonuniform_equals_the_oracle(levels, n):
    bits = nonuniform_bits(levels)
    for x in (normal(n), of_all_sizes(n) * np.float32(2.0**-10), np.zeros(n, np.float32)):
        norms = np.full(n_buckets(n, B), 7, np.float32)
        packed = np.full(packed_nbytes(n, bits), 255, np.uint8)
        assert nonuniform(x, levels, B, KEY, norms, packed)[2] == -1
        slow_norms, slow_levels, signs = slow_nonuniform(x, levels, B, KEY)
        assert_array_equal(norms, slow_norms)
        assert_array_equal(packed, pack(slow_levels | signs.astype(np.uint8) << (bits - 1), bits))
        decoded = from_nonuniform(norms, packed, n, levels, B)
        expected = slow_from_nonuniform(slow_norms, slow_levels, signs, levels, B)
        assert_array_equal(decoded, expected)


@pytest.mark.parametrize("bits", range(3, 7))
def test_a_width_holds_zero_and_its_powers(bits):
    s = 2 ** (bits - 1) - 2
    assert nonuniform_bits(s) == bits
    # One more power does not fit.
    assert nonuniform_bits(s + 1) == bits + 1
    # A lone number is its own norm: the highest level.
    x = np.zeros(B, np.float32)
    x[5] = -3.5
    assert_array_equal(nonuniformly(x, s, B, KEY), x)


@given(
    arrays(
        np.float32,
        st.integers(1, 200),
        elements=st.floats(width=32, allow_nan=False).filter(lambda v: abs(v) < 2.0**127),
    ),
    st.integers(0, 2**64 - 1),
)
@settings(deadline=None)
def test_natural_takes_a_neighbouring_power(x, key):
    y = naturally(x, key).astype(np.float64)
    size = np.abs(x).astype(np.float64)
    lower = np.where(size >= 2.0**-126, 2.0 ** (np.frexp(size)[1] - 1.0), 0)
    upper = np.where(size >= 2.0**-126, 2 * lower, 2.0**-126)
    exact = size == lower
    assert np.all((np.abs(y) == lower) | ((np.abs(y) == upper) & ~exact))
    assert_array_equal(np.signbit(y), np.signbit(x))


def test_natural_stays_finite_in_the_top_binade():
    x = np.full(64, np.finfo(np.float32).max)
    assert_array_equal(naturally(x, KEY), np.full(64, np.float32(2.0**127)))


def test_natural_is_unbiased():
    # The last ones are denormal numbers: 0 or 2^-126.
    x = np.append(normal(48), np.float32(2.0**-126) * np.linspace(0, 1, 16, dtype=np.float32))
    draws = np.array([naturally(x, key) for key in range(2000)]).astype(np.float64)
    error = np.abs(draws.mean(axis=0) - x)
    assert np.all(error <= 5 * draws.std(axis=0) / np.sqrt(2000) + 2.0**-16 * np.abs(x))
    assert np.median(draws.std(axis=0) / np.abs(x).clip(SMALLEST)) > 0.1


def test_nonuniform_is_unbiased():
    x = normal(64)
    draws = np.array([nonuniformly(x, 3, 64, key) for key in range(2000)], np.float64)
    error = np.abs(draws.mean(axis=0) - x)
    assert np.median(draws.std(axis=0)) > 0.1
    assert np.all(error <= 5 * draws.std(axis=0) / np.sqrt(2000) + 1e-4)


def test_error_of_natural():
    x = normal(2**18)
    assert nmse(naturally(x, KEY), x) == pytest.approx(0.0815, rel=0.03)
    worst = np.full(2**18, 1 + 1 / 3, np.float32)
    assert nmse(naturally(worst, KEY), worst) == pytest.approx(1 / 8, rel=0.03)


@pytest.mark.parametrize(
    ("d", "s", "golden"),
    [(512, 3, 1.27), (1024, 3, 2.20), (8192, 7, 0.121), (1024, 7, 0.0842), (64, 2, 0.662)],
)
def test_error_of_nonuniform(d, s, golden):
    x = normal(2**20)
    error = nmse(nonuniformly(x, s, d, KEY), x)
    assert error == pytest.approx(golden, rel=0.03)
    assert error < (1 / 8 + 2.0 ** (-2 * s - 2) * d if d < 2 ** (2 * s + 1) else d**0.5 / 2**s)


@given(
    arrays(np.float32, st.just(64), elements=st.floats(-1e6, 1e6, width=32)),
    st.integers(1, 14),
)
@settings(deadline=None, max_examples=50)
def test_variance_of_nonuniform_is_bounded(x, s):
    bound = 1 / 8 + 2.0 ** (-2 * s - 2) * 64
    if 2 ** (2 * s + 1) <= 64:
        bound = 8 / 2**s - 7 / 8
    total = np.sum(x.astype(np.float64) ** 2)
    # 64 keys at once, as equal buckets: the groups draw anew.
    many = np.tile(x, 64)
    errors = np.sum(
        (nonuniformly(many, s, 64, KEY).astype(np.float64) - many).reshape(64, 64) ** 2, 1
    )
    assert errors.mean() <= bound * total + 5 * errors.std() / 8 + 1e-6 * total + 1e-60


def test_decoding_writes_and_adds():
    x = normal(3 * BLOCK + 5)
    decoders = []
    exponents, signs, _ = natural(x, KEY)
    decoders.append(lambda **how: unnatural(exponents, signs, len(x), **how))
    norms, packed, _ = nonuniform(x, 6, B, KEY)
    decoders.append(lambda **how: from_nonuniform(norms, packed, len(x), 6, B, **how))
    for decode in decoders:
        fresh = decode()
        out = np.ones_like(x)
        assert decode(out=out, add=True) is out
        assert_array_equal(out, np.float32(1) + fresh)
        decode(out=out)
        assert_array_equal(out, fresh)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two numba threads")
def test_parallel_equals_serial():
    x = normal(PARALLEL_FROM + 77)
    results = []
    for count in (1, 2):
        with threads(count):
            first, second = natural(x, KEY), nonuniform(x, 6, B, KEY)
            decoded = naturally(x, KEY), nonuniformly(x, 6, B, KEY)
            results.append((*first, *second, *decoded))
    for serial, parallel in zip(*results, strict=True):
        assert_array_equal(parallel, serial)


@pytest.mark.parametrize("n", [BLOCK + 5 * B + 3, PARALLEL_FROM + 77])
@pytest.mark.parametrize("value", NOT_FINITE.values(), ids=NOT_FINITE)
def test_first_bad_index(n, value):
    x = normal(n)
    x[[BLOCK + 3 * B + 9, n - 1]] = value
    assert natural(x, KEY)[2] == BLOCK + 3 * B + 9
    assert nonuniform(x, 6, B, KEY)[2] == BLOCK + 3 * B + 9


def test_norm_beyond_float32_names_the_largest():
    x = normal(3 * B)
    x[[B + 3, B + 7]] = 3e38, -3.1e38
    assert nonuniform(x, 6, B, KEY)[2] == B + 7
