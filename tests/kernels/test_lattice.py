"""The lattice codec equals its oracle to the bit, and its error is that of the theory."""

from contextlib import contextmanager

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import config, cuda
from numpy.testing import assert_array_equal
from oracles import dither, lattice_checksum, lattice_decode, lattice_encode, lattice_points, pack

from msl_kernels.lattice import cuda as lattice_cuda
from msl_kernels.lattice import decode, encode, quantised
from msl_kernels.lattice.cpu import BLOCK
from msl_kernels.parallel import PARALLEL_FROM
from msl_kernels.quantize import packed_nbytes

KEY = 0x0123456789ABCDEF
SIDE = 0.01
SIZES = [0, 1, 2, 7, 8, 9, 41, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5]
BITS = [*range(1, 9), 16]

simulated = pytest.mark.skipif(
    not config.ENABLE_CUDASIM, reason="numba's CUDA simulator is off: a device may be there"
)


def normal(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def at_distance(x, share, bits, side=SIDE):
    """A reference that far away, in units of the bound on decoding."""
    signs = np.random.default_rng(1).choice([-1, 1], len(x))
    return np.float32(x + signs * share * (2**bits - 1) * side / 2)


@contextmanager
def threads(count):
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("bits", BITS)
def test_equals_the_oracle(bits, n):
    x = normal(n)
    packed = np.full(packed_nbytes(n, bits), 255, np.uint8)
    _, checksum, bad = encode(x, SIDE, bits, KEY, packed)
    colours, expected = lattice_encode(x, SIDE, bits, KEY)
    assert (checksum, bad) == (expected, -1)
    assert_array_equal(packed, pack(colours, bits))
    # Half of the references are too far away: the wrong points must be the same as well.
    near = at_distance(x, np.linspace(0, 2, n), bits)
    for reference in (near, None):
        out = np.full(n, np.nan, np.float32)
        assert decode(packed, reference, SIDE, n, bits, KEY, out)[0] is out
        base = np.zeros(n, np.float32) if reference is None else reference
        slow, slow_checksum = lattice_decode(colours, base, SIDE, bits, KEY)
        assert_array_equal(out, slow)
        assert decode(packed, reference, SIDE, n, bits, KEY)[1] == slow_checksum


@given(
    arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from(BITS),
    st.floats(1e-3, 1e3),
    st.floats(-0.99, 0.99),
    st.integers(0, 2**64 - 1),
)
@settings(deadline=None)
def test_receivers_within_the_bound_agree_with_the_sender(x, bits, side, share, key):
    near = np.float32(x + share * (2**bits - 1) * side / 2)
    inside = np.abs(np.float64(near) - x) <= 0.999 * (2**bits - 1) * side / 2
    near = np.where(inside, near, x)
    packed, checksum, bad = encode(x, side, bits, key)
    assert bad == -1
    out, seen = decode(packed, near, side, len(x), bits, key)
    own = quantised(x, side, key)
    assert_array_equal(out, own)
    assert seen == checksum
    error = np.abs(np.float64(own) - x)
    assert np.all(error <= side / 2 * (1 + 1e-9) + np.spacing(np.abs(own)))


def test_error_has_the_variance_of_a_uniform_one_wherever_x_lies():
    side = 16.0
    # Multiples of 1/16 are exact in float32 around 10^6.
    x = np.round(normal(2**16) * 256) / np.float32(16)
    for shift in (0, 1e6):
        moved = np.float32(x + shift)
        error = np.float64(quantised(moved, side, KEY)) - moved
        assert np.mean(error**2) == pytest.approx(side**2 / 12, rel=0.03)
        assert np.abs(error).max() <= side / 2 + 1 / 32
        assert abs(error.mean()) <= 5 * side / np.sqrt(12 * len(x))
        assert abs(np.corrcoef(error, x)[0, 1]) < 5 / np.sqrt(len(x))


def test_unbiased_over_keys():
    x = normal(64)
    draws = np.array([quantised(x, 0.5, key) for key in range(2000)], np.float64)
    assert np.all(np.abs(draws.mean(axis=0) - x) <= 5 * 0.5 / np.sqrt(12 * 2000))


@pytest.mark.parametrize("share", [0.99, 1.01, 1.05, 1.1, 1.3])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_beyond_the_bound_points_are_off_by_multiples_of_q(bits, share):
    side, q, n = 1.0, 2**bits, 2**15
    x = normal(n)
    packed, checksum, _ = encode(x, side, bits, KEY)
    out, seen = decode(packed, at_distance(x, share, bits, side), side, n, bits, KEY)
    off = (np.float64(out) - quantised(x, side, KEY)) / (q * side)
    assert np.abs(off - np.round(off)).max() < 1e-5
    wrong = np.mean(np.round(off) != 0)
    chance = np.clip((share - 1) * (q - 1) / 2, 0, 1)
    assert wrong == pytest.approx(chance, abs=5 * np.sqrt(chance * (1 - chance) / n))
    assert (seen == checksum) == (share < 1)


def test_checksum_sees_every_kind_of_change():
    z = np.random.default_rng(0).integers(-1000, 1000, 64)
    seen = {lattice_checksum(z)}
    changes = [np.eye(64, dtype=int)[i] * by for i in range(64) for by in (1, -1, 16, -16, 2**40)]
    # What a sum with multipliers linear in the index would miss.
    changes += [16 * np.roll(np.array([1, -1, -1, 1] + [0] * 60), i) for i in range(60)]
    for change in [*changes, -2 * z, np.full(64, 16), np.full(64, -16)]:
        seen.add(lattice_checksum(z + change))
    seen.add(lattice_checksum(z[::-1]))
    assert len(seen) == 2 + len(changes) + 3


def test_ties_go_to_even_on_both_sides():
    n = 256
    u = dither(n, KEY).astype(np.float64) - 0.5
    x = np.float32(np.arange(n) % 11 - 5 + 0.5 + u)
    z, _ = lattice_points(x, 1.0, KEY)
    assert np.all(z % 2 == 0)
    packed, checksum, _ = encode(x, 1.0, 3, KEY)
    assert_array_equal(packed, pack(z % 8, 3))
    # Half-way between two points of one colour.
    near = np.float32(z % 8 + 4 + u)
    slow, expected = lattice_decode(z % 8, near, 1.0, 3, KEY)
    out, seen = decode(packed, near, 1.0, n, 3, KEY)
    assert_array_equal(out, slow)
    assert seen == expected != checksum


@pytest.mark.parametrize("n", [3 * BLOCK, PARALLEL_FROM + 77])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e16, -1e16])
def test_first_bad_index(n, value):
    x = normal(n)
    x[[BLOCK + 9, n - 1]] = value
    assert encode(x, 1.0, 4, KEY)[2] == BLOCK + 9


