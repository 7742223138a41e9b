"""Selections and streams equal their oracles to the bit, on CPU and CUDA, whatever the threads."""

from contextlib import contextmanager

import numba
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import config, cuda
from numpy.testing import assert_array_equal

from msl_kernels import sparse
from msl_kernels.parallel import PARALLEL_FROM
from msl_kernels.philox import split
from msl_kernels.sparse import cuda as sparse_cuda
from msl_kernels.sparse import cuda_streams, select

B = 64
KEY = 0x0123456789ABCDEF
SIZES = [0, 1, 2, 7, 8, 9, B - 1, B, B + 1, 3 * B + 5]
LARGE = PARALLEL_FROM + 77
NOT_FINITE = {"nan": np.nan, "-nan": np.copysign(np.nan, -1), "inf": np.inf, "-inf": -np.inf}

simulated = pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="numba's CUDA simulator is off")
on_a_device = pytest.mark.skipif(
    config.ENABLE_CUDASIM or not cuda.is_available(), reason="needs a real CUDA device"
)


@contextmanager
def threads(count):
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    yield
    numba.set_num_threads(before)


def normal(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def tied(n, seed=0):
    """Few magnitudes, both signs, half of them zeros of both signs."""
    values = np.array([-2, -1, -0.0, 0.0, 0.0, -0.0, 1, 2], np.float32)
    return np.random.default_rng(seed).choice(values, n)


def same_stream(stream, indices, values):
    assert stream[0].dtype == np.uint32
    assert stream[1].dtype == np.float32
    assert_array_equal(stream[0], indices)
    # As bits, since -0.0 is not +0.0.
    assert_array_equal(stream[1].view(np.int32), values.view(np.int32))


def same_selection(found, x, indices):
    same_stream(found[:2], indices, x[indices])
    assert found[2] == -1


def a_stream(n, k, seed):
    indices = np.sort(np.random.default_rng(seed).choice(n, k, replace=False)).astype(np.uint32)
    return indices, normal(k, seed)


@pytest.mark.parametrize("make", [normal, tied])
@pytest.mark.parametrize("n", [*SIZES, LARGE])
def test_top_equals_the_oracle(n, make):
    x = make(n)
    for k in {0, min(1, n), n // 100, n // 3, n}:
        used = np.full(k, 7, np.uint32), np.full(k, 7, np.float32)
        same_selection(sparse.top(x, k, *used), x, oracles.top(x, k))
        assert_array_equal(used[0], oracles.top(x, k))


@given(arrays(np.float32, st.integers(1, 150), elements=st.integers(-3, 3)), st.data())
@settings(deadline=None)
def test_top_of_many_ties(x, data):
    k = data.draw(st.integers(0, len(x)))
    same_selection(sparse.top(x, k), x, oracles.top(x, k))
    same_selection(sparse.top_in_buckets(x, k, 37), x, oracles.top_in_buckets(x, k, 37))


@pytest.mark.parametrize("make", [normal, tied])
@pytest.mark.parametrize(
    "misled", [(np.int32(0x7F000000), 50), (np.int32(1), 1200)], ids=["too high", "too low"]
)
def test_a_sample_that_misleads_changes_nothing(monkeypatch, misled, make):
    x = make(LARGE)
    calls = []
    monkeypatch.setattr(select, "_lower_bound", lambda *_: calls.append(1) or misled)
    for count in (1, 2):
        with threads(min(count, numba.config.NUMBA_NUM_THREADS)):
            same_selection(sparse.top(x, 1000), x, oracles.top(x, 1000))
    assert len(calls) == 2


def test_the_sample_keeps_candidates_few():
    x = normal(1_000_000)
    for k in (10, 1000, 100_000):
        bound, room = select._lower_bound(x.view(np.int32), k)
        reached = np.count_nonzero(np.abs(x) >= bound.view(np.float32))
        assert k <= reached <= room
        assert reached <= 2 * k + 1000


def test_nearly_empty_vectors():
    x = np.zeros(LARGE, np.float32)
    x[[5, 100_000]] = 1e-45, -3
    for k in (1, 2, 700):
        same_selection(sparse.top(x, k), x, oracles.top(x, k))


@pytest.mark.parametrize("n", SIZES)
def test_buckets_equal_the_oracle(n):
    for make in (normal, tied):
        x = make(n)
        for k, bucket in ((0, B), (1, B), (5, B), (B, B), (70, 37), (30, 37)):
            kept = sparse.n_kept(n, k, bucket)
            used = np.full(kept, 7, np.uint32), np.full(kept, 7, np.float32)
            found = sparse.top_in_buckets(x, k, bucket, *used)
            same_selection(found, x, oracles.top_in_buckets(x, k, bucket))


@pytest.mark.parametrize("n", [*SIZES, LARGE])
def test_above_keeps_the_first(n):
    x = tied(n)
    for threshold in (0.0, 1.0, 1.5, np.inf):
        (reached,) = np.nonzero(np.abs(x) >= threshold)
        for capacity in (0, 3, n):
            same_selection(sparse.above(x, threshold, capacity), x, reached[:capacity])


@pytest.mark.parametrize("value", NOT_FINITE.values(), ids=NOT_FINITE)
@pytest.mark.parametrize("n", [5 * B + 3, LARGE])
def test_first_bad_index(n, value):
    x = normal(n)
    x[[3 * B + 9, n - 1]] = value
    for k in (0, 1, n // 2, n):
        assert sparse.top(x, k)[2] == 3 * B + 9
        assert sparse.top_in_buckets(x, k, B)[2] == 3 * B + 9
    for threshold in (0, np.inf, np.nan):
        assert sparse.above(x, threshold, 2)[2] == 3 * B + 9
    x[:] = value
    assert sparse.top(x, 1)[2] == 0


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two numba threads")
def test_parallel_equals_serial():
    # The second half holds all the large ones: pieces are not alike.
    x = normal(LARGE) * np.where(np.arange(LARGE) < LARGE // 2, 1e-3, 1).astype(np.float32)
    results = []
    for count in (1, 2):
        with threads(count):
            stream = sparse.top(x, 1500)[:2]
            out = np.full(LARGE, 7, np.float32)
            results.append(
                (
                    *stream,
                    *sparse.top_in_buckets(x, 3, 500)[:2],
                    *sparse.above(x, 1.0, 10_000)[:2],
                    sparse.scatter(*stream, LARGE, out).copy(),
                    sparse.scatter_add(*sparse.top(x, LARGE)[:2], out),
                )
            )
    for serial, parallel in zip(*results, strict=True):
        assert_array_equal(parallel, serial)


@pytest.mark.parametrize("count", [1, 2, 501])
def test_draws_equal_the_oracle(count):
    x = normal(1000)
    magnitudes = np.sort(np.abs(x[oracles.draws(1000, count, KEY)]))
    for k in (1, 500, 1000):
        rank = max(1, int(np.floor(k * count / 1000 + 0.5)))
        assert sparse.sampled_threshold(x, k, KEY, count) == magnitudes[-rank]
    assert sparse.sampled_threshold(x, 0, KEY, count) == np.inf


def test_sampled_threshold_lets_about_k_pass():
    x, k, sample = normal(100_000), 1000, 10_000
    shares = [
        len(sparse.above(x, sparse.sampled_threshold(x, k, key, sample), len(x))[0]) / k
        for key in range(100)
    ]
    deviation = np.sqrt(0.99 / 100)
    assert np.mean(shares) == pytest.approx(100 / 10_001 * 100, abs=5 * deviation / 10)
    assert np.std(shares) == pytest.approx(deviation, rel=0.35)


def test_top_percent_of_normal_numbers_loses_most_energy():
    x = normal(2**18)
    _, values, _ = sparse.top(x, len(x) // 100)
    assert 1 - np.sum(values**2) / np.sum(x**2) == pytest.approx(0.915, rel=0.01)


@pytest.mark.parametrize("n", SIZES)
def test_scatter_undoes_a_selection(n):
    x = normal(n)
    indices, values, _ = sparse.top(x, n // 2)
    expected = np.zeros(n, np.float32)
    expected[indices] = x[indices]
    assert_array_equal(sparse.scatter(indices, values, n), expected)
    out = np.full(n, 7, np.float32)
    assert sparse.scatter(indices, values, n, out) is out
    assert_array_equal(out, expected)
    assert sparse.scatter_add(indices, values, out) is out
    assert_array_equal(out, expected + expected)


streams = st.dictionaries(st.integers(0, 60), st.floats(-1e6, 1e6, width=32)).map(
    lambda d: (np.array(sorted(d), np.uint32), np.array([d[i] for i in sorted(d)], np.float32))
)


@given(streams, streams)
@settings(deadline=None)
def test_merge_equals_the_oracle_and_the_dense_sum(a, b):
    found = sparse.merge(*a, *b)
    same_stream(found, *oracles.merge_streams(*a, *b))
    assert sparse.check_indices(found[0], 61)
    assert_array_equal(sparse.scatter(*found, 61), sparse.scatter(*a, 61) + sparse.scatter(*b, 61))


@pytest.mark.parametrize(
    ("indices", "n", "valid"),
    [
        ([], 0, True),
        ([0], 1, True),
        ([1], 1, False),
        ([0, 2, 5], 6, True),
        ([0, 2, 6], 6, False),
        ([0, 2, 2], 6, False),
        ([5, 2, 3], 6, False),
        ([0, 2**32 - 1], 2**32, True),
        ([2**32 - 1, 3], 2**32, False),
    ],
)
def test_check_indices(indices, n, valid):
    array = np.array(indices, np.uint32)
    assert sparse.check_indices(array, n) is valid
    assert cuda_streams.check_indices(cuda.to_device(array), n) is valid


def test_one_fault_among_many_indices_is_found():
    for at in (1, 17, 64, 999):
        indices = np.arange(0, 2000, 2, dtype=np.uint32)
        assert sparse.check_indices(indices, 1999)
        indices[at] = indices[at - 1]
        assert not sparse.check_indices(indices, 1999)


def test_read_only_streams():
    a, b = a_stream(900, 300, 1), a_stream(900, 270, 2)
    wire = [np.frombuffer(part.tobytes(), part.dtype) for part in (*a, *b)]
    assert sparse.check_indices(wire[0], 900)
    same_stream(sparse.merge(*wire), *sparse.merge(*a, *b))
    out = sparse.scatter_add(*wire[2:], sparse.scatter(*wire[:2], 900))
    assert_array_equal(out, sparse.scatter_add(*b, sparse.scatter(*a, 900)))


def on_host(found):
    return [part.copy_to_host() if hasattr(part, "copy_to_host") else part for part in found]


def same_selections(x, k, bucket):
    there = cuda.to_device(x)
    n = len(x)
    used = cuda.to_device(np.full(k, 7, np.uint32)), cuda.to_device(np.full(k, 7, np.float32))
    same_selection(on_host(sparse_cuda.top(there, k, *used)), x, sparse.top(x, k)[0])
    found = sparse_cuda.top_in_buckets(there, 3, bucket, None, None)
    same_selection(on_host(found), x, sparse.top_in_buckets(x, 3, bucket)[0])
    for capacity in {4, n}:
        found = on_host(sparse_cuda.above(there, 1.0, capacity))
        same_selection(found, x, sparse.above(x, 1.0, capacity)[0])
    if n:
        keys = np.empty(9, np.int32)
        select.draw_keys(x.view(np.int32), *split(KEY), keys)
        assert_array_equal(sparse_cuda.draw_keys(there, 9, KEY), keys)


def same_streams(n, ka, kb):
    a, b = a_stream(n, ka, 1), a_stream(n, kb, 2)
    there = [cuda.to_device(part) for part in (*a, *b)]
    same_stream(on_host(cuda_streams.merge(*there)), *sparse.merge(*a, *b))
    out = cuda.to_device(np.full(n, 7, np.float32))
    cuda_streams.scatter(*there[:2], n, out)
    assert_array_equal(out.copy_to_host(), sparse.scatter(*a, n))
    cuda_streams.scatter_add(*there[2:], out)
    assert_array_equal(out.copy_to_host(), sparse.scatter_add(*b, sparse.scatter(*a, n)))


def same_first_bad(n):
    x = normal(n)
    x[[70, 77]] = np.nan, -np.inf
    there = cuda.to_device(x)
    for k in (0, 5):
        assert sparse_cuda.top(there, k, None, None)[2] == 70
    assert sparse_cuda.top_in_buckets(there, 2, 50, None, None)[2] == 70
    assert sparse_cuda.above(there, 1.0, 3)[2] == 70


@simulated
@pytest.mark.parametrize(("n", "k", "make"), [(1, 1, normal), (9, 4, tied), (200, 60, tied)])
def test_selections_on_the_simulator(n, k, make):
    same_selections(make(n), k, 90)


@simulated
def test_the_bound_on_the_simulator():
    # Its three digits matter: neighbours in every one of them.
    bits = np.array([0x3F800000 + step * j for step in (1, 1 << 10, 1 << 20) for j in range(20)])
    x = np.random.default_rng(0).permutation(bits).astype(np.int32).view(np.float32)
    for k in (25, 41, 59):
        found = sparse_cuda.top(cuda.to_device(x), k, None, None)
        same_selection(on_host(found), x, oracles.top(x, k))


@simulated
@pytest.mark.parametrize(("n", "ka", "kb"), [(1, 0, 1), (9, 4, 0), (9, 9, 9), (300, 150, 120)])
def test_streams_on_the_simulator(n, ka, kb):
    same_streams(n, ka, kb)


@simulated
def test_first_bad_on_the_simulator():
    same_first_bad(80)


@pytest.mark.gpu
@on_a_device
def test_on_a_device():
    for make in (normal, tied):
        same_selections(make(1_000_003), 10_007, 512)
    same_streams(1_000_003, 50_000, 70_001)
    same_first_bad(1_000_003)
