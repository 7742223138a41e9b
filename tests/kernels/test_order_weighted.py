"""Weighted median and trimmed mean, against exact arithmetic."""

from fractions import Fraction

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import config, cuda
from numpy.testing import assert_allclose, assert_array_equal

from msl_kernels.order import (
    cuda_weighted,
    median,
    trimmed_mean,
    weighted_median,
    weighted_trimmed_mean,
)
from msl_kernels.order.units import units
from msl_kernels.parallel import PARALLEL_FROM

# A few n only: a network is compiled for each; 130 rows are sorted.
counts = st.sampled_from([1, 4, 6, 130])
small = st.integers(-4, 4).map(float)
any_float = small | st.floats(allow_nan=False, allow_infinity=False, width=32)
trims = st.sampled_from([Fraction(0), Fraction(1, 8), Fraction(1, 4), Fraction(3, 8)])


def drawn(data, n, elements):
    rows = data.draw(arrays(np.float32, (n, 5), elements=elements))
    weights = data.draw(arrays(np.float64, n, elements=st.integers(0, 5).map(float)))
    weights[data.draw(st.integers(0, n - 1))] += 1
    return rows, weights


@given(st.data(), counts)
@settings(deadline=None, max_examples=40)
def test_median_equals_exact_arithmetic(data, n):
    rows, weights = drawn(data, n, any_float)
    assert_array_equal(weighted_median(rows, weights), oracles.weighted_median(rows, weights))


@given(st.data(), counts, trims)
@settings(deadline=None, max_examples=40)
def test_trimmed_mean_equals_exact_arithmetic(data, n, trim):
    # Sums of small integers are exact; the total is a multiple of 8, and with it the cut.
    rows, weights = drawn(data, n, small)
    weights *= 8
    found = weighted_trimmed_mean(rows, weights, float(trim))
    assert_array_equal(found, oracles.weighted_trimmed_mean(rows, weights, trim))


@given(st.data(), st.sampled_from([1, 4, 6]), st.integers(1, 7))
@settings(deadline=None, max_examples=30)
def test_equal_weights_weigh_nothing(data, n, scale):
    numbers = st.floats(-(2.0**120), 2.0**120, width=32)
    rows = data.draw(arrays(np.float32, (n, 5), elements=numbers))
    weights = np.full(n, scale / 7)
    assert_array_equal(weighted_median(rows, weights), median(rows))
    for f in range((n + 1) // 2):
        found = weighted_trimmed_mean(rows, weights, f / n)
        tolerance = np.abs(rows).max() * np.float32(n * 2**-23)
        assert_allclose(found, trimmed_mean(rows, f), rtol=0, atol=tolerance)


@pytest.mark.parametrize("n", [6, 130])
def test_equal_weights_take_the_mean_of_the_middle_two(n):
    rows = np.random.default_rng(n).standard_normal((n, 40)).astype(np.float32)
    assert_array_equal(weighted_median(rows, np.ones(n)), median(rows))


@given(st.data(), st.sampled_from([4, 6]))
@settings(deadline=None, max_examples=30)
def test_an_integer_weight_repeats_a_row(data, n):
    rows, weights = drawn(data, n, any_float)
    repeated = np.repeat(rows, weights.astype(int), axis=0)
    with np.errstate(over="ignore"):
        expected = oracles.median(repeated)
    found = weighted_median(rows, weights)
    # Two middle values beyond float32's range together: the weighted one is still their mean.
    assert_array_equal(found[np.isfinite(expected)], expected[np.isfinite(expected)])


@given(st.data(), counts, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_what_changes_no_bit(data, n, random):
    # Nothing so small that a mean of it is rounded to fewer bits.
    numbers = small | st.just(-0.0) | st.floats(1, 9, width=32) | st.floats(-9, -1, width=32)
    rows = data.draw(arrays(np.float32, (n, 5), elements=numbers))
    weights = data.draw(arrays(np.float64, n, elements=st.floats(0.01, 1)))
    order = random.sample(range(n), n)
    for rule in (weighted_median, lambda r, w: weighted_trimmed_mean(r, w, 0.2)):
        once = rule(rows, weights)
        assert not np.signbit(once[once == 0]).any()
        assert_array_equal(rule(rows[order], weights[order]), once)
        assert_array_equal(rule(rows, weights * 2.0**-40), once)
        assert_array_equal(rule(rows * np.float32(4), weights), once * np.float32(4))


@pytest.mark.parametrize("n", [6, 200])
def test_a_row_without_weight_is_not_there(n):
    random = np.random.default_rng(0)
    rows = random.standard_normal((n, 40)).astype(np.float32)
    weights = random.integers(1, 4, n).astype(float)
    weights[::3] = 0
    heard = np.ascontiguousarray(rows[weights > 0])
    rows[::3] = random.choice([-1e38, 0.0, 1e38], rows[::3].shape)
    left = weights[weights > 0]
    assert_array_equal(weighted_median(rows, weights), weighted_median(heard, left))
    found = weighted_trimmed_mean(rows, weights, 0.3)
    assert_array_equal(found, weighted_trimmed_mean(heard, left, 0.3))


@pytest.mark.parametrize("n", [6, 129])
def test_uneven_weights(n):
    random = np.random.default_rng(n)
    weights = random.pareto(1.0, n)
    for d in (1, 7, 8, 9, 20):
        rows = random.standard_normal((n, d)).astype(np.float32)
        expected = oracles.weighted_median(rows, weights)
        assert_array_equal(weighted_median(rows, weights), expected)
        expected = oracles.weighted_trimmed_mean(rows, weights, Fraction(1, 5))
        assert_allclose(weighted_trimmed_mean(rows, weights, 0.2), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1, 1, 1, 1], 2.5),
        ([1, 2, 3, 0], 2.5),
        ([1, 2, 0, 3], 3.0),  # the next value that has weight
        ([2**28 - 1, 2**27, 2**27 - 1, 0], 1.5),
        ([2**28 - 1, 2**27, 2**27, 0], 2.0),
        ([1e300, 1e300, 1e300, 1e300], 2.5),
        ([5e-324, 5e-324, 5e-324, 5e-324], 2.5),
    ],
)
def test_ties_are_found(weights, expected):
    rows = np.array([[1], [2], [3], [4]], np.float32)
    assert weighted_median(rows, weights) == [expected]


