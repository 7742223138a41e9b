"""Discrepancies: exact ones against brute force, all others never above, whatever travels."""

import pickle
from collections import Counter
from itertools import pairwise
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from msl.cluster import LocalExecutor
from msl.cluster.dask import DaskExecutor
from msl.errors import DataError, PlanError
from msl.random import derive
from msl.trust.base import Held
from msl.trust.discrepancy import halves, linear, part, targets_of, thresholds
from msl.trust.learners import fitted, least_squares
from msl.trust.protocols import by_losses, by_moments, by_pairs
from msl.trust.ridge import fit, flipped, mixed, statistics
from msl.types import Data, SourceInfo

FEATURES = 3


class Rows:
    """As much of a host as a protocol sees."""

    def __init__(self, data):
        self.data = data


def hosted(executor, sources):
    """Sources dealt in turn to the places of an executor."""
    places, n = executor.places, len(sources)
    hosts = [
        executor.scatter(Rows({k: sources[k] for k in range(at, n, len(places))}), at=place)
        for at, place in enumerate(places)
    ]
    held = []
    for rank, data in enumerate(sources):
        classes = tuple(np.unique(data.y).tolist()) if data.y.dtype.kind == "i" else ()
        info = SourceInfo(f"s{rank}", len(data), data.X.shape[1], classes, "")
        held.append(Held(rank, info, hosts[rank % len(places)], places[rank % len(places)]))
    return held


def run(protocol, sources, **options):
    with LocalExecutor() as executor:
        return protocol(hosted(executor, sources), executor, **options)


