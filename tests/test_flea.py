"""FLEA's distances, its filter and the rule made of both."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit
from test_weighting import Rows as Host

from msl.cluster import LocalExecutor
from msl.errors import DataError, PlanError
from msl.random import generator
from msl.trust.base import Held
from msl.trust.descent import descend
from msl.trust.disparity import census, part, rows_of
from msl.trust.flea import Flea, flea_distances
from msl.trust.quantile import quantile_filter
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
    kept, _ = quantile_filter(found.total)
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
    w = generator(4).standard_normal((2, 5))
    value, slope = part(rows, kind, w)
    for k in range(2):
        numeric = approx_fprime(w[k], lambda one: part(rows, kind, one[None])[0][0])
        assert value[k] == pytest.approx(part(rows, kind, w[k : k + 1])[0][0])
        assert slope[k] == pytest.approx(numeric, abs=1e-5)


def test_searches_in_step_find_what_each_finds_alone():
    steep = np.array([1.0, 10.0, 100.0])
    asked = []

    def rosenbrock(on, w):
        asked.append(len(on))
        u, v, c = w[:, 0], w[:, 1], steep[on]
        curve = v - u**2
        slope = np.stack([2 * (u - 1) - 4 * c * u * curve, 2 * c * curve], axis=1)
        return (1 - u) ** 2 + c * curve**2, slope

    start = np.array([[-1.2, 1.0]] * 3)
    found = descend(rosenbrock, start)
    assert found == pytest.approx(np.ones((3, 2)), abs=1e-3)
    assert asked[0] == 3
    assert asked[-1] < 3
    assert len(asked) < 100
    alone = descend(lambda on, w: rosenbrock(on + 2, w), start[2:])
    assert alone == pytest.approx(found[2:], abs=1e-12)


def told_apart(ours, theirs, disparity):
    """What scipy finds for one pair, with the objectives written out."""
    X = np.concatenate([ours[0], theirs[0]]).astype(float)
    X = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(len(X))])
    m = len(ours[1])
    (U, y, a), (V, z, b) = (X[:m], *ours[1:]), (X[m:], *theirs[1:])

    def loss(score, target):
        return np.logaddexp(0, score) - target * score

    def opposed(w):
        return loss(U @ w, y).mean() + loss(V @ w, 1 - z).mean()

    def telling(w):
        each = loss(U @ w, a)
        return (each[a == 1].mean() + each[a == 0].mean()) / 2

    def unfair(w):
        p = expit(V @ w)
        gap = p[b == 1].mean() - p[b == 0].mean()
        return telling(w) + gap**2 / np.sqrt(gap**2 + 1e-8)

    def gap(said, group):
        return abs(said[group == 1].mean() - said[group == 0].mean())

    zero = np.zeros(X.shape[1])
    if not disparity:
        w = minimize(opposed, zero).x
        return abs(((U @ w > 0) != y).mean() - ((V @ w > 0) != z).mean())
    start = minimize(lambda w: telling(w) + w[:-1] @ w[:-1] / (2 * m), zero).x
    w = minimize(unfair, start, method="L-BFGS-B", options={"maxfun": 10**5}).x
    return abs(gap(U @ w > 0, a) - gap(V @ w > 0, b))


def test_distances_are_as_large_as_those_of_a_search_for_each_pair():
    gains = []
    for key, name in enumerate(["target", "protected", "copy"]):
        sources = [draw(10 * key + i, 100) for i in range(3)]
        sources[1] = lie(sources[1], name)
        # Without the attribute among the features, so that no fit is perfect and endless.
        sources = [(X[:, :3], y, a) for X, y, a in sources]
        found = flea_distances(sources)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            pair = sources[i], sources[j]
            assert found.discrepancy[i, j] >= told_apart(*pair, False) - 0.01
            oracle = max(told_apart(*pair, True), told_apart(*pair[::-1], True))
            gains.append(found.disparity[i, j] - oracle)
    # The search of a disparity is not convex: either may end in the better valley.
    assert np.mean(gains) >= -0.01


def test_the_filter_counts_a_source_as_its_own_nearest():
    far = np.array([[0, 1, 4.0], [1, 0, 2], [4, 2, 0]])
    kept, statistic = quantile_filter(far, 2)
    assert statistic.tolist() == [1, 1, 2]
    assert kept == (0, 1)
    assert quantile_filter(np.zeros((4, 4)))[0] == (0, 1, 2)


@pytest.mark.parametrize(("n", "k"), [(4, 2), (5, 2), (3, 0), (3, 4)])
def test_half_of_the_sources_is_not_enough(n, k):
    with pytest.raises(PlanError, match="more than half"):
        quantile_filter(np.zeros((n, n)), k)


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


def held(sources, places=("local",)):
    host = Host({rank: Data(X, y) for rank, (X, y, _) in enumerate(sources)})
    return [
        Held(
            rank,
            SourceInfo(f"s{rank}", len(y), X.shape[1], (0, 1), ""),
            host,
            places[rank % len(places)],
        )
        for rank, (X, y, _) in enumerate(sources)
    ]


class Counting(LocalExecutor):
    """Two places; notes for every gather how many calls each got since the last one."""

    places = ("one", "two")

    def __init__(self):
        super().__init__()
        self.calls, self.sent = [], []

    def submit(self, fn, *args, at=None):
        self.calls.append(at)
        return super().submit(fn, *args, at=at)

    def gather(self, handles):
        self.sent.append({place: self.calls.count(place) for place in self.places})
        self.calls = []
        return super().gather(handles)


def test_the_rule_says_what_the_functions_say():
    sources = [draw(i, 120) for i in range(3)]
    sources[0] = lie(sources[0], "target")
    with Counting() as executor:
        report = Flea(protected=3).weigh(held(sources, executor.places), executor)
    assert report.weights == (0.0, 1.0, 1.0)
    assert report.reasons[0].endswith("not among the 2 smallest")
    assert report.discrepancy == pytest.approx(flea_distances(sources).total / 3)


def test_a_step_of_all_searches_is_one_message_to_a_place():
    gathers = {}
    for n in (2, 6):
        with Counting() as executor:
            Flea(protected=3).weigh(
                held([draw(i, 80) for i in range(n)], executor.places), executor
            )
        # The first gather also has each place prepare its rows.
        assert all(max(sent.values()) == 1 for sent in executor.sent[1:])
        gathers[n] = len(executor.sent)
    # 15 pairs instead of one, each of which takes as long as it takes.
    assert gathers[6] < 4 * gathers[2]
    assert gathers[6] < 400


def test_the_rule_leaves_out_who_lacks_a_group_and_refuses_when_too_few_are_left():
    sources = [draw(i, 60) for i in range(3)]
    sources[1][0][:, 3] = 0
    apart = flea_distances(sources[::2]).total[0, 1] / 3
    with Counting() as executor:
        report = Flea(protected=3).weigh(held(sources, executor.places), executor)
        assert report.weights == (1.0, 0.0, 1.0)
        assert "one protected group" in report.reasons[1]
        assert report.discrepancy == pytest.approx(
            np.array([[0, 1, apart], [1, 0, 1], [apart, 1, 0]])
        )
        with pytest.raises(DataError, match="needs 3 sources"):
            Flea(protected=3, clean=3).weigh(held(sources), executor)
        with pytest.raises(PlanError, match="no column 4"):
            Flea(protected=4).weigh(held(sources), executor)
        with pytest.raises(PlanError, match="more than half"):
            Flea(protected=3, clean=1).weigh(held(sources), executor)
    with pytest.raises(PlanError, match="number of a column"):
        Flea(protected=-1)
