"""The quantiser equals its oracle to the bit, and keeps what theory promises."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from oracles import dequantize as slow_dequantize
from oracles import pack
from oracles import quantize as slow_quantize

from msl_kernels.parallel import PARALLEL_FROM
from msl_kernels.quantize import dequantize, n_buckets, packed_nbytes, quantize

B = 64
KEY = 0x0123456789ABCDEF
NOT_FINITE = {"nan": np.nan, "-nan": np.copysign(np.nan, -1), "inf": np.inf, "-inf": -np.inf}


def normal(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def decode_of(x, bits, bucket, key=None):
    meta, packed, bad = quantize(x, bits, bucket, key)
    assert bad == -1
    return meta, dequantize(meta, packed, len(x), bits, bucket)


@contextmanager
def threads(count):
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, B - 1, B, B + 1, 3 * B + 5])
@pytest.mark.parametrize("bits", range(1, 9))
def test_equals_the_oracle(bits, n, key):
    x = normal(n)
    # Buffers that were used before: every byte must be written.
    meta = np.full((n_buckets(n, B), 2), 7, np.float32)
    packed = np.full(packed_nbytes(n, bits), 255, np.uint8)
    assert quantize(x, bits, B, key, meta, packed)[2] == -1
    slow_meta, levels = slow_quantize(x, bits, B, key)
    assert_array_equal(meta, slow_meta)
    assert_array_equal(packed, pack(levels, bits))
    assert_array_equal(dequantize(meta, packed, n, bits, B), slow_dequantize(slow_meta, levels, B))


@pytest.mark.parametrize(
    ("bits", "bucket", "nbytes"),
    [(4, 1024, 532480), (4, 512, 540672), (8, 512, 1064960), (2, 1024, 270336)],
)
def test_bytes_of_a_million(bits, bucket, nbytes):
    meta, packed, _ = quantize(np.zeros(2**20, np.float32), bits, bucket)
    assert packed.nbytes == packed_nbytes(2**20, bits)
    assert meta.nbytes + packed.nbytes == nbytes


@pytest.mark.parametrize("n", [1, 9, B, 3 * B + 5])
@pytest.mark.parametrize("sign", [1, -1])
def test_range_of_one_sign(n, sign):
    x = sign * np.abs(normal(n))
    assert_array_equal(quantize(x, 4, B)[0], slow_quantize(x, 4, B)[0])


def test_minus_zero_is_below_zero():
    for zeros, sign in ([0.0, -0.0], True), ([-0.0, -0.0], True), ([0.0, 0.0], False):
        meta, _, _ = quantize(np.array(zeros, np.float32), 4, B)
        assert np.signbit(meta[0, 1]) == sign


vectors = arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32))


@given(vectors, st.integers(1, 8), st.sampled_from([None, 0, KEY]))
@settings(deadline=None)
def test_error_is_within_the_unit(x, bits, key):
    meta, back = decode_of(x, bits, B, key)
    unit = np.repeat(meta[:, 0], B)[: len(x)].astype(np.float64)
    # Below 1e-10 all levels are 0, and the error is the whole range.
    share = np.where(unit < 1e-10, 2**bits - 1, 0.5 if key is None else 1)
    bound = share * unit + 1e-6 * (unit * (2**bits - 1) + np.abs(x).max())
    assert np.all(np.abs(x.astype(np.float64) - back) <= bound)


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e30])
def test_constants_are_exact(value, key):
    x = np.full(3 * B + 5, value, np.float32)
    assert_array_equal(decode_of(x, 4, B, key)[1], x)


def test_stochastic_rounding_is_unbiased():
    x = normal(64)
    draws = np.array([decode_of(x, 3, B, key)[1] for key in range(2000)], np.float64)
    error = np.abs(draws.mean(axis=0) - x)
    assert np.median(draws.std(axis=0)) > 0.1
    assert np.all(error <= 5 * draws.std(axis=0) / np.sqrt(2000) + 1e-5)


@pytest.mark.parametrize(
    ("bits", "bucket", "key", "golden"),
    [
        (2, 128, None, 0.250),
        (4, 512, None, 0.0137),
        (8, 512, None, 4.80e-5),
        (4, 512, KEY, 0.0274),
        (3, 512, KEY, 0.126),
    ],
)
def test_error_on_normal_numbers(bits, bucket, key, golden):
    x = normal(2**18)
    error = np.sum((decode_of(x, bits, bucket, key)[1] - x) ** 2) / np.sum(x**2)
    assert error == pytest.approx(golden, rel=0.03)


def test_dequantize_writes_and_adds():
    x = normal(3 * B + 5)
    meta, packed, _ = quantize(x, 4, B)
    fresh = dequantize(meta, packed, len(x), 4, B)
    out = np.ones_like(x)
    assert dequantize(meta, packed, len(x), 4, B, out=out, add=True) is out
    assert_array_equal(out, np.float32(1) + fresh)
    dequantize(meta, packed, len(x), 4, B, out=out)
    assert_array_equal(out, fresh)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two numba threads")
@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_parallel_equals_serial(bits, key):
    x = normal(PARALLEL_FROM + 77)
    results = []
    for count in (1, 2):
        with threads(count):
            meta, packed, bad = quantize(x, bits, B, key)
            assert bad == -1
            results.append((meta, packed, dequantize(meta, packed, len(x), bits, B)))
    for serial, parallel in zip(*results, strict=True):
        assert_array_equal(parallel, serial)


@pytest.mark.parametrize("n", [5 * B + 3, PARALLEL_FROM + 77])
@pytest.mark.parametrize("value", NOT_FINITE.values(), ids=NOT_FINITE)
def test_first_bad_index(n, value):
    x = normal(n)
    x[[3 * B + 9, n - 1]] = value
    assert quantize(x, 4, B)[2] == 3 * B + 9


def test_range_beyond_float32_names_the_largest():
    x = normal(3 * B)
    x[[B + 3, B + 7]] = 3e38, -3.1e38
    assert quantize(x, 4, B)[2] == B + 7


def test_two_callers_at_once():
    x = normal(4 * PARALLEL_FROM)
    with threads(1):
        expected = quantize(x, 4, B, KEY)

    def call(_):
        meta, packed, bad = quantize(x, 4, B, KEY)
        assert bad == -1
        return meta, packed

    with ThreadPoolExecutor(2) as pool:
        for meta, packed in pool.map(call, range(20)):
            assert_array_equal(meta, expected[0])
            assert_array_equal(packed, expected[1])
