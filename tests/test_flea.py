"""FLEA's distances, its filter and the rule made of both."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from test_weighting import Rows as Host

from msl.cluster import LocalExecutor
from msl.errors import DataError, PlanError
from msl.random import generator
from msl.trust.base import Held
from msl.trust.disparity import census, part, rows_of
from msl.trust.flea import Flea, flea_distances, flea_filter
from msl.types import Data, SourceInfo


def draw(key, rows=200):
    """Return X with the protected attribute in its last column, y and a."""
    rng = generator(key)
    a = (rng.random(rows) < 0.3).astype(np.int64)
    X = rng.standard_normal((rows, 3)) + 0.8 * a[:, None] * [0, 1, 0]
    y = (X[:, 0] + 0.3 * rng.standard_normal(rows) > 0).astype(np.int64)
    return np.column_stack([X, a]).astype(np.float32), y, a


def lie(source, name):
    X, y, a = (one.copy() for one in source)
    if name == "target":
        y = 1 - y
    elif name == "protected":
        a = 1 - a
    else:
        a = y.copy()
    X[:, -1] = a
    return X, y, a


@pytest.mark.parametrize("name", ["target", "protected", "copy"])
def test_manipulated_sources_are_left_out(name):
    sources = [draw(i) for i in range(5)]
    sources[1], sources[3] = lie(sources[1], name), lie(sources[3], name)
    found = flea_distances(sources)
    for matrix in found:
        assert (matrix == matrix.T).all()
        assert not matrix.diagonal().any()
        assert matrix.min() >= 0
        assert matrix.max() <= 1
    kept, _ = flea_filter(found.total)
    assert kept == (0, 2, 4)


def test_a_copy_is_at_distance_zero_and_order_does_not_matter():
    sources = [draw(0), draw(1), draw(0)]
    found = flea_distances(sources).total
    assert found[0, 2] == pytest.approx(0)
    order = [2, 1, 0]
    assert flea_distances([sources[i] for i in order]).disbalance == pytest.approx(
        flea_distances(sources).disbalance[np.ix_(order, order)]
    )


@pytest.mark.parametrize("kind", ["right", "wrong", "protected", "gap"])
def test_gradients(kind):
    rows = rows_of(*draw(3, 40), np.arange(40) % 3)
    w = generator(4).standard_normal(5)
    numeric = approx_fprime(w, lambda w: part(rows, kind, w)[0])
    assert part(rows, kind, w)[1] == pytest.approx(numeric, abs=1e-5)


def test_the_filter_counts_a_source_as_its_own_nearest():
    far = np.array([[0, 1, 4.0], [1, 0, 2], [4, 2, 0]])
    kept, statistic = flea_filter(far, 2)
    assert statistic.tolist() == [1, 1, 2]
    assert kept == (0, 1)
    assert flea_filter(np.zeros((4, 4)))[0] == (0, 1, 2)


@pytest.mark.parametrize(("n", "k"), [(4, 2), (5, 2), (3, 0), (3, 4)])
def test_half_of_the_sources_is_not_enough(n, k):
    with pytest.raises(PlanError, match="more than half"):
        flea_filter(np.zeros((n, n)), k)


def test_a_missing_group_and_other_values_are_refused():
    X, y, a = draw(0)
    with pytest.raises(DataError, match="source 1 has only rows of a = 1"):
        flea_distances([(X, y, a), (X, y, np.ones_like(a))])
    with pytest.raises(DataError, match="0 and 1 only"):
        flea_distances([(X, y + 1, a), (X, y, a)])
    with pytest.raises(DataError, match="needed, got"):
        flea_distances([(X, y, a[:-1])])


@pytest.mark.parametrize("rows", [3, 7, 49, 107])
def test_a_missing_group_is_told_in_spite_of_rounding(rows):
    X, y, _ = draw(0, rows)
    for a in (0, 1):
        told = census(rows_of(X, y, np.full(rows, a), np.linspace(0.1, 1, rows)))
        assert told.protected == a


def held(sources):
    host = Host({rank: Data(X, y) for rank, (X, y, _) in enumerate(sources)})
    return [
        Held(rank, SourceInfo(f"s{rank}", len(y), X.shape[1], (0, 1), ""), host, "local")
        for rank, (X, y, _) in enumerate(sources)
    ]


def test_the_rule_says_what_the_functions_say():
    sources = [draw(i, 120) for i in range(3)]
    sources[0] = lie(sources[0], "target")
    with LocalExecutor() as executor:
        report = Flea(protected=3).weigh(held(sources), executor)
    assert report.weights == (0.0, 1.0, 1.0)
    assert report.reasons[0].endswith("not among the 2 smallest")
    assert report.discrepancy == pytest.approx(flea_distances(sources).total / 3)


def test_the_rule_leaves_out_who_lacks_a_group_and_refuses_when_too_few_are_left():
    sources = [draw(i, 60) for i in range(3)]
    sources[1][0][:, 3] = 0
    with LocalExecutor() as executor:
        report = Flea(protected=3).weigh(held(sources), executor)
        assert report.weights == (1.0, 0.0, 1.0)
        assert "one protected group" in report.reasons[1]
        with pytest.raises(DataError, match="needs 3 sources"):
            Flea(protected=3, clean=3).weigh(held(sources), executor)
        with pytest.raises(PlanError, match="no column 4"):
            Flea(protected=4).weigh(held(sources), executor)
        with pytest.raises(PlanError, match="more than half"):
            Flea(protected=3, clean=1).weigh(held(sources), executor)
    with pytest.raises(PlanError, match="number of a column"):
        Flea(protected=-1)
