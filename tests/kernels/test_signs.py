"""Signs, scales and means equal their oracles to the bit, on CPU and CUDA, whatever the threads."""

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

from msl_kernels import signs
from msl_kernels.parallel import PARALLEL_FROM
from msl_kernels.signs import cuda as signs_cuda

B = 64
CHUNK = 4096
SIZES = [0, 1, 2, 7, 8, 9, B - 1, B, B + 1, 3 * B + 5]
CHUNKS = [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5]
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


def numbers(n, seed=0):
    """Heavy tails, and zeros of both signs."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(n) * np.exp(1.5 * rng.standard_normal(n))).astype(np.float32)
    x[::5] = 0.0
    x[3::7] = -0.0
    return x


def used(n):
    return np.full(signs.packed_nbytes(n), 255, np.uint8)


def same_bits(found, expected):
    """Compare floats as bits: -0.0 is not +0.0."""
    assert found.dtype == np.float32
    assert_array_equal(np.asarray(found).view(np.int32), np.asarray(expected).view(np.int32))


@pytest.mark.parametrize("n", [*SIZES, *CHUNKS])
def test_pack_equals_the_oracle(n):
    x = numbers(n)
    bits, expected = oracles.scaled_signs(x)
    packed, scale, bad = signs.pack(x, used(n))
    assert bad == -1
    assert_array_equal(packed, oracles.pack(bits, 1))
    same_bits(scale, expected)
    levels = np.where(bits == 1, -scale, scale)
    same_bits(signs.unpack(packed, scale, n), levels)
    out = numbers(n, 1)
    expected = out + levels
    assert signs.unpack(packed, scale, n, out, add=True) is out
    same_bits(out, expected)


@pytest.mark.parametrize("n", [*SIZES, *CHUNKS])
def test_feed_back_equals_its_steps(n):
    residual, steps = numbers(n, 1), numbers(n, 1)
    for seed in (2, 3):
        x = numbers(n, seed)
        packed, scale, bad = signs.feed_back(x, residual, used(n))
        assert bad == -1
        steps += x
        bits, expected = oracles.scaled_signs(steps)
        steps -= np.where(bits == 1, -expected, expected)
        assert_array_equal(packed, oracles.pack(bits, 1))
        same_bits(scale, expected)
        same_bits(residual, steps)


@pytest.mark.parametrize("bucket", [8, B, 104])
@pytest.mark.parametrize("n", [*SIZES, 3 * 104 + 5])
def test_means_equal_the_oracle(n, bucket):
    x = numbers(n)
    bits, expected = oracles.side_means(x, bucket)
    means = np.full((signs.n_buckets(n, bucket), 2), 7, np.float32)
    _, packed, bad = signs.pack_means(x, bucket, means, used(n))
    assert bad == -1
    assert_array_equal(packed, oracles.pack(bits, 1))
    same_bits(means, expected)
    side = np.repeat(means, bucket, axis=0)[:n]
    levels = np.where(bits == 1, side[:, 0], side[:, 1])
    same_bits(signs.unpack_means(means, packed, n, bucket), levels)
    out = numbers(n, 1)
    expected = out + levels
    assert signs.unpack_means(means, packed, n, bucket, out, add=True) is out
    same_bits(out, expected)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(1, 300))
@settings(deadline=None)
def test_constants_decode_exactly(value, n):
    x = np.full(n, value, np.float32)
    means, packed, _ = signs.pack_means(x, 104)
    assert_array_equal(signs.unpack_means(means, packed, n, 104), x)


@given(arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32)))
@settings(deadline=None)
def test_decoding_loses_energy_only(x):
    # Both decoders project: the least squares of one or two levels given the signs.
    exact = x.astype(np.float64)
    energy = np.sum(exact**2)
    packed, scale, _ = signs.pack(x)
    means, same, _ = signs.pack_means(x, 2048)
    assert_array_equal(same, packed)
    one = np.sum((signs.unpack(packed, scale, len(x)) - exact) ** 2)
    two = np.sum((signs.unpack_means(means, packed, len(x), 2048) - exact) ** 2)
    assert two <= one * (1 + 1e-5) + 1e-30
    assert one == pytest.approx(energy - len(x) * float(scale) ** 2, abs=1e-5 * energy + 1e-30)


def test_residual_of_normal_numbers():
    x = np.random.default_rng(0).standard_normal(2**18).astype(np.float32)
    residual = np.zeros_like(x)
    signs.feed_back(x, residual)
    assert np.sum(residual**2) / np.sum(x**2) == pytest.approx(0.3634, rel=0.03)


def test_feed_back_sends_everything_in_the_end():
    x, rounds = numbers(1000), 200
    residual, sent = np.zeros_like(x), np.zeros(1000)
    for _ in range(rounds):
        packed, scale, _ = signs.feed_back(x, residual)
        sent += signs.unpack(packed, scale, 1000)
    # What was not sent lies in the residual.
    np.testing.assert_allclose(sent + residual, rounds * x.astype(np.float64), atol=0.1)


@pytest.mark.parametrize("n", [5 * B + 3, LARGE])
@pytest.mark.parametrize("value", NOT_FINITE.values(), ids=NOT_FINITE)
def test_first_bad_index(n, value):
    x = numbers(n)
    x[[3 * B + 9, n - 1]] = value
    assert signs.pack(x)[2] == 3 * B + 9
    assert signs.pack_means(x, B)[2] == 3 * B + 9
    for a, e in ((x, numbers(n, 1)), (numbers(n, 1), x)):
        before = e.copy()
        assert signs.feed_back(a, e)[2] == 3 * B + 9
        same_bits(e, before)


def test_what_overflows_is_refused_and_nothing_changes():
    x, residual = numbers(LARGE), numbers(LARGE, 1)
    x[[100_000, LARGE - 1]] = 3e38, -3e38
    residual[[100_000, LARGE - 1]] = 1e38, -1e38
    before = residual.copy()
    assert signs.feed_back(x, residual)[2] == 100_000
    same_bits(residual, before)


def test_large_magnitudes_do_not_overflow():
    x = np.full(3 * B + 5, 3e38, np.float32)
    packed, scale, bad = signs.pack(-x)
    assert bad == -1
    assert_array_equal(signs.unpack(packed, scale, len(x)), -x)


def test_read_only_bytes_decode():
    x = numbers(3 * B + 5)
    means, packed, _ = signs.pack_means(x, B)
    # One byte off, as after a header: no word of it is aligned.
    wire = np.frombuffer(b"." + packed.tobytes(), np.uint8)[1:]
    same_bits(signs.unpack(wire, 0.5, len(x)), signs.unpack(packed, 0.5, len(x)))
    expected = signs.unpack_means(means, packed, len(x), B)
    means.flags.writeable = False
    same_bits(signs.unpack_means(means, wire, len(x), B), expected)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two numba threads")
def test_parallel_equals_serial():
    x, results = numbers(LARGE), []
    for count in (1, 2):
        with threads(count):
            residual = numbers(LARGE, 1)
            packed, scale, _ = signs.pack(x)
            fed = signs.feed_back(x, residual)
            means, same, _ = signs.pack_means(x, 104)
            results.append(
                (
                    *(packed, scale, *fed, residual, means, same),
                    signs.unpack(packed, scale, LARGE),
                    signs.unpack_means(means, packed, LARGE, 104),
                )
            )
    for serial, parallel in zip(*results, strict=True):
        assert_array_equal(parallel, serial)


def same_on_cuda(n, bucket):
    x, residual, start = numbers(n), numbers(n, 1), numbers(n, 2)
    there = cuda.to_device(x)
    packed, scale, _ = signs.pack(x)
    its_packed, its_scale, bad = signs_cuda.pack(there, cuda.to_device(used(n)))
    assert bad == -1
    assert_array_equal(its_packed.copy_to_host(), packed)
    same_bits(its_scale, scale)

    means, _, _ = signs.pack_means(x, bucket)
    its_means, again, bad = signs_cuda.pack_means(there, bucket, None, cuda.to_device(used(n)))
    assert bad == -1
    assert_array_equal(again.copy_to_host(), packed)
    same_bits(its_means.copy_to_host(), means)

    out = signs_cuda.unpack(its_packed, scale, n, None, False)
    same_bits(out.copy_to_host(), signs.unpack(packed, scale, n))
    out = cuda.to_device(start)
    signs_cuda.unpack_means(its_means, its_packed, n, bucket, out, True)
    same_bits(out.copy_to_host(), signs.unpack_means(means, packed, n, bucket, start, add=True))

    its_residual = cuda.to_device(residual)
    its_packed, its_scale, bad = signs_cuda.feed_back(there, its_residual, None)
    packed, scale, _ = signs.feed_back(x, residual)
    assert bad == -1
    assert_array_equal(its_packed.copy_to_host(), packed)
    same_bits(its_scale, scale)
    same_bits(its_residual.copy_to_host(), residual)


def same_refusal(n):
    x, residual = numbers(n), numbers(n, 1)
    x[[70, 77]] = np.nan, -np.inf
    there, its_residual = cuda.to_device(x), cuda.to_device(residual)
    assert signs_cuda.pack(there, None)[2] == 70
    assert signs_cuda.pack_means(there, 48, None, None)[2] == 70
    assert signs_cuda.feed_back(there, its_residual, None)[2] == 70
    same_bits(its_residual.copy_to_host(), residual)


@simulated
@pytest.mark.parametrize("n", [1, 9, CHUNK + 70])
def test_on_the_simulator(n):
    same_on_cuda(n, 2048 if n > CHUNK else 8)


@simulated
def test_refusal_on_the_simulator():
    same_refusal(80)


@pytest.mark.gpu
@on_a_device
def test_on_a_device():
    same_on_cuda(1_000_003, 512)
    same_refusal(1_000_003)