def draw(seed, rows=150, lie=None, classes=2, features=FEATURES):
    """Noisy linear labels; lies: flipped labels, another rule, or one class only."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, features)).astype(np.float32)
    rule = X[:, 1] if lie == "other" else X[:, 0]
    score = rule + 0.3 * rng.standard_normal(rows)
    y = np.digitize(score, np.linspace(-0.6, 0.6, classes - 1) if classes > 2 else [0.0])
    if lie == "flip":
        y = (y + 1) % classes
    return Data(X, np.ones_like(y) if lie == "ones" else y)


def real(seed, lie=False, rows=150):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, FEATURES)).astype(np.float32)
    y = 40 + 5 * (X[:, 0] * (-1 if lie else 1) + 0.3 * rng.standard_normal(rows))
    return Data(X, y.astype(np.float32))


def risk_of(rule, data):
    weight = np.ones(len(data)) if data.weight is None else data.weight
    return np.average(rule(data.X) != data.y, weights=weight)


def brute_force(a, b):
    """The largest difference of risks over every cut there can be, in both senses."""
    values = np.unique(np.append(a.X, b.X)).astype(float)
    cuts = [values[0] - 1, *(sum(two) / 2 for two in pairwise(values)), values[-1] + 1]
    found = 0.0
    for cut in cuts:
        for sense in (0, 1):
            gap = [risk_of(lambda X: (X[:, 0] >= cut) == sense, data) for data in (a, b)]  # noqa: B023
            found = max(found, abs(gap[0] - gap[1]))
    return found


@st.composite
def one_feature(draw):
    """Few values, so that rows of both sources tie; some have weights."""
    rows = draw(st.integers(1, 8))
    x = draw(st.lists(st.integers(-3, 3), min_size=rows, max_size=rows))
    y = draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows))
    weight = draw(st.none() | st.lists(st.integers(1, 4), min_size=rows, max_size=rows))
    X = np.array(x, dtype=np.float32)[:, None]
    return Data(X, np.array(y), None if weight is None else np.array(weight, dtype=np.float32))


@given(one_feature(), one_feature(), one_feature())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_thresholds_are_the_supremum_and_a_semimetric(a, b, c):
    ab, bc, ac = thresholds(a, b), thresholds(b, c), thresholds(a, c)
    assert ab == pytest.approx(brute_force(a, b), abs=1e-12)
    assert ab == pytest.approx(thresholds(b, a), abs=1e-12)
    assert thresholds(a, a) == pytest.approx(0, abs=1e-12)
    assert 0 <= ab <= 1
    assert ac <= ab + bc + 1e-12


@given(one_feature(), one_feature())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_fit_exceeds_the_supremum(a, b):
    # Linear hypotheses of one feature are thresholds.
    most = thresholds(a, b) + 1e-12
    # Constant ones are among them.
    least = abs(np.average(a.y, weights=a.weight) - np.average(b.y, weights=b.weight)) - 1e-12
    assert least <= linear([a, b]).matrix[0, 1] <= most
    for learner in (stump, least_squares):
        assert least <= run(by_losses, [a, b], learner=learner).matrix[0, 1] <= most
        found = run(by_pairs, [a, b], learner=learner).matrix[0, 1]
        assert least <= found <= most
        if learner is stump:
            assert found == pytest.approx(most, abs=1e-9)


class Stump:
    def __init__(self, cut, sense):
        self.cut, self.sense = cut, sense

    def __call__(self, X):
        return ((X[:, 0] >= self.cut) == self.sense).astype(np.int64)


def stump(X, y, weight):
    """The threshold of least weighted error: minimises the 0/1 loss itself."""
    cuts = [*np.unique(X[:, 0]), np.inf]
    rules = [Stump(cut, sense) for cut in cuts for sense in (True, False)]
    return min(rules, key=lambda rule: np.average(rule(X) != y, weights=weight))


@pytest.mark.parametrize("classes", [2, 4])
def test_fits_from_moments_are_those_from_rows(classes):
    rng = np.random.default_rng(3)
    sources = []
    for number in range(2):
        X = rng.standard_normal((30 + 20 * number, 3)) * [1, 10, 0.1] + 20 * number
        sources.append(Data(X, rng.integers(0, classes, len(X)), rng.random(len(X))))
    targets = targets_of(sources)
    moments = [statistics(targets, data) for data in sources]

    def flip(source):
        """Each class gives way to all others in equal parts."""
        if classes == 2:
            return targets.code(1 - source.y)
        return 2 * (1 - np.eye(classes)[source.y]) / (classes - 1) - 1

    def by_rows(weights, signs):
        share = np.concatenate(
            [part * s.weight / s.weight.sum() for part, s in zip(weights, sources, strict=True)]
        )
        X = np.concatenate([np.column_stack((s.X, np.ones(len(s)))) for s in sources])
        t = [(targets.code(s.y), flip(s))[k < 0] for k, s in zip(signs, sources, strict=True)]
        root = np.sqrt(share)[:, None]
        return np.linalg.lstsq(X * root, np.concatenate(t) * root)[0]

    for found, expected in (
        (flipped(moments, np.array([[0, 1]])), by_rows((0.5, 0.5), (1, -1))),
        (fit(mixed(moments, (0.3, 0.7))), by_rows((0.3, 0.7), (1, 1))),
        (fit(moments[1]), by_rows((0, 1), (1, 1))),
    ):
        slope = [part - part[:, :1] * (classes > 2) for part in (found.slope[0], expected[:-1])]
        assert slope[0] == pytest.approx(slope[1], rel=1e-3, abs=1e-5)
        # What all scores have in common decides nothing.
        apart = [offset - offset[:1] for offset in (found.offset[0], expected[-1])]
        assert apart[0] == pytest.approx(apart[1], rel=1e-3, abs=1e-4)
        if classes == 2:
            assert found.offset[0] == pytest.approx(expected[-1], rel=1e-3, abs=1e-4)


def test_linear_finds_liars_of_every_kind():
    honest = [draw(seed) for seed in range(6)]
    for lie in ("flip", "other", "ones"):
        found = linear([*honest, draw(9, lie=lie)]).matrix
        assert found[:6, :6].max() < 0.3, lie
        assert found[6, :6].min() > 0.35, lie


def test_the_matrix_is_a_semimetric_and_follows_its_sources():
    sources = [draw(0), draw(1), draw(2, lie="flip"), draw(3, rows=40), draw(4, lie="ones")]
    found = linear(sources)
    for values in (found.matrix, found.error):
        assert np.array_equal(values, values.T)
        assert (np.diagonal(values) == 0).all()
        assert (values >= 0).all()
    assert found.matrix.max() <= 1
    order = [3, 0, 4, 2, 1]
    turned = linear([sources[k] for k in order]).matrix
    assert turned == pytest.approx(found.matrix[np.ix_(order, order)], abs=0.02)


def test_a_difference_is_that_of_one_hypothesis_on_both_sources():
    a, b = draw(0), draw(1, lie="other")
    hypothesis = np.array([1.0, -1.0, 0.0])  # right on one, wrong on the other
    by_hand = abs(
        risk_of(lambda X: hypothesis @ X.T > 0, a) - risk_of(lambda X: hypothesis @ X.T > 0, b)
    )
    assert linear([a, b]).matrix[0, 1] == pytest.approx(by_hand, abs=0.05)


@pytest.mark.parametrize("classes", [3, 5])
def test_more_than_two_classes(classes):
    honest = [draw(seed, classes=classes) for seed in range(3)]
    liar = draw(8, lie="flip", classes=classes)
    for found in (
        linear([*honest, liar]),
        run(by_losses, [*honest, liar]),
        run(by_pairs, [*honest, liar], learner=least_squares),
    ):
        assert found.matrix[:3, :3].max() < 0.3
        assert found.matrix[3, :3].min() > 0.45


def test_real_targets_in_any_unit():
    sources = [real(0), real(1), real(2), real(3, lie=True)]
    for found in (
        linear(sources),
        run(by_losses, sources),
        run(by_pairs, sources, learner=least_squares),
        run(by_moments, sources),
    ):
        assert found.matrix[:3, :3].max() < 0.15
        assert found.matrix[3, :3].min() > 0.3
    milli = [Data(s.X * 1000 + 7, s.y * 1000) for s in sources]
    assert linear(milli).matrix == pytest.approx(linear(sources).matrix, abs=0.01)
    # One source cannot decide the scale in which all are compared.
    wild = Data(sources[0].X, sources[0].y * 1000)
    assert linear([*sources, wild]).matrix[:4, :4] == pytest.approx(linear(sources).matrix, abs=0.1)


def test_weights_count_as_copies():
    a, b = draw(0), draw(1, lie="other")
    weight = np.random.default_rng(5).integers(0, 3, len(a)).astype(np.float32)
    weighed = Data(a.X, a.y, weight)
    copied = Data(np.repeat(a.X, weight.astype(int), 0), np.repeat(a.y, weight.astype(int)))
    assert linear([weighed, b]).matrix == pytest.approx(linear([copied, b]).matrix)


def test_sources_of_one_class_and_constant_features():
    X = np.ones((20, 2), dtype=np.float32)
    zeros, ones = np.zeros(20, dtype=int), np.ones(20, dtype=int)
    half = np.repeat([0, 1], 10)
    sources = [Data(X, zeros), Data(X, ones), Data(X, half), Data(X, zeros)]
    expected = np.array([[0, 1, 0.5, 0], [1, 0, 0.5, 1], [0.5, 0.5, 0, 0.5], [0, 1, 0.5, 0]])
    for found in (
        linear(sources),
        run(by_losses, sources, learner=fitted(LogisticRegression())),
        run(by_pairs, sources, learner=fitted(LogisticRegression())),
    ):
        assert found.matrix == pytest.approx(expected)
    apart = [Data(X * side, zeros) for side in (-1, 1)]  # a class that nobody has tells them
    assert linear(apart).matrix == pytest.approx(1 - np.eye(2))
    three = [Data(X, y) for y in (zeros, ones, ones + 1)]
    assert linear(three).matrix == pytest.approx(1 - np.eye(3))


def test_the_error_is_the_spread_of_repetitions():
    X = np.zeros((400, 1), dtype=np.float32)
    rng = np.random.default_rng(0)
    found = [
        linear([Data(X, rng.integers(0, 2, 400)), Data(X, (rng.random(400) < 0.9).astype(int))])
        for _ in range(200)
    ]
    spread = np.std([one.matrix[0, 1] for one in found])
    assert np.mean([one.error[0, 1] for one in found]) == pytest.approx(spread, rel=0.15)


KINDS = {
    "two classes": [draw(0), draw(1, rows=40), draw(2, lie="flip"), draw(3, lie="ones"), draw(4)],
    "three classes": [draw(seed, rows=60, classes=3) for seed in range(4)],
    "real targets": [real(0), real(1, lie=True), real(2, rows=33)],
}
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_moments_give_what_rows_give(kind):
    found, expected = run(by_moments, KINDS[kind]), linear(KINDS[kind])
    assert found.null is None
    assert found.matrix == pytest.approx(expected.matrix, abs=1e-12)
    assert found.error == pytest.approx(expected.error, abs=1e-12)


def test_the_loss_level_protocol_tells_liars_with_less_noise():
    sources = [draw(seed, features=8) for seed in range(6)]
    for lie in ("flip", "other", "ones"):
        both = [*sources, draw(9, lie=lie, features=8)]
        losses, moments = run(by_losses, both).matrix, run(by_moments, both).matrix
        honest = np.triu_indices(6, 1)
        assert losses[honest].mean() < 0.75 * moments[honest].mean()
        assert losses[6, :6].min() > 0.9 * moments[6, :6].min()
    assert (losses > moments).any()
    assert (losses < moments).any()


@kinds
def test_places_do_not_matter(kind, cluster):
    for protocol, options in (
        (by_moments, {}),
        (by_losses, {}),
        (by_losses, {"learner": fitted(Ridge() if kind == "real targets" else GaussianNB())}),
        (by_pairs, {"learner": least_squares}),
    ):
        expected = run(protocol, KINDS[kind], splits=3, seed=4, **options)
        with DaskExecutor(cluster) as executor:
            found = protocol(hosted(executor, KINDS[kind]), executor, splits=3, seed=4, **options)
        assert found.matrix == pytest.approx(expected.matrix, abs=1e-12)
        assert found.error == pytest.approx(expected.error, abs=1e-12)
        assert found.null == pytest.approx(expected.null, abs=1e-12)


class TwoPlaces(LocalExecutor):
    """Counts calls, and what leaves a place."""

    places = ("a", "b")

    def __init__(self):
        super().__init__()
        self.calls, self.messages = Counter(), []

    def submit(self, fn, *args, at=None):
        self.calls[at] += 1
        found = super().submit(fn, *args, at=at)
        self.messages.append(found)
        return found


def arrays_in(value):
    """All arrays inside of an answer."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(part)
    elif hasattr(value, "__dict__"):
        yield from arrays_in(vars(value))
    elif hasattr(value, "args"):
        yield from arrays_in([value.args, value.keywords])


