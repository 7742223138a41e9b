"""Sums over pairs of rows stay within their bound, combinations equal the oracle to the bit."""

import numba
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import config, cuda
from numpy.testing import assert_allclose, assert_array_equal

from msl_kernels.pairs import combine, gram, squared_distances
from msl_kernels.pairs import cpu as pairs_cpu
from msl_kernels.pairs import cuda as pairs_cuda
from msl_kernels.parallel import PARALLEL_FROM

BOUND = 5e-6
simulated = pytest.mark.skipif(
    not config.ENABLE_CUDASIM, reason="numba's CUDA simulator is off: a device may be there"
)
# Squares of the first leave float32 at both ends, beside any float.
numbers = st.sampled_from([-3e38, -1e20, 1e-30, 1e-45, 0.0, 1.0, 3e38]) | st.floats(
    allow_nan=False, allow_infinity=False, width=32
)


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def check_distances(found, rows):
    assert_allclose(found, oracles.squared_distances(rows), rtol=BOUND, atol=0)
    assert_array_equal(found, found.T)


def check_gram(found, rows, centre=None):
    expected, magnitude = oracles.gram(rows, centre)
    assert (abs(found - expected) <= BOUND * magnitude).all()
    assert_array_equal(found, found.T)


@given(st.data(), st.integers(1, 10), st.integers(0, 40))
@settings(deadline=None, max_examples=80)
def test_any_numbers_stay_within_the_bound(data, n, d):
    rows = data.draw(arrays(np.float32, (n, d), elements=numbers))
    centre = data.draw(arrays(np.float32, d, elements=numbers))
    check_distances(squared_distances(rows), rows)
    check_gram(gram(rows), rows)
    check_gram(gram(rows, centre), rows, centre)


# Every rest of a division by 4, several tiles, and more rows than a band.
@pytest.mark.parametrize(
    ("n", "d"), [(1, 5), (2, 1023), (3, 1024), (4, 1025), (21, 5000), (130, 40), (263, 17)]
)
def test_many_rows_and_columns(n, d):
    rows = normal(n, d)
    check_distances(squared_distances(rows), rows)
    check_gram(gram(rows), rows)
    check_gram(gram(rows, rows[0]), rows, rows[0])


