"""The rotation equals its oracle to the bit, on CPU and CUDA, and is orthogonal."""

from contextlib import contextmanager

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import config, cuda
from numpy.testing import assert_allclose, assert_array_equal
from oracles import rotate as slow_rotate
from oracles import unrotate as slow_unrotate

from msl_kernels.hadamard import cuda as hadamard_cuda
from msl_kernels.hadamard import padded_size, rotate, unrotate
from msl_kernels.parallel import PARALLEL_FROM

B = 64
KEY = 0x0123456789ABCDEF
BLOCKS = [2**k for k in range(3, 14)]


def normal(n, seed=0):
    # One number into its buffer: no alignment may be taken for granted.
    return np.random.default_rng(seed).standard_normal(n + 1).astype(np.float32)[1:]


def same_bits(a, b):
    assert_array_equal(a.view(np.int32), b.view(np.int32))


@contextmanager
def threads(count):
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    yield
    numba.set_num_threads(before)


def sizes(block):
    return [0, 1, 2, 7, 8, 9, block - 1, block, block + 1, 3 * block + 5]


@pytest.mark.parametrize("block", BLOCKS)
def test_equals_the_oracle(block):
    for n in sizes(block):
        x = normal(n)
        expected = slow_rotate(x, KEY, block)
        # Buffers that were used before: every number must be written.
        out = np.full(padded_size(n, block), 7, np.float32)
        assert rotate(x, KEY, block, out) is out
        same_bits(out, expected)
        back = np.full(n, 7, np.float32)
        assert unrotate(expected, KEY, n, block, back) is back
        same_bits(back, slow_unrotate(expected, KEY, n, block))


@pytest.mark.parametrize(("n", "size"), [(0, 0), (1, 8), (64, 64), (65, 72), (73, 80), (97, 128)])
def test_padded_size(n, size):
    assert padded_size(n, 64) == size
    assert rotate(normal(n), KEY, 64).shape == (size,)


def test_matrix_is_orthogonal():
    rows = np.array([rotate(row, KEY, 32) for row in np.eye(32, dtype=np.float32)], np.float64)
    assert_allclose(np.abs(rows), 1 / np.sqrt(32), rtol=1e-6)
    assert_allclose(rows @ rows.T, np.eye(32), atol=1e-6)


vectors = arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e6, 1e6, width=32))


@given(vectors, st.sampled_from([8, 64, 256]), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_keeps_the_norm_and_comes_back(x, block, key):
    y = rotate(x, key, block)
    norm = np.linalg.norm(x.astype(np.float64))
    assert np.linalg.norm(y.astype(np.float64)) == pytest.approx(norm, rel=1e-6, abs=1e-30)
    back = unrotate(y, key, len(x), block).astype(np.float64)
    assert np.linalg.norm(back - x) <= 1e-6 * norm + 1e-30


def test_spreads_one_number_over_its_block():
    x = np.zeros(3 * 4096, np.float32)
    x[5000] = 64
    y = rotate(x, KEY)
    assert_array_equal(np.abs(y), np.repeat(np.float32([0, 1, 0]), 4096))


def test_signs_depend_on_the_key():
    x = np.ones(4096, np.float32)
    sums = [unrotate(rotate(x, 0), key, 4096) @ x / 4096 for key in range(1, 65)]
    # Random signs: the overlap of two rotations has standard deviation 1 / 64.
    assert np.abs(sums).max() < 5 / 64
    assert np.std(sums) == pytest.approx(1 / 64, rel=0.5)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two numba threads")
@pytest.mark.parametrize("block", [64, 4096])
def test_parallel_equals_serial(block):
    x = normal(PARALLEL_FROM + 77)
    results = []
    for count in (1, 2):
        with threads(count):
            y = rotate(x, KEY, block)
            results.append((y, unrotate(y, KEY, len(x), block)))
    for serial, parallel in zip(*results, strict=True):
        same_bits(parallel, serial)


def same_on_cuda(n, block):
    # Arrays of the simulator do not say that they lie on a device: past the public door.
    turn, back = (
        (hadamard_cuda.rotate, hadamard_cuda.unrotate)
        if config.ENABLE_CUDASIM
        else (rotate, unrotate)
    )
    x = normal(n).copy()
    used = cuda.to_device(np.full(padded_size(n, block), 7, np.float32))
    y = turn(cuda.to_device(x), KEY, block, used)
    expected = rotate(x, KEY, block)
    same_bits(y.copy_to_host(), expected)
    same_bits(back(y, KEY, n, block, None).copy_to_host(), unrotate(expected, KEY, n, block))


@pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="numba's CUDA simulator is off")
@pytest.mark.parametrize(("n", "block"), [(1, 64), (3, 8), (77, 16), (300, 64), (700, 512)])
def test_on_the_simulator(n, block):
    same_on_cuda(n, block)


@pytest.mark.gpu
@pytest.mark.skipif(
    config.ENABLE_CUDASIM or not cuda.is_available(), reason="needs a real CUDA device"
)
@pytest.mark.parametrize("block", [8, 64, 4096, 8192])
def test_on_a_device(block):
    same_on_cuda(1_000_003, block)
