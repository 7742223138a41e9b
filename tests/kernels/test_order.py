"""Median and trimmed mean equal NumPy's sort to the bit."""

import numba
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from msl_kernels.order import median, trimmed_mean
from msl_kernels.parallel import PARALLEL_FROM

# A few values that repeat, so that ties and infinities meet, beside any float.
numbers = st.sampled_from([-np.inf, -1.0, 0.0, 1.0, 3e38, np.inf]) | st.floats(
    allow_nan=False, width=32
)


# A few pairs only: a network is compiled for each. test_network.py proves those of 1..12 rows.
PAIRS = [(1, 0), (2, 0), (5, 1), (8, 2), (12, 3)]


@given(st.data(), st.sampled_from(PAIRS), st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_equal_the_oracles(data, pair, d):
    n, f = pair
    rows = data.draw(arrays(np.float32, (n, d), elements=numbers))
    assert_array_equal(median(rows), oracles.median(rows))
    assert_array_equal(trimmed_mean(rows, f), oracles.trimmed_mean(rows, f))


# 129 rows are past the largest network.
@pytest.mark.parametrize("n", [20, 50, 129])
def test_many_rows(n):
    for d in (1, 15, 16, 17, 1000):
        rows = np.random.default_rng(d).standard_normal((n, d)).astype(np.float32)
        assert_array_equal(median(rows), oracles.median(rows))
        assert_array_equal(trimmed_mean(rows, n // 5), oracles.trimmed_mean(rows, n // 5))


@pytest.mark.parametrize("n", [5, 129])
def test_parallel_equals_serial(n):
    rows = np.random.default_rng(0).standard_normal((n, PARALLEL_FROM // n + 3))
    rows = rows.astype(np.float32)
    before, results = numba.get_num_threads(), []
    for threads in (1, before):
        numba.set_num_threads(threads)
        results.append(trimmed_mean(rows, 1))
    assert_array_equal(results[1], results[0])
    assert_array_equal(results[0], oracles.trimmed_mean(rows, 1))


@pytest.mark.parametrize("n", [3, 129])
def test_writes_into_out(n):
    rows = np.random.default_rng(0).standard_normal((n, 20)).astype(np.float32)
    out = np.empty(20, np.float32)
    assert median(rows, out) is out
    assert_array_equal(out, oracles.median(rows))
    assert trimmed_mean(rows, 1, out) is out
    assert_array_equal(out, oracles.trimmed_mean(rows, 1))


@pytest.mark.parametrize(
    ("rows", "needed"),
    [
        (np.zeros((3, 4)), "float32 of shape"),
        (np.zeros(3, np.float32), "float32 of shape"),
        (np.zeros((4, 3), np.float32).T, "C-contiguous"),
    ],
)
def test_wrong_rows_are_refused(rows, needed):
    with pytest.raises(ValueError, match=needed):
        median(rows)
    with pytest.raises(ValueError, match=needed):
        trimmed_mean(rows, 1)


@pytest.mark.parametrize(("n", "f"), [(4, 2), (5, 3), (5, -1), (0, 0)])
def test_wrong_trimming_is_refused(n, f):
    with pytest.raises(ValueError, match="needs 0 <= 2 f < n"):
        trimmed_mean(np.zeros((n, 2), np.float32), f)


@pytest.mark.parametrize("n", [3, 129])
@pytest.mark.parametrize(
    ("out", "needed"),
    [
        (np.zeros(16, np.float32), "float32 of shape"),
        (np.zeros(64), "float32 of shape"),
        (np.zeros(128, np.float32)[::2], "C-contiguous"),
        (np.frombuffer(bytes(256), np.float32), "writeable"),
    ],
    ids=["short", "float64", "strided", "readonly"],
)
def test_wrong_out_is_refused_and_untouched(out, needed, n):
    with pytest.raises(ValueError, match=needed):
        median(np.ones((n, 64), np.float32), out)
    assert not out.any()
