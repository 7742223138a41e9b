"""QSGD equals its oracle to the bit, and keeps what theory promises; on CUDA the same bits."""

from contextlib import contextmanager

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import config, cuda
from numpy.testing import assert_array_equal
from oracles import pack, qsgd, qsgd_decode

from msl_kernels.parallel import PARALLEL_FROM
from msl_kernels.qsgd import cuda as qsgd_cuda
from msl_kernels.qsgd import dequantize, levels, quantize
from msl_kernels.quantize import n_buckets, packed_nbytes

B = 64
KEY = 0x0123456789ABCDEF
NORMS = ["linf", "l2"]
NOT_FINITE = {"nan": np.nan, "-nan": np.copysign(np.nan, -1), "inf": np.inf, "-inf": -np.inf}

simulated = pytest.mark.skipif(
    not config.ENABLE_CUDASIM, reason="numba's CUDA simulator is off: a device may be there"
)


def normal(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def steps(bits):
    return 2 ** (bits - 1) - 1


def fields_of(x, signed, bits):
    """Sign bit of the number on top of the magnitude of its level."""
    return np.abs(signed) + np.signbit(x) * 2 ** (bits - 1)


def decode_of(x, bits, bucket, norm, key=0):
    norms, packed, bad = quantize(x, bits, bucket, norm, key)
    assert bad == -1
    return dequantize(norms, packed, len(x), bits, bucket)


@contextmanager
def threads(count):
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bucket", [8, B, 200])
@pytest.mark.parametrize("bits", range(2, 9))
def test_equals_the_oracle(bits, bucket, norm):
    for n in [0, 1, 2, 7, 8, 9, bucket - 1, bucket, bucket + 1, 3 * bucket + 5]:
        x = normal(n)
        # Buffers that were used before: every byte must be written.
        norms = np.full(n_buckets(n, bucket), 7, np.float32)
        packed = np.full(packed_nbytes(n, bits), 255, np.uint8)
        assert quantize(x, bits, bucket, norm, KEY, norms, packed)[2] == -1
        slow_norms, signed = qsgd(x, steps(bits), bucket, norm, KEY)
        assert_array_equal(norms, slow_norms)
        assert_array_equal(packed, pack(fields_of(x, signed, bits), bits))
        expected = qsgd_decode(slow_norms, signed, steps(bits), bucket)
        assert_array_equal(dequantize(norms, packed, n, bits, bucket), expected)
        out = np.ones(n, np.float32)
        assert dequantize(norms, packed, n, bits, bucket, out, add=True) is out
        assert_array_equal(out, np.float32(1) + expected)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("s", [1, 7, 127, 1000, 2**15])
def test_levels_equal_the_oracle(s, norm):
    for n in [0, 1, 9, B, 3 * B + 5]:
        norms, signed, bad = levels(normal(n), s, B, norm, KEY)
        slow_norms, slow_signed = qsgd(normal(n), s, B, norm, KEY)
        assert bad == -1
        assert_array_equal(norms, slow_norms)
        assert_array_equal(signed, slow_signed)


@pytest.mark.parametrize("norm", NORMS)
def test_zeros_and_tiny_numbers_become_zero(norm):
    x = normal(5 * B)
    x[:B] = 0
    x[B : 2 * B] = -0.0
    x[2 * B : 3 * B] = 1e-40
    back = decode_of(x, 8, B, norm)
    assert_array_equal(back[: 3 * B], 0)
    assert not np.signbit(back[back == 0]).any()
    assert back[3 * B :].any()
    assert not levels(x, 127, B, norm)[1][: 3 * B].any()


def test_squares_may_leave_float32():
    for scale in (1e30, 1e-30):
        x = normal(3 * B) * np.float32(scale)
        norms, _, bad = quantize(x, 4, B, "l2")
        assert bad == -1
        exact = np.sqrt(np.sum(x.astype(np.float64).reshape(3, B) ** 2, axis=1))
        np.testing.assert_allclose(norms, exact, rtol=1e-7)


vectors = arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32))


@given(vectors, st.integers(2, 8), st.sampled_from(NORMS), st.sampled_from([0, KEY]))
@settings(deadline=None)
def test_error_is_within_a_step(x, bits, norm, key):
    norms, packed, bad = quantize(x, bits, B, norm, key)
    assert bad == -1
    back = dequantize(norms, packed, len(x), bits, B)
    step = np.repeat(norms, B)[: len(x)].astype(np.float64) / steps(bits)
    # Norms below s / 3.4e38 send nothing.
    assert np.all(np.abs(back - x.astype(np.float64)) <= step * (1 + 1e-6 * steps(bits)) + 1e-35)
    assert np.all(back * x >= 0)