@pytest.mark.parametrize(("protocol", "calls"), [(by_moments, 3), (by_losses, 3)])
def test_calls_are_per_place_and_no_row_leaves(protocol, calls):
    sources = [draw(seed, rows=61) for seed in range(12)]
    with TwoPlaces() as executor:
        protocol(hosted(executor, sources), executor, splits=2)
    assert executor.calls == {"a": calls, "b": calls}
    shapes = {array.shape for array in arrays_in(executor.messages)}
    assert shapes
    assert not any(61 in shape or 30 in shape for shape in shapes)


def test_rows_of_the_smaller_source_travel():
    sources = [draw(0, rows=61), draw(1, rows=40), draw(2, rows=50), draw(3, rows=45)]
    with TwoPlaces() as executor:
        held = hosted(executor, sources)
        executor.messages.clear()
        by_pairs(held, executor, learner=least_squares)
    sent = [set(message) for message in executor.messages if not any(map(is_pair, message))]
    # Pairs of 0 and 2 at "a", among them those with 1 and 3; (1, 3) alone at "b".
    assert sent == [{0, 2}, {1, 3}, set(), {1, 3}]


def is_pair(key):
    return isinstance(key, tuple)


def test_the_null_is_of_halves_of_one_source():
    sources = [draw(0, rows=100), draw(1, rows=31, lie="flip")]
    found = run(by_moments, sources, splits=4, seed=7)
    assert found.null.shape == (4, 2)
    both = [part(sources[1], rows) for rows in halves(31, derive(7, "halves", 2, 1))]
    again = linear(both).matrix[0, 1]
    assert found.null[2, 1] == pytest.approx(again)
    assert [len(half) for half in both] == [15, 16]
    assert sorted(np.concatenate(halves(31, 0))) == list(range(31))
    # A liar is like itself.
    assert found.null[:, 1].max() < found.matrix[0, 1]


