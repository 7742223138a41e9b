"""The oracle against published vectors, and the kernel against the oracle."""

import numpy as np
import pytest
from numba import njit
from oracles import philox4x32

from msl_kernels.dither import ROUNDS, draw_dithers
from msl_kernels.philox import draw_on_cpu, split

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("word", "rounds", "expected"),
    [
        (0, 10, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (ONES, 10, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (0, 7, (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
    ],
)
def test_oracle_gives_the_published_words(word, rounds, expected):
    assert tuple(philox4x32([word] * 4, [word] * 2, rounds)) == expected


@njit
def draw_one(index, key0, key1, rounds):
    return draw_on_cpu(index, key0, key1, rounds)


@njit
def draw_default(index, key0, key1):
    return draw_on_cpu(index, key0, key1)


@njit
def halves_of(first_group, groups, key0, key1, words):
    draw_dithers(first_group, groups, key0, key1, words)


KEYS = [0, 1, 0x0123456789ABCDEF, 2**64 - 1]


def expected(index, key, rounds):
    counter = (index & ONES, index >> 32, 0, 0)
    w0, w1, w2, w3 = philox4x32(counter, (key & ONES, key >> 32), rounds)
    return w0 | w1 << 32, w2 | w3 << 32


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("index", [0, 1, 2**32 - 1, 2**32, 2**40 + 5])
def test_draw_equals_the_oracle(index, key):
    for rounds in (7, 10):
        assert draw_one(np.uint64(index), *split(key), rounds) == expected(index, key, rounds)
    assert draw_default(np.uint64(index), *split(key)) == expected(index, key, 10)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("groups", [0, 1, 31, 32, 33, 100])
def test_dithers_in_vectors_equal_the_oracle(groups, key):
    # The counters pass 2**32 within a vector.
    first = 2**32 - 5
    words = np.full(2 * groups + 1, 7, np.uint64)
    halves_of(first, groups, *split(key), words)
    for g in range(groups):
        assert tuple(words[2 * g : 2 * g + 2]) == expected(first + g, key, ROUNDS)
    assert words[-1] == 7
