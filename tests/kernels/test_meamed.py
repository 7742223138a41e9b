"""The mean around the median keeps the nearest values, whichever way they are found."""

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import config, cuda
from numpy.testing import assert_array_equal

from msl_kernels.order import meamed, trimmed_mean
from msl_kernels.order.cuda_meamed import meamed as on_device
from msl_kernels.parallel import PARALLEL_FROM

# A few pairs only: a network is compiled for each. 2f may exceed n; 130 rows are sorted.
PAIRS = [(1, 0), (5, 2), (6, 2), (7, 6), (130, 40)]
pairs = st.sampled_from(PAIRS)
small = st.integers(-4, 4).map(float)
# Wide apart, so that unequal values round to equal distances.
wide = small | st.floats(-(2.0**100), 2.0**100, width=32)


def drawn(data, n, elements):
    return data.draw(arrays(np.float32, (n, 9), elements=elements))


def nearest(column, f):
    """By the definition: the n - f smallest |x - median|, ties to the smaller value."""
    centre = oracles.median(column[:, None])[0]
    by_distance = sorted(column, key=lambda x: (abs(x - centre), x))
    return oracles.middle(np.array(by_distance[: len(column) - f])[:, None], 0, len(column) - f)[0]


@given(st.data(), pairs)
@settings(deadline=None, max_examples=50)
def test_equal_the_oracle(data, pair):
    rows = drawn(data, pair[0], wide)
    assert_array_equal(meamed(rows, pair[1]), oracles.meamed(rows, pair[1]))


@given(st.data(), pairs)
@settings(deadline=None, max_examples=50)
def test_equal_the_definition_where_distances_are_exact(data, pair):
    rows = drawn(data, pair[0], small)
    assert_array_equal(meamed(rows, pair[1]), [nearest(column, pair[1]) for column in rows.T])


@pytest.mark.parametrize(
    ("column", "f", "expected"),
    [
        ([0, 0, 2, 4, 4], 2, 2 / 3),  # 0 and 4 are equally far: the smaller stays
        ([-2, -2, -2, 0, 0, 1], 2, -1.5),
        # Three windows reach as far, up to -2: the nearer values decide.
        ([-2, -2, -2, 0, 1, 1.75, 5], 3, 0.1875),
        ([0, 10, 11, 12, 12, 13], 2, 11.25),  # the median lies between two values
        ([0, 0, 0, 9, 9], 2, 0.0),
        ([5, 1, 3, 2, 9], 2, 2.0),
    ],
)
def test_by_hand(column, f, expected):
    rows = np.array(column, np.float32)[:, None]
    assert meamed(rows, f)[0] == expected
    assert nearest(rows[:, 0], f) == expected


def test_an_outlier_leaves_where_the_trimmed_mean_loses_an_honest_value_too():
    rows = np.array([[1.0], [2.0], [3.0], [4.0], [1e30]], np.float32)
    assert meamed(rows, 1) == [2.5]
    assert trimmed_mean(rows, 1) == [3.0]


@given(st.data(), pairs, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_neither_order_nor_scale_nor_place_matter(data, pair, random):
    n, f = pair
    rows = drawn(data, n, small)
    order = random.sample(range(n), n)
    once = meamed(rows, f)
    assert_array_equal(meamed(rows[order], f), once)
    assert_array_equal(meamed(rows * np.float32(0.25), f), once * np.float32(0.25))
    # A shift of the kept values, which are quarters at most, adds up without rounding.
    sums = meamed(rows + np.float32(64), f) - np.float32(64)
    np.testing.assert_allclose(sums, once, atol=2e-5)


@pytest.mark.parametrize("n", [20, 129])
def test_many_rows(n):
    for d in (1, 15, 16, 17, 70):
        rows = np.random.default_rng(d).standard_normal((n, d)).astype(np.float32)
        assert_array_equal(meamed(rows, n // 5), oracles.meamed(rows, n // 5))


@pytest.mark.parametrize("n", [5, 129])
def test_threads_and_out(n):
    rows = np.random.default_rng(0).standard_normal((n, PARALLEL_FROM // n + 3))
    rows = rows.astype(np.float32)
    out = np.empty(rows.shape[1], np.float32)
    assert meamed(rows, 2, out) is out
    pieces = [meamed(np.ascontiguousarray(part), 2) for part in np.array_split(rows, 7, axis=1)]
    assert_array_equal(out, np.concatenate(pieces))


@pytest.mark.parametrize(("n", "f"), [(4, 4), (4, -1), (0, 0)])
def test_wrong_numbers_are_refused(n, f):
    with pytest.raises(ValueError, match="needs 0 <= f < n"):
        meamed(np.zeros((n, 2), np.float32), f)


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match="float32 of shape"):
        meamed(np.zeros((3, 4)), 1)
    with pytest.raises(ValueError, match="C-contiguous"):
        meamed(np.zeros((4, 3), np.float32).T, 1)
    with pytest.raises(ValueError, match="out must be float32"):
        meamed(np.zeros((3, 4), np.float32), 1, np.zeros(3, np.float32))


def same(f, rows):
    # Arrays of the simulator do not say that they lie on a device: there, past the public door.
    found = on_device(cuda.to_device(rows), f, None).copy_to_host()
    assert_array_equal(found, meamed(rows, f))


@pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="numba's CUDA simulator is off")
@pytest.mark.parametrize(("n", "f"), [(6, 2), (7, 6)])
def test_cuda_on_the_simulator(n, f):
    random = np.random.default_rng(n)
    same(f, random.standard_normal((n, 20)).astype(np.float32))
    same(f, random.integers(-3, 3, (n, 20)).astype(np.float32))


@pytest.mark.gpu
@pytest.mark.skipif(
    config.ENABLE_CUDASIM or not cuda.is_available(), reason="needs a real CUDA device"
)
@pytest.mark.parametrize(("n", "f"), [(6, 2), (20, 4), (128, 70)])
def test_cuda_on_a_device(n, f):
    same(f, np.random.default_rng(n).standard_normal((n, 100_003)).astype(np.float32))