@pytest.mark.parametrize(
    ("protocol", "options"),
    [(by_moments, {}), (by_losses, {}), (by_pairs, {"learner": least_squares})],
)
@pytest.mark.parametrize("features", [2, 8])
def test_halves_of_honest_sources_tell_what_chance_does(protocol, options, features):
    sources = [draw(seed, features=features) for seed in range(20)]
    found = run(protocol, sources, splits=10, **options)
    pairs = found.matrix[np.triu_indices(20, 1)]
    # Of half the rows: the square root of two more.
    assert found.null.mean() / pairs.mean() == pytest.approx(2**0.5, rel=0.15)
    assert np.quantile(found.null, 0.9) > np.quantile(pairs, 0.9)


@pytest.mark.parametrize("estimator", [LogisticRegression(), KNeighborsClassifier(9)])
def test_estimators_as_learners(estimator):
    sources = [draw(0), draw(1), draw(2), draw(3, lie="flip")]
    learner = pickle.loads(pickle.dumps(fitted(estimator)))
    for protocol in (by_losses, by_pairs):
        found = run(protocol, sources, learner=learner).matrix
        assert found[3, :3].min() > 1.5 * found[:3, :3].max()
    first = learner(sources[0].X, sources[0].y, np.ones(150))
    before = first(sources[0].X)
    learner(sources[3].X, sources[3].y, np.ones(150))
    assert np.array_equal(first(sources[0].X), before)