def test_last_good_number():
    x = np.array([2.0**51 - 2.0**30, -(2.0**51) + 2.0**30, 2.0**51], np.float32)
    assert encode(x, 1.0, 4, KEY)[2] == 2
    _, checksum, bad = encode(x[:2], 1.0, 4, KEY)
    assert (checksum, bad) == (lattice_encode(x[:2], 1.0, 4, KEY)[1], -1)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two numba threads")
@pytest.mark.parametrize("bits", [3, 16])
def test_parallel_equals_serial(bits):
    x = normal(PARALLEL_FROM + 77)
    near = at_distance(x, 1.2, bits)
    results = []
    for count in (1, 2):
        with threads(count):
            packed, checksum, _ = encode(x, SIDE, bits, KEY)
            out, seen = decode(packed, near, SIDE, len(x), bits, KEY)
            results.append((packed, checksum, out, seen, quantised(x, SIDE, KEY)))
    for serial, parallel in zip(*results, strict=True):
        assert_array_equal(parallel, serial)


def same_codec(n, bits):
    # Arrays of the simulator do not say that they lie on a device: there, past the public door.
    x = normal(n)
    packed, checksum, _ = encode(x, SIDE, bits, KEY)
    used = cuda.to_device(np.full(len(packed), 255, np.uint8))
    its_packed, its_checksum, bad = lattice_cuda.encode(cuda.to_device(x), SIDE, bits, KEY, used)
    assert (its_checksum, bad) == (checksum, -1)
    assert_array_equal(its_packed.copy_to_host(), packed)
    for near in (at_distance(x, np.linspace(0, 2, n), bits), None):
        lying = None if near is None else cuda.to_device(near)
        out, seen = lattice_cuda.decode(its_packed, lying, SIDE, n, bits, KEY, None)
        expected, expected_checksum = decode(packed, near, SIDE, n, bits, KEY)
        assert_array_equal(out.copy_to_host(), expected)
        assert seen == expected_checksum
    own = lattice_cuda.quantised(cuda.to_device(x), SIDE, KEY, None)
    assert_array_equal(own.copy_to_host(), quantised(x, SIDE, KEY))


def same_first_bad():
    x = normal(300)
    x[[200, 290]] = np.nan
    assert lattice_cuda.encode(cuda.to_device(x), 1.0, 4, KEY, None)[2] == 200


@simulated
@pytest.mark.parametrize(("n", "bits"), [(0, 3), (1, 1), (9, 3), (9, 16), (1100, 4), (41, 8)])
def test_codec_on_the_simulator(n, bits):
    same_codec(n, bits)


@simulated
def test_first_bad_on_the_simulator():
    same_first_bad()


@pytest.mark.gpu
@pytest.mark.skipif(
    config.ENABLE_CUDASIM or not cuda.is_available(), reason="needs a real CUDA device"
)
@pytest.mark.parametrize("bits", [1, 3, 4, 8, 16])
def test_codec_on_a_device(bits):
    same_codec(1_000_003, bits)
    same_first_bad()
