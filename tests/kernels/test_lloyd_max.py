"""The rotated quantiser equals its oracle to the bit, on CPU and CUDA, and keeps its theory."""

from contextlib import contextmanager

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import config, cuda
from numpy.testing import assert_allclose, assert_array_equal
from oracles import lloyd_max, lloyd_max_decode, lloyd_max_encode, pack

from msl_kernels.hadamard import padded_size
from msl_kernels.lloyd_max import centroids, decode, encode
from msl_kernels.lloyd_max import cuda as lloyd_max_cuda
from msl_kernels.parallel import PARALLEL_FROM
from msl_kernels.quantize import n_buckets, packed_nbytes

B = 64
KEY = 0x0123456789ABCDEF
# Error of a centroid table on N(0, 1): 1 - mean(c^2) over mean(c^2), and 1 - mean(c^2).
UNBIASED = {1: 0.567, 2: 0.1315, 3: 0.03505, 4: 0.00935}
SMALLEST = {1: 0.363, 2: 0.1175, 3: 0.0345, 4: 0.0095}
NOT_FINITE = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


def normal(n, seed=0):
    # One number into its buffer: no alignment may be taken for granted.
    return np.random.default_rng(seed).standard_normal(n + 1).astype(np.float32)[1:]


def lognormal(n):
    return np.exp(normal(n))


def heavy_tailed(n):
    return normal(n, 1) * np.exp(np.float32(1.5) * normal(n, 2))


def used(n, bits, block):
    """Buffers that were used before: every byte must be written."""
    packed = np.full(packed_nbytes(padded_size(n, block), bits), 255, np.uint8)
    return np.full(n_buckets(n, block), 7, np.float32), packed


def round_trip(x, bits, key=KEY, block=4096, unbiased=True):
    scales, packed, bad = encode(x, bits, key, block, unbiased)
    assert bad == -1
    return decode(scales, packed, len(x), bits, key, block)


def error(x, bits, **how):
    x64 = x.astype(np.float64)
    return np.sum((round_trip(x, bits, **how) - x64) ** 2) / np.sum(x64**2)


@contextmanager
def threads(count):
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize("bits", range(1, 5))
def test_centroids_are_a_fixed_point_of_lloyd(bits):
    assert_allclose(centroids(bits), lloyd_max(bits), rtol=0, atol=1e-12)


def equals_the_oracle(x, bits, block, unbiased):
    n, table = len(x), centroids(bits)
    scales, packed = used(n, bits, block)
    assert encode(x, bits, KEY, block, unbiased, scales, packed)[2] == -1
    slow_scales, fields = lloyd_max_encode(x, bits, KEY, block, unbiased, table)
    assert_array_equal(scales, slow_scales)
    assert_array_equal(packed, pack(fields, bits))
    expected = lloyd_max_decode(slow_scales, fields, n, bits, KEY, block, table)
    out = np.full(n, 7, np.float32)
    assert decode(scales, packed, n, bits, KEY, block, out) is out
    assert_array_equal(out, expected)
    decode(scales, packed, n, bits, KEY, block, out, add=True)
    assert_array_equal(out, expected + expected)


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, B - 1, B, B + 1, 3 * B + 5])
@pytest.mark.parametrize("bits", range(1, 5))
def test_equals_the_oracle(bits, n, unbiased):
    equals_the_oracle(normal(n), bits, B, unbiased)


@pytest.mark.parametrize("bits", range(1, 5))
@pytest.mark.parametrize("block", [8, 16, 32, 128, 8192])
def test_equals_the_oracle_in_blocks_of(block, bits):
    equals_the_oracle(heavy_tailed(3 * block + block // 2 - 1), bits, block, True)


@pytest.mark.parametrize("bits", range(1, 5))
def test_block_of_zeros(bits):
    x = normal(3 * B)
    x[B : 2 * B] = 0
    equals_the_oracle(x, bits, B, True)
    scales, packed, _ = encode(x, bits, KEY, B)
    assert scales[1] == 0
    assert not packed[8 * bits : 16 * bits].any()
    assert not round_trip(x, bits, block=B)[B : 2 * B].any()


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("power", [-90, 90])
def test_scales_with_its_input(power, unbiased):
    x, factor = normal(3 * B + 5), np.float32(2.0**power)
    scales, packed, _ = encode(x, 4, KEY, B, unbiased)
    its_scales, its_packed, bad = encode(x * factor, 4, KEY, B, unbiased)
    assert bad == -1
    assert_array_equal(its_packed, packed)
    assert_array_equal(its_scales, scales * factor)


@pytest.mark.parametrize("block", [1024, 4096])
@pytest.mark.parametrize("bits", range(1, 5))
def test_error_on_lognormal_numbers(bits, block):
    x = lognormal(2**17)
    unbiased, smallest = (error(x, bits, block=block, unbiased=u) for u in (True, False))
    assert unbiased == pytest.approx(UNBIASED[bits], rel=0.03)
    assert smallest == pytest.approx(SMALLEST[bits], rel=0.03)
    assert smallest < unbiased


@pytest.mark.parametrize("bits", range(1, 5))
def test_error_on_heavy_tails(bits):
    x = heavy_tailed(2**17)
    # A block that one huge number fills rotates to two values: easier than normal ones.
    unbiased, smallest = (error(x, bits, unbiased=u) for u in (True, False))
    assert smallest < unbiased < 1.03 * UNBIASED[bits]


@pytest.mark.parametrize("bits", range(1, 5))
def test_is_unbiased(bits):
    x = normal(512)
    draws = np.array([round_trip(x, bits, key, 256) for key in range(600)], np.float64)
    deviation = draws.std(axis=0)
    assert np.median(deviation) > 0.05
    assert np.all(np.abs(draws.mean(axis=0) - x) <= 5 * deviation / np.sqrt(600))


@pytest.mark.parametrize("bits", range(1, 5))
def test_unbiased_scale_restores_the_length_along_the_input(bits):
    x = heavy_tailed(5000)
    x64 = x.astype(np.float64)
    for key in range(5):
        assert round_trip(x, bits, key) @ x64 == pytest.approx(x64 @ x64, rel=1e-5)


def test_smallest_error_is_the_projection():
    x = normal(3 * 4096).astype(np.float64)
    back = round_trip(x.astype(np.float32), 1, unbiased=False)
    # The error is at right angles to what is decoded, block by block.
    for part, its in zip(x.reshape(3, -1), back.reshape(3, -1), strict=True):
        assert its @ (part - its) == pytest.approx(0, abs=1e-4 * (part @ part))


vectors = arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32))


