"""The vote of signs equals its oracle, ties and zeros included, on one thread and on two."""

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from oracles import majority as slow

from msl_kernels.votes import CHUNK, majority


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("d", [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 5, 100_000])
@pytest.mark.parametrize("threads", [1, 2])
def test_equals_the_oracle(n, d, threads):
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    rows = np.random.default_rng(n).integers(-2, 3, (n, d)).astype(np.float32)
    weights = np.arange(n) % 3 + 1.0
    signs, agreed = majority(rows, weights)
    numba.set_num_threads(before)
    expected = slow(rows, weights)
    assert_array_equal(signs, expected[0])
    assert_array_equal(agreed, expected[1])
