"""Elias-omega codes: exact lengths, exact streams, and no harm from a stream that lies."""

from contextlib import contextmanager
from itertools import pairwise

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from oracles import elias_encode, omega, words_of

from msl_kernels.elias import PIECE, bits_of, decode, encode, lengths, n_pieces
from msl_kernels.parallel import PARALLEL_FROM

LAYOUTS = ["dense", "gap"]
EXTREME = [0, 1, -1, 127, -127, 128, -128, 129, -129, 2**15, 2**31 - 1, -(2**31) + 1, -(2**31)]


def normal_levels(n, deviation, seed=0):
    return np.rint(np.random.default_rng(seed).standard_normal(n) * deviation).astype(np.int32)


@contextmanager
def threads(count):
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    yield
    numba.set_num_threads(before)


def test_lengths():
    k = np.arange(1, 100_001)
    assert_array_equal(lengths(k), [len(omega(int(v))) for v in k])
    known = {1: 1, 3: 3, 7: 6, 15: 7, 31: 11, 63: 12, 127: 13, 255: 14, 511: 16}
    assert lengths(list(known)).tolist() == list(known.values())


def test_no_code_begins_another():
    codes = sorted(omega(k) for k in range(1, 5000))
    assert not any(b.startswith(a) for a, b in pairwise(codes))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("deviation", [0.02, 1, 40])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, 1000, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 5])
def test_equals_the_oracle(n, deviation, layout):
    levels = normal_levels(n, deviation)
    words, offsets = encode(levels, layout)
    pieces = elias_encode(levels, layout)
    edges = np.cumsum([0, *map(len, pieces)])
    assert_array_equal(offsets, edges[:-1])
    assert_array_equal(words, words_of("".join(pieces)))
    assert bits_of(levels)[LAYOUTS.index(layout)] == edges[-1]
    out = np.full(n, 7, np.int32)
    assert decode(words, offsets, n, layout, out) is out
    assert_array_equal(out, levels)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_round_trip_of_every_size(layout):
    k = np.arange(1, 100_001, dtype=np.int32)
    levels = np.concatenate([k, -k, np.repeat(EXTREME, 3).astype(np.int32)])
    words, offsets = encode(levels, layout)
    assert_array_equal(words, words_of("".join(elias_encode(levels, layout))))
    assert_array_equal(decode(words, offsets, len(levels), layout), levels)


def test_counts_of_small_streams():
    # omega(4) = 101000: 1 + 1 + 4 + 7; in gaps omega(3), then omega(3) 0 omega(1), omega(1) 1 111 0
    levels = np.array([0, 0, 1, -3], np.int32)
    assert bits_of(levels) == (13, 3 + (3 + 1 + 1) + (1 + 1 + 3))
    assert bits_of(np.zeros(1000, np.int32)) == (1000, 1)
    words, offsets = encode(np.array([0, 1], np.int32), "dense")
    assert (words.tolist(), offsets.tolist()) == ([0b01000 << 59], [0])


def test_bits_of_quantised_normal_numbers():
    # QSGD with 2-norm: s levels on d normal numbers, stochastic; the norm has 32 bits.
    rng = np.random.default_rng(0)
    for d, s, dense, gap in [(4096, 64, 2.95, 2.76), (4096, 1, None, 0.175)]:
        x = rng.standard_normal((200, d))
        scaled = s * x / np.linalg.norm(x, axis=1, keepdims=True)
        levels = (np.sign(x) * np.floor(np.abs(scaled) + rng.random(x.shape))).astype(np.int32)
        bits = (np.array([bits_of(row) for row in levels]).mean(axis=0) + 32) / d
        assert bits[1] == pytest.approx(gap, rel=0.03)
        assert dense is None or bits[0] == pytest.approx(dense, rel=0.03)


@given(arrays(np.int32, st.integers(9, 200), elements=st.sampled_from(EXTREME)), st.data())
@settings(deadline=None)
def test_cut_streams_are_refused(levels, data):
    levels[-1] = 1
    layout = data.draw(st.sampled_from(LAYOUTS))
    words, offsets = encode(levels, layout)
    kept = data.draw(st.integers(0, len(words) - 1))
    for stream in (words[:kept], np.append(words, np.uint64(0))):
        with pytest.raises(ValueError, match="piece 0"):
            decode(stream, offsets, len(levels), layout)


@given(
    st.lists(st.sampled_from([0, 1, 0xFFFF, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)),
    st.integers(0, 80),
    st.integers(0, 63),
    st.sampled_from(LAYOUTS),
)
@settings(deadline=None, max_examples=300)
def test_streams_of_strangers(stream, n, spare, layout):
    # Bits of all kinds around the stream: neither read nor written.
    around = np.array([2**64 - 1] * 3 + stream + [2**64 - 1] * 3, np.uint64)
    words = around[3 : 3 + len(stream)]
    words[-1:] &= ~np.uint64(0) << np.uint64(spare)
    offsets = np.zeros(n_pieces(n), np.uint64)
    buffer = np.full(n + 32, 12345, np.int32)
    try:
        levels = decode(words, offsets, n, layout, buffer[16 : 16 + n])
    except ValueError:
        pass
    else:
        # What passes is the one code of what comes out.
        assert_array_equal(encode(levels, layout)[0], words)
    assert np.all(buffer[:16] == 12345)
    assert np.all(buffer[16 + n :] == 12345)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_changed_bit_is_refused_or_decodes_to_its_own_code(layout):
    levels = normal_levels(40, 2)
    words, offsets = encode(levels, layout)
    refused = 0
    for bit in range(64 * len(words)):
        changed = words.copy()
        changed[bit // 64] ^= np.uint64(1) << np.uint64(63 - bit % 64)
        try:
            assert_array_equal(encode(decode(changed, offsets, 40, layout), layout)[0], changed)
        except ValueError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("layout", LAYOUTS)
def test_offsets_of_strangers(layout):
    n = 2 * PIECE
    words, offsets = encode(normal_levels(n, 1), layout)
    for at, by in [(0, 1), (0, 2**63), (1, 1), (1, -1), (1, 64), (1, 2**40), (1, 2**63)]:
        wrong = offsets.astype(object)
        wrong[at] += by
        with pytest.raises(ValueError, match=r"offsets|piece"):
            decode(words, wrong.astype(np.uint64), n, layout)
    with pytest.raises(ValueError, match="offsets"):
        decode(words, offsets[:-1], n, layout)
    with pytest.raises(ValueError, match="no levels"):
        decode(words, offsets[:0], 0, layout)
    with pytest.raises(ValueError, match="piece 1"):
        decode(words, offsets, n - 1, layout)


def test_unknown_layout():
    with pytest.raises(ValueError, match="'dense' or 'gap'"):
        encode(np.zeros(3, np.int32), "sparse")


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two numba threads")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_parallel_equals_serial(layout):
    levels = normal_levels(2 * PARALLEL_FROM + 77, 1)
    with threads(1):
        words, offsets = encode(levels, layout)
    with threads(2):
        assert_array_equal(encode(levels, layout)[0], words)
        assert_array_equal(decode(words, offsets, len(levels), layout), levels)