@given(vectors, st.integers(1, 4), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_error_never_exceeds_the_input(x, bits, key):
    x64 = x.astype(np.float64)
    back = round_trip(x, bits, key, B, unbiased=False)
    assert np.sum((back - x64) ** 2) <= np.sum(x64**2) * (1 + 1e-6) + 1e-80
    assert np.all(np.isfinite(round_trip(x, bits, key, B)))


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two numba threads")
@pytest.mark.parametrize("bits", [1, 3, 4])
def test_parallel_equals_serial(bits):
    x = normal(PARALLEL_FROM + 77)
    results = []
    for count in (1, 2):
        with threads(count):
            scales, packed, bad = encode(x, bits, KEY, B)
            assert bad == -1
            results.append((scales, packed, decode(scales, packed, len(x), bits, KEY, B)))
    for serial, parallel in zip(*results, strict=True):
        assert_array_equal(parallel, serial)


@pytest.mark.parametrize("n", [5 * B + 3, PARALLEL_FROM + 77])
@pytest.mark.parametrize("value", NOT_FINITE.values(), ids=NOT_FINITE)
def test_first_bad_index(n, value):
    x = normal(n)
    x[[3 * B + 9, n - 1]] = value
    assert encode(x, 4, KEY, B)[2] == 3 * B + 9


@pytest.mark.parametrize("factor", [3e35, 3e37])
def test_overflow_names_the_largest(factor):
    # Of the sums, or of the rotation already.
    x = normal(3 * 4096)
    x[4096:8192] *= np.float32(factor)
    assert encode(x, 4, KEY, 4096)[2] == 4096 + np.argmax(np.abs(x[4096:8192]))


# Arrays of the simulator do not say that they lie on a device: there, past the public door.
ENCODE, DECODE = (
    (lloyd_max_cuda.encode, lloyd_max_cuda.decode) if config.ENABLE_CUDASIM else (encode, decode)
)


def same_on_cuda(n, bits, block, unbiased):
    x = heavy_tailed(n).copy()
    if n > block:
        x[:block] = 0
    scales, packed, _ = encode(x, bits, KEY, block, unbiased)
    buffers = (cuda.to_device(buffer) for buffer in used(n, bits, block))
    its_scales, its_packed, bad = ENCODE(cuda.to_device(x), bits, KEY, block, unbiased, *buffers)
    assert bad == -1
    assert_array_equal(its_scales.copy_to_host(), scales)
    assert_array_equal(its_packed.copy_to_host(), packed)
    decoded = DECODE(its_scales, its_packed, n, bits, KEY, block, None, False)
    expected = decode(scales, packed, n, bits, KEY, block)
    assert_array_equal(decoded.copy_to_host(), expected)
    DECODE(its_scales, its_packed, n, bits, KEY, block, decoded, True)
    assert_array_equal(decoded.copy_to_host(), expected + expected)


def same_first_bad():
    x = normal(50)
    x[[20, 45]] = np.nan
    assert ENCODE(cuda.to_device(x), 4, KEY, 16, True, None, None)[2] == 20


@pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="numba's CUDA simulator is off")
@pytest.mark.parametrize(
    ("n", "bits", "block", "unbiased"),
    [(1, 4, 64, True), (20, 2, 8, False), (150, 3, 64, True), (130, 1, 128, False)],
)
def test_on_the_simulator(n, bits, block, unbiased):
    same_on_cuda(n, bits, block, unbiased)


@pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="numba's CUDA simulator is off")
def test_first_bad_on_the_simulator():
    same_first_bad()


@pytest.mark.gpu
@pytest.mark.skipif(
    config.ENABLE_CUDASIM or not cuda.is_available(), reason="needs a real CUDA device"
)
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize(("bits", "block"), [(1, 4096), (2, 64), (3, 8), (4, 4096), (4, 8192)])
def test_on_a_device(bits, block, unbiased):
    same_on_cuda(1_000_003, bits, block, unbiased)
    same_first_bad()