@pytest.mark.parametrize("n", [9, 60])
def test_rows_far_from_zero_keep_their_distances(n):
    rows = (10 + 0.001 * normal(n, 3000, dtype=np.float64)).astype(np.float32)
    found, expected = squared_distances(rows), oracles.squared_distances(rows)
    # The differences of such rows are exact.
    assert_allclose(found, expected, rtol=1e-6)
    nearest = [np.sort(square)[:, 1 : n // 2].sum(axis=1) for square in (found, expected)]
    assert nearest[0].argmin() == nearest[1].argmin()


def test_range_is_that_of_float64_in_some_coordinates_only():
    rows = normal(6, 2500)
    rows[1, 1500], rows[2] = 1e30, rows[2] * np.float32(1e-30)
    rows[3], rows[4, :1200] = rows[2], rows[5, :1200]
    rows[4, 1200:] = rows[5, 1200:] + np.float32(1e-25) * (rows[5, 1200:] == 0)
    check_distances(squared_distances(rows), rows)
    check_gram(gram(rows), rows)


# Squares of the first are all subnormal in float32, of the last few are.
@pytest.mark.parametrize("power", [-72, -68, -64, -60, -56])
def test_small_numbers_keep_their_digits(power):
    rows = normal(5, 1100) * np.float32(2.0**power)
    check_distances(squared_distances(rows), rows)
    check_gram(gram(rows), rows)


@given(st.integers(1, 14), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_order_of_rows_changes_no_bit(n, random):
    rows = normal(n, 1100)
    order = list(range(n))
    random.shuffle(order)
    at = np.ix_(order, order)
    assert_array_equal(squared_distances(rows[order]), squared_distances(rows)[at])
    assert_array_equal(gram(rows[order], rows[0]), gram(rows, rows[0])[at])


@given(st.integers(-40, 40))
@settings(deadline=None, max_examples=20)
def test_powers_of_two_scale_to_the_bit(power):
    rows, factor = normal(5, 1100), np.float32(2.0**power)
    assert_array_equal(squared_distances(rows * factor), squared_distances(rows) * 4.0**power)
    assert_array_equal(gram(rows * factor), gram(rows) * 4.0**power)


def test_copies_of_a_row_are_one_row():
    rows = normal(6, 1100)[[0, 1, 1, 3, 1, 5]]
    distances, inner = squared_distances(rows), gram(rows)
    assert_array_equal(distances[np.ix_([1, 2, 4], [1, 2, 4])], np.zeros((3, 3)))
    for copy in (2, 4):
        assert_array_equal(inner[copy], inner[1])
        assert_array_equal(inner[copy, [0, 3, 5]], inner[1, [0, 3, 5]])
    assert not np.signbit(distances).any()


def test_nan_stays_with_its_row():
    rows = normal(6, 1100)
    rows[4, 1050] = np.nan
    for found in (squared_distances(rows), gram(rows)):
        lost = np.zeros((6, 6), bool)
        lost[4], lost[:, 4] = True, True
        if not found[0, 0]:
            lost[4, 4] = False
        assert_array_equal(np.isnan(found), lost)


@given(st.data(), st.integers(1, 10), st.integers(0, 40), st.sampled_from([0, 1, 3, 8, 12, 19]))
@settings(deadline=None, max_examples=60)
def test_combinations_equal_the_oracle(data, n, d, k):
    small = st.floats(-1e6, 1e6, width=32)
    rows = data.draw(arrays(np.float32, (n, d), elements=small))
    shares = data.draw(arrays(np.float64, (k, n), elements=st.floats(-10, 10)))
    expected = oracles.combine(shares, rows)
    assert_array_equal(combine(shares, rows), expected)
    for one, row in zip(shares, expected, strict=True):
        assert_array_equal(combine(one, rows), row)


# What is left when a product is taken off that was rounded: nothing, were both rounded.
LEFT = np.array([[0.1, -0.1], [-0.7, 0.7]]), np.full((2, 19), 0.3, np.float32)


def test_products_are_fused_with_their_sums():
    found = combine(*LEFT)
    assert_array_equal(found, oracles.combine(*LEFT))
    assert found.all()
    assert_array_equal(combine(LEFT[0][1], LEFT[1]), found[1])


# Past a tile and past a span of columns; k past a group of outputs.
@pytest.mark.parametrize(("n", "d", "k"), [(7, 1030, 9), (5, 4099, 3), (60, 33, 60)])
def test_large_combinations(n, d, k):
    rows, shares = normal(n, d), normal(k, n, dtype=np.float64)
    found = combine(shares, rows)
    ulp = np.spacing(np.abs(found))
    assert (abs(found - shares @ rows.astype(np.float64)) <= ulp).all()
    assert_array_equal(combine(shares[1], rows), found[1])
    out = np.full((k, d), np.nan, np.float32)
    assert combine(shares, rows, out) is out
    assert_array_equal(out, found)
    assert combine(shares[2], rows, out[0]) is not None
    assert_array_equal(out[0], found[2])
    assert_array_equal(out[1:], found[1:])


def test_parallel_equals_serial():
    rows = normal(20, 3 * 4096 + 5)
    assert rows.size >= PARALLEL_FROM
    shares = normal(20, 20, dtype=np.float64)
    before, results = numba.get_num_threads(), []
    for threads in (1, before):
        numba.set_num_threads(threads)
        results.append(
            (
                squared_distances(rows),
                gram(rows, rows[3]),
                combine(shares, rows),
                combine(shares[0], rows),
            )
        )
    for serial, parallel in zip(*results, strict=True):
        assert_array_equal(parallel, serial)


def test_pieces_begin_where_they_may():
    """Two pieces of the chunks give the sums of one: whatever the machine's cores."""
    rows, whole = normal(6, 3 * 4096 + 5), []

    def in_pieces(run, count, _size):
        return [run(0, 1), run(1, count)]

    with pytest.MonkeyPatch.context() as patch:
        for spread in (lambda run, count, _size: [run(0, count)], in_pieces):
            patch.setattr(pairs_cpu, "spread", spread)
            whole.append((squared_distances(rows), combine(np.ones((9, 6)), rows)))
    for one, two in zip(*whole, strict=True):
        assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("rows", "needed"),
    [
        (np.zeros((3, 4)), "float32 of shape"),
        (np.zeros(3, np.float32), "float32 of shape"),
        (np.zeros((0, 3), np.float32), "n >= 1"),
        (np.zeros((4, 3), np.float32).T, "C-contiguous"),
    ],
)
def test_wrong_rows_are_refused(rows, needed):
    for call in (squared_distances, gram, lambda rows: combine(np.zeros(len(rows)), rows)):
        with pytest.raises(ValueError, match=needed):
            call(rows)


@pytest.mark.parametrize(
    "centre", [np.zeros(3, np.float32), np.zeros(4), np.zeros(8, np.float32)[::2]]
)
def test_wrong_centre_is_refused(centre):
    with pytest.raises(ValueError, match="centre must be"):
        gram(np.zeros((2, 4), np.float32), centre)


@pytest.mark.parametrize(
    "shares", [np.zeros(2), np.zeros(3, np.float32), np.zeros((3, 2)), np.zeros((3, 4)).T]
)
def test_wrong_shares_are_refused(shares):
    with pytest.raises(ValueError, match="shares must be"):
        combine(shares, np.zeros((3, 4), np.float32))


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
def test_wrong_out_is_refused_and_untouched(out, needed):
    with pytest.raises(ValueError, match=needed):
        combine(np.ones(3), np.ones((3, 64), np.float32), out)
    assert not out.any()


@simulated
@pytest.mark.parametrize(("n", "d"), [(1, 3), (3, 40), (18, 35)])
def test_pairs_on_the_simulator(n, d):
    rows = normal(n, d)
    on_device, centre = cuda.to_device(rows), cuda.to_device(rows[0])
    check_distances(pairs_cuda.squared_distances(on_device).copy_to_host(), rows)
    check_gram(pairs_cuda.gram(on_device, None).copy_to_host(), rows)
    check_gram(pairs_cuda.gram(on_device, centre).copy_to_host(), rows, rows[0])


@simulated
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_range_on_the_simulator():
    rows = normal(4, 35)
    rows[1, 3], rows[2], rows[3] = 1e30, rows[2] * np.float32(1e-30), rows[0]
    on_device = cuda.to_device(rows)
    check_distances(pairs_cuda.squared_distances(on_device).copy_to_host(), rows)
    check_gram(pairs_cuda.gram(on_device, None).copy_to_host(), rows)


@simulated
def test_chunks_on_the_simulator():
    rows = normal(3, 75)
    partial, out = cuda.to_device(np.zeros((3, 3, 3))), cuda.to_device(np.full((3, 3), np.nan))
    none = cuda.to_device(np.empty(0, np.float32))
    threads = pairs_cuda.THREADS
    pairs_cuda.pair_sums_kernel[2, threads](cuda.to_device(rows), none, True, 32, partial)
    pairs_cuda.add_chunks_kernel[1, threads](partial, out)
    check_distances(out.copy_to_host(), rows)
    for chunk, sums in enumerate(partial.copy_to_host()):
        part = oracles.squared_distances(rows[:, 32 * chunk : 32 * chunk + 32])
        assert_allclose(np.triu(sums), np.triu(part), rtol=BOUND)


@simulated
@pytest.mark.parametrize("k", [1, 6])
def test_combinations_on_the_simulator(k):
    rows, shares = normal(5, 70), normal(k, 5, dtype=np.float64)
    expected = combine(shares, rows)
    on_device = cuda.to_device(rows)
    out = cuda.to_device(np.full((k, 70), np.nan, np.float32))
    assert pairs_cuda.combine(shares, on_device, out) is out
    assert_array_equal(out.copy_to_host(), expected)
    found = pairs_cuda.combine(cuda.to_device(shares[0]), on_device, None)
    assert_array_equal(found.copy_to_host(), expected[0])
    left = pairs_cuda.combine(LEFT[0], cuda.to_device(LEFT[1]), None).copy_to_host()
    assert_array_equal(left, combine(*LEFT))


@simulated
def test_no_columns_on_the_simulator():
    rows = cuda.to_device(np.empty((3, 0), np.float32))
    assert_array_equal(pairs_cuda.squared_distances(rows).copy_to_host(), np.zeros((3, 3)))
    assert pairs_cuda.combine(np.ones(3), rows, None).shape == (0,)
