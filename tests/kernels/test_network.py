"""The networks sort: Knuth's 0-1 principle, what sorts all zeros and ones sorts everything."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from msl_kernels.order.network import selection_network


@pytest.mark.parametrize("n", range(1, 13))
def test_sorts_every_pattern_of_zeros_and_ones(n):
    patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    ordered = np.sort(patterns, axis=1)
    for first in range((n + 1) // 2):
        wires = patterns.copy()
        for i, j in selection_network(n, first, n - 1 - first):
            wires[:, [i, j]] = np.sort(wires[:, [i, j]], axis=1)
        kept = slice(first, n - first)
        assert_array_equal(wires[:, kept], ordered[:, kept])


@pytest.mark.parametrize(("n", "comparators"), [(10, 29), (20, 81), (50, 329), (100, 889)])
def test_only_what_the_median_needs_is_left(n, comparators):
    assert len(selection_network(n, (n - 1) // 2, n // 2)) == comparators