class Weighs:
    """An estimator that keeps what it was fitted to."""

    seen = ()

    def fit(self, X, y, sample_weight=None):
        Weighs.seen = (y, sample_weight)

    def predict(self, X):
        return np.zeros((len(X), 1), dtype=int)


def test_both_sources_weigh_the_same():
    small, large = draw(0, rows=20), draw(1, rows=100, classes=3)
    run(by_pairs, [small, large], learner=fitted(Weighs()))
    y, weight = Weighs.seen  # of the fit that is right on the second
    assert len(y) == 100 + 2 * 20
    assert weight.mean() == pytest.approx(1)
    assert weight[100:].sum() == pytest.approx(weight[:100].sum())
    copies = y[100:].reshape(20, 2)
    assert (copies != small.y[:, None]).all()
    assert (copies[:, 0] != copies[:, 1]).all()


def test_what_is_refused():
    a, other = draw(0), draw(1, features=2)
    nothing = Data(a.X[:0], a.y[:0])
    for ask in (linear, lambda sources: run(by_moments, sources)):
        with pytest.raises(DataError, match="sources without rows"):
            ask([a, nothing])
        with pytest.raises(DataError, match="must have the 3 features"):
            ask([a, other])
        with pytest.raises(DataError, match="all have class numbers or all have real targets"):
            ask([a, real(0)])
    with pytest.raises(DataError, match="can be halved"):
        run(by_moments, [a, draw(1, rows=1)], splits=1)
    with pytest.raises(PlanError, match="how often"):
        run(by_losses, [a], splits=-1)
    with pytest.raises(DataError, match="one feature and labels 0 or 1"):
        thresholds(a, a)
    with pytest.raises(DataError, match="one label per row"):
        run(by_losses, [a, draw(1)], learner=lambda *_: np.ravel)


@pytest.mark.parametrize("n", [1, 2])
def test_few_sources(n):
    sources = [draw(0), draw(1, lie="flip")][:n]
    for protocol, options in (
        (by_moments, {}),
        (by_losses, {}),
        (by_pairs, {"learner": least_squares}),
    ):
        found = run(protocol, sources, splits=2, **options)
        assert found.matrix.shape == found.error.shape == (n, n)
        assert found.null.shape == (2, n)
        assert (found.matrix > 0.7).sum() == (2 if n == 2 else 0)


def test_a_hundred_sources_take_seconds():
    sources = [draw(seed, rows=200, features=20) for seed in range(100)]
    start = process_time()
    linear(sources)
    assert process_time() - start < 10