@pytest.mark.parametrize("norm", NORMS)
def test_unbiased_and_within_the_bound_on_the_variance(norm):
    x = normal(B)
    draws = np.array([decode_of(x, 3, B, norm, key) for key in range(2000)], np.float64)
    deviation = draws.std(axis=0)
    assert np.median(deviation) > 0.1
    assert np.all(np.abs(draws.mean(axis=0) - x) <= 5 * deviation / np.sqrt(2000) + 1e-4)
    if norm == "l2":  # Alistarh et al., lemma 3.1
        s = steps(3)
        error = np.mean(np.sum((draws - x) ** 2, axis=1))
        assert error <= min(B / s**2, np.sqrt(B) / s) * np.sum(x.astype(np.float64) ** 2)


@pytest.mark.parametrize(
    ("norm", "bits", "bucket", "golden", "tolerance"),
    [
        ("linf", 2, 128, 1.26, 0.03),
        ("linf", 3, 512, 0.196, 0.03),
        ("linf", 4, 512, 0.0359, 0.03),
        ("linf", 8, 512, 1.1e-4, 0.06),
        ("l2", 4, 128, 0.436, 0.03),
        ("l2", 4, 512, 1.58, 0.03),
    ],
)
def test_error_on_normal_numbers(norm, bits, bucket, golden, tolerance):
    x = normal(2**18)
    error = np.sum((decode_of(x, bits, bucket, norm, KEY) - x) ** 2) / np.sum(x**2)
    assert error == pytest.approx(golden, rel=tolerance)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two numba threads")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_parallel_equals_serial(bits, norm):
    x = normal(PARALLEL_FROM + 77)
    results = []
    for count in (1, 2):
        with threads(count):
            norms, packed, bad = quantize(x, bits, B, norm, KEY)
            assert bad == -1
            decoded = dequantize(norms, packed, len(x), bits, B)
            results.append((norms, packed, decoded, levels(x, steps(bits), B, norm, KEY)[1]))
    for serial, parallel in zip(*results, strict=True):
        assert_array_equal(parallel, serial)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n", [5 * B + 3, PARALLEL_FROM + 77])
@pytest.mark.parametrize("value", NOT_FINITE.values(), ids=NOT_FINITE)
def test_first_bad_index(n, value, norm):
    x = normal(n)
    x[[3 * B + 9, n - 1]] = value
    assert quantize(x, 4, B, norm)[2] == 3 * B + 9
    assert levels(x, 7, B, norm)[2] == 3 * B + 9


def test_norm_beyond_float32_names_the_largest():
    x = normal(3 * B)
    x[[B + 3, B + 7]] = 3e38, -3.1e38
    assert quantize(x, 4, B, "l2")[2] == B + 7
    assert quantize(x, 4, B, "linf")[2] == -1


# Arrays of the simulator do not say that they lie on a device: there, past the public door.
def quantize_there(x, bits, bucket, norm, key=0, packed=None):
    if config.ENABLE_CUDASIM:
        return qsgd_cuda.quantize(x, bits, bucket, norm == "l2", key, None, packed)
    return quantize(x, bits, bucket, norm, key, None, packed)


DEQUANTIZE_THERE = qsgd_cuda.dequantize if config.ENABLE_CUDASIM else dequantize


def same_qsgd(n, bits, bucket, norm):
    x = normal(n)
    x[bucket : 2 * bucket] = 1e-40
    norms, packed, _ = quantize(x, bits, bucket, norm, KEY)
    # A used buffer: every byte must be written.
    used = cuda.to_device(np.full(len(packed), 255, np.uint8))
    its_norms, its_packed, bad = quantize_there(cuda.to_device(x), bits, bucket, norm, KEY, used)
    assert bad == -1
    assert_array_equal(its_norms.copy_to_host(), norms)
    assert_array_equal(its_packed.copy_to_host(), packed)
    decoded = DEQUANTIZE_THERE(its_norms, its_packed, n, bits, bucket, None, False)
    expected = dequantize(norms, packed, n, bits, bucket)
    assert_array_equal(decoded.copy_to_host(), expected)
    DEQUANTIZE_THERE(its_norms, its_packed, n, bits, bucket, decoded, True)
    assert_array_equal(decoded.copy_to_host(), expected + expected)


def same_first_bad(norm):
    x = normal(3 * B)
    x[[B + 9, 2 * B + 1]] = np.nan, np.inf
    assert quantize_there(cuda.to_device(x), 4, B, norm)[2] == B + 9


@simulated
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("n", "bits"), [(1, 4), (9, 8), (150, 2), (333, 3)])
def test_qsgd_on_the_simulator(n, bits, norm):
    same_qsgd(n, bits, B, norm)


@simulated
@pytest.mark.parametrize("norm", NORMS)
def test_first_bad_on_the_simulator(norm):
    same_first_bad(norm)


@pytest.mark.gpu
@pytest.mark.skipif(
    config.ENABLE_CUDASIM or not cuda.is_available(), reason="needs a real CUDA device"
)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_qsgd_on_a_device(bits, norm):
    same_qsgd(1_000_003, bits, 512, norm)
    same_first_bad(norm)