def test_a_minority_by_weight_moves_nothing_far():
    rows = np.array([[1.0], [2.0], [2.0], [1e30], [1e30], [1e30]], np.float32)
    assert weighted_median(rows, [3, 3, 4, 3, 3, 3]) == [2.0]
    assert weighted_trimmed_mean(rows, [3, 3, 4, 3, 3, 3], 9 / 19) == [2.0]


def test_the_largest_trim_leaves_the_median():
    rows = np.array([[1.0], [2.0], [2.0], [7.0]], np.float32)
    assert weighted_trimmed_mean(rows, [1, 1, 1, 1], np.nextafter(0.5, 0)) == [2.0]


@pytest.mark.parametrize("n", [6, 129])
def test_threads_and_out(n):
    rows = np.random.default_rng(0).standard_normal((n, PARALLEL_FROM // n + 3))
    rows = rows.astype(np.float32)
    weights = np.arange(n) + 1.0
    for rule, trim in ((weighted_median, ()), (weighted_trimmed_mean, (0.2,))):
        out = np.empty(rows.shape[1], np.float32)
        assert rule(rows, weights, *trim, out=out) is out
        parts = [np.ascontiguousarray(part) for part in np.array_split(rows, 7, axis=1)]
        assert_array_equal(out, np.concatenate([rule(part, weights, *trim) for part in parts]))


@pytest.mark.parametrize(
    ("weights", "needed"),
    [
        ([1, 1], "3 rows need weights of shape"),
        ([[1, 1, 1]], "3 rows need weights of shape"),
        ([1, -1, 1], "finite, >= 0 and not all zero"),
        ([1, np.nan, 1], "finite, >= 0 and not all zero"),
        ([1, np.inf, 1], "finite, >= 0 and not all zero"),
        ([0, 0, 0], "finite, >= 0 and not all zero"),
    ],
)
def test_wrong_weights_are_refused(weights, needed):
    rows = np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match=needed):
        weighted_median(rows, weights)
    with pytest.raises(ValueError, match=needed):
        weighted_trimmed_mean(rows, weights, 0.1)


@pytest.mark.parametrize("trim", [-0.1, 0.5, np.nan])
def test_wrong_trim_is_refused(trim):
    with pytest.raises(ValueError, match=r"needs 0 <= trim < 0\.5"):
        weighted_trimmed_mean(np.zeros((3, 4), np.float32), [1, 1, 1], trim)


@pytest.mark.parametrize(
    "rule", [weighted_median, lambda r, w, out: weighted_trimmed_mean(r, w, 0.1, out)]
)
def test_wrong_arrays_are_refused(rule):
    good = np.zeros((3, 4), np.float32)
    for rows, out, needed in (
        (np.zeros((3, 4)), None, "float32 of shape"),
        (np.zeros((4, 3), np.float32).T, None, "C-contiguous"),
        (good, np.zeros(3, np.float32), "out must be float32"),
        (good, np.zeros(8, np.float32)[::2], "out must be C-contiguous"),
    ):
        with pytest.raises(ValueError, match=needed):
            rule(rows, [1, 1, 1], out)


def test_the_largest_weight_fills_its_bits():
    # Rounding carries it to 2^28, no further.
    assert_array_equal(units([np.nextafter(1, 0), 0.5], 2), [2**28, 2**27])


def same(rows, weights):
    # Arrays of the simulator do not say that they lie on a device: there, past the public door.
    whole, on_device = units(weights, len(rows)), cuda.to_device(rows)
    total = float(whole.sum())
    found = cuda_weighted.weighted_median(on_device, whole, total / 2, None)
    assert_array_equal(found.copy_to_host(), weighted_median(rows, weights))
    low = float(round(0.15 * total))
    found = cuda_weighted.weighted_trimmed_mean(on_device, whole, low, total - low, None)
    assert_array_equal(found.copy_to_host(), weighted_trimmed_mean(rows, weights, 0.15))


@pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="numba's CUDA simulator is off")
@pytest.mark.parametrize("n", [1, 6])
def test_cuda_on_the_simulator(n):
    random = np.random.default_rng(n)
    for rows in (random.standard_normal((n, 20)), random.integers(-2, 2, (n, 20)) * 0.1):
        for weights in (np.ones(n), random.random(n)):
            same(rows.astype(np.float32), weights)


@pytest.mark.gpu
@pytest.mark.skipif(
    config.ENABLE_CUDASIM or not cuda.is_available(), reason="needs a real CUDA device"
)
@pytest.mark.parametrize("n", [6, 20, 128])
def test_cuda_on_a_device(n):
    random = np.random.default_rng(n)
    for rows in (random.standard_normal((n, 10_003)), random.integers(-2, 2, (n, 10_003)) * 0.1):
        same(rows.astype(np.float32), random.random(n))
