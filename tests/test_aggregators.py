"""Every aggregator keeps the contract, equals its slow oracle, and breaks when theory says so."""

import pickle

import numba
import numpy as np
import pytest
import rule_oracles as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from msl.aggregators import AGGREGATORS, Aggregator, GeometricMedian, Mean, Median, TrimmedMean
from msl.aggregators import make as make_aggregator
from msl.aggregators.kept import kept_share
from msl.aggregators.linear import gram
from msl.errors import DataError, PlanError, UnknownNameError
from msl.parts import describe

SAMPLES: list[Aggregator] = [
    Mean(),
    Median(),
    TrimmedMean(f=0),
    TrimmedMean(f=2),
    GeometricMedian(),
]
every = pytest.mark.parametrize("rule", SAMPLES, ids=repr)
weighted = pytest.mark.parametrize("rule", [r for r in SAMPLES if r.weighted], ids=repr)
robust = pytest.mark.parametrize("rule", [r for r in SAMPLES if r.tolerates(12)], ids=repr)
Rows = NDArray[np.float32]


def cloud(n: int = 12, d: int = 40, seed: int = 5) -> Rows:
    return np.random.default_rng(seed).standard_normal((n, d), np.float32)


def given_of(rule: Aggregator, rows: Rows, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return rule.aggregate(rows, weights, rule.init(*rows.shape)).given


@st.composite
def cases(draw: st.DrawFn) -> tuple[Rows, NDArray[np.float64]]:
    """Rows of small halves, so that ties and equal rows are common, and weights."""
    # A few n only: the order kernels are compiled anew for each.
    n, d = draw(st.sampled_from([1, 2, 5, 8, 12])), draw(st.integers(1, 6))
    rows = draw(arrays(np.int8, (n, d), elements=st.integers(-6, 6))) / 2
    weights = draw(arrays(np.float64, n, elements=st.sampled_from([0.5, 1.0, 3.0])))
    return rows.astype(np.float32), weights


def test_every_member_has_a_sample() -> None:
    assert {type(rule) for rule in SAMPLES} == set(AGGREGATORS.values())
    assert all(AGGREGATORS[rule.name] is type(rule) for rule in SAMPLES)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_equals_the_slow_rules(case: tuple[Rows, NDArray[np.float64]]) -> None:
    rows, weights = case
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(Mean()(rows, weights), slow.mean(exact, weights), atol=1e-6)
    np.testing.assert_array_equal(Median()(rows, weights), slow.median(exact))
    f = len(rows) // 4
    trimmed = TrimmedMean(f)(rows, weights)
    np.testing.assert_allclose(trimmed, slow.trimmed_mean(exact, f), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_no_point_is_nearer_to_all_rows(case: tuple[Rows, NDArray[np.float64]]) -> None:
    rows, weights = case[0].astype(np.float64), case[1]
    found = GeometricMedian()(case[0], weights).astype(np.float64)
    best = slow.total_distance(slow.geometric_median(rows, weights), rows, weights)
    # The point itself need not be unique; its total distance is. The slack is for a row on the
    # verge of being the answer, near which Weiszfeld's steps gain only 1 / steps.
    assert slow.total_distance(found, rows, weights) <= best * 1.01 + 1e-4


def test_the_geometric_median_of_a_cloud_is_the_slow_one() -> None:
    rows, weights = cloud(), np.linspace(1, 3, 12)
    expected = slow.geometric_median(rows.astype(np.float64), weights)
    np.testing.assert_allclose(GeometricMedian()(rows, weights), expected, atol=2e-6)


def test_the_geometric_median_leaves_a_row_it_starts_on() -> None:
    corner = np.array([[0, 0], [0, 1], [1, 0]], np.float32)  # the middle is a row, not the answer
    np.testing.assert_allclose(GeometricMedian()(corner), [0.211325, 0.211325], atol=1e-5)


@every
def test_the_shorthand_is_the_aggregate(rule: Aggregator) -> None:
    rows, weights = cloud(), np.linspace(1, 2, 12)
    whole = rule.aggregate(rows, weights, rule.init(*rows.shape))
    assert whole.vector.dtype == np.float32
    assert whole.vector.shape == (40,)
    assert whole.vector.tobytes() == rule(rows, weights).tobytes()


@every
def test_rows_stay_as_they_are(rule: Aggregator) -> None:
    rows = cloud()
    rule(rows)
    np.testing.assert_array_equal(rows, cloud())


@every
def test_a_single_or_repeated_row_is_the_answer(rule: Aggregator) -> None:
    row = cloud(1)
    for n in (1, 2, 5, 8):
        if n > 2 * rule.tolerates(n):
            np.testing.assert_allclose(rule(np.repeat(row, n, axis=0)), row[0], rtol=1e-6)


@every
@pytest.mark.parametrize("d", [0, 1])
def test_short_rows(rule: Aggregator, d: int) -> None:
    assert rule(cloud(5, d)).shape == (d,)


@every
def test_the_order_of_rows_does_not_matter(rule: Aggregator) -> None:
    rows, weights = cloud(), np.linspace(1, 3, 12)
    order = np.random.default_rng(1).permutation(12)
    moved = rule(rows[order], weights[order])
    np.testing.assert_allclose(moved, rule(rows, weights), atol=2e-6)
    shares = given_of(rule, rows[order], weights[order])
    np.testing.assert_allclose(shares, given_of(rule, rows, weights)[order], atol=2e-6)


@every
@pytest.mark.parametrize("scale", [2.0**-40, 2.0, 2.0**20])
def test_a_change_of_units_changes_the_answer_likewise(rule: Aggregator, scale: float) -> None:
    rows, shift = cloud(), cloud(1)
    expected = rule(rows)
    np.testing.assert_allclose(rule(rows + shift), expected + shift[0], atol=2e-6)
    np.testing.assert_allclose(rule(rows * np.float32(scale)) / scale, expected, atol=2e-6)
    np.testing.assert_allclose(rule(-rows), -expected, atol=2e-6)


@weighted
def test_a_whole_weight_is_a_repeated_row(rule: Aggregator) -> None:
    rows, weights = cloud(), np.arange(12) % 3 + 1
    repeated = rule(np.repeat(rows, weights, axis=0))
    np.testing.assert_allclose(rule(rows, weights), repeated, atol=5e-6)
    np.testing.assert_allclose(rule(rows, 10.0 * weights), rule(rows, weights), atol=1e-6)


@pytest.mark.parametrize("rule", [r for r in SAMPLES if not r.weighted], ids=repr)
def test_a_rule_without_weights_does_not_read_them(rule: Aggregator) -> None:
    assert rule(cloud(), np.arange(12) + 1.0).tobytes() == rule(cloud()).tobytes()


def attacked(f: int, size: float) -> tuple[Rows, Rows]:
    """Return a cloud whose first f rows lie far away, and the honest rest."""
    rows = cloud()
    rows[:f] = np.float32(size)
    return rows, rows[f:]


@pytest.mark.parametrize("rule", [Median(), TrimmedMean(f=2), TrimmedMean(f=5)], ids=repr)
@pytest.mark.parametrize("size", [1e6, -1e20, 1e38])
def test_a_coordinate_stays_between_the_honest_ones(rule: Aggregator, size: float) -> None:
    rows, honest = attacked(rule.tolerates(12), size)
    found = rule(rows)
    assert (found >= honest.min(axis=0)).all()
    assert (found <= honest.max(axis=0)).all()


@pytest.mark.parametrize("f", [1, 3, 5])
@pytest.mark.parametrize("size", [1e6, -1e20, 1e38])
def test_the_geometric_median_stays_in_its_ball(f: int, size: float) -> None:
    # Minsker, Bernoulli 2015, Lemma 2.1, around any centre; a = f / n.
    rows, honest = attacked(f, size)
    centre, a = honest.mean(axis=0), f / 12
    radius = np.linalg.norm(honest - centre, axis=1).max()
    distance = np.linalg.norm(GeometricMedian()(rows) - centre)
    assert distance <= (1 - a) / np.sqrt(1 - 2 * a) * radius


@pytest.mark.parametrize("far", [1.0, 1e6, 1e38])
def test_rows_that_agree_outvote_any_others(far: float) -> None:
    rows = np.float32([[2, 3]] * 4 + [[far, -far]] * 3)
    np.testing.assert_array_equal(GeometricMedian()(rows), [2, 3])
    weights = np.array([1, 1, 1, 1, 3, 3, 3.0])  # the three hold the majority of it
    np.testing.assert_allclose(GeometricMedian()(rows, weights), rows[-1], rtol=1e-5)


@pytest.mark.parametrize("f", [1, 5])
def test_one_corrupted_row_moves_the_mean_anywhere(f: int) -> None:
    rows = cloud()
    rows[:f] = 1e6
    assert Mean().tolerates(12) == 0
    assert (Mean()(rows) > 5e4).all()


@robust
def test_half_of_the_rows_can_move_it_anywhere(rule: Aggregator) -> None:
    rows = cloud()
    rows[: rule.tolerates(12) + 2] = 1e6
    assert np.abs(rule(rows)).max() > 1e4


@every
@pytest.mark.parametrize("d", [1, 40, 5000])
def test_shares_sum_to_one(rule: Aggregator, d: int) -> None:
    shares = given_of(rule, cloud(12, d), np.linspace(1, 3, 12))
    assert shares.shape == (12,)
    assert shares.dtype == np.float64
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1, abs=1e-12)


@robust
def test_corrupted_rows_get_a_small_share(rule: Aggregator) -> None:
    rows = cloud(12, 5000)
    rows[:2] = 1e6
    assert given_of(rule, rows, np.ones(12))[:2].max() < 1e-4


def test_the_mean_gives_the_weights_and_the_geometric_median_what_it_sums() -> None:
    rows, weights = cloud(), np.linspace(1, 3, 12)
    np.testing.assert_allclose(given_of(Mean(), rows, weights), weights / weights.sum())
    shares = given_of(GeometricMedian(), rows, weights)
    np.testing.assert_allclose(shares @ rows, GeometricMedian()(rows, weights), atol=1e-6)


def test_kept_share_counts_kept_coordinates() -> None:
    rows = np.array([[0, 2, 1], [1, 1, 1], [2, 0, 5]], np.float32)
    # Middle values: row 1, row 1, and rows 0 and 1 that tie.
    np.testing.assert_allclose(kept_share(rows, 1, 1), [0.25, 0.75, 0])


@pytest.mark.parametrize(("n", "d"), [(1, 1), (5, 0), (12, 4000), (130, 100)])
def test_gram_is_the_inner_products_around_the_centre(n: int, d: int) -> None:
    rows, centre = cloud(n, d) + np.float32(100), np.full(d, 99.5, np.float32)
    exact = rows.astype(np.float64) - centre
    np.testing.assert_allclose(gram(rows, centre), exact @ exact.T, rtol=1e-12, atol=1e-12)


def test_gram_has_equal_bits_whatever_the_threads_of_blas() -> None:
    rows, found = cloud(100, 20_000), set()
    for count in (1, 2):
        with threadpool_limits(count):
            found.add(gram(rows, rows[0]).tobytes())
    assert len(found) == 1


@every
def test_a_row_with_nan_is_named(rule: Aggregator) -> None:
    rows = cloud()
    rows[7, 3] = np.nan
    with pytest.raises(DataError, match="row 7 holds NaN or Inf"):
        rule(rows)


@every
@pytest.mark.parametrize(
    ("rows", "weights", "needed"),
    [
        (np.zeros(3), None, "shape"),
        (np.zeros((0, 3)), None, "n >= 1"),
        (np.zeros((5, 3)), np.ones(4), r"shape \(5,\), got \(4,\)"),
        (np.zeros((5, 3)), np.array([1.0, 1, 1, 1, -1]), "non-negative"),
        (np.zeros((5, 3)), np.zeros(5), "not all zero"),
    ],
)
def test_rows_and_weights_that_do_not_fit(
    rule: Aggregator, rows: Rows, weights: NDArray[np.float64] | None, needed: str
) -> None:
    with pytest.raises(DataError, match=needed):
        rule(rows, weights)


def test_too_many_to_trim_names_the_largest() -> None:
    TrimmedMean(f=4).check(9)
    with pytest.raises(PlanError, match=r"f=4 needs more than 8 rows, got 8; .* is 3"):
        TrimmedMean(f=4).check(8)
    with pytest.raises(PlanError, match="f=4"):
        TrimmedMean(f=4)(cloud(8))


def test_tolerates() -> None:
    found = {rule: [rule.tolerates(n) for n in (1, 2, 3, 20)] for rule in SAMPLES}
    assert found == {
        Mean(): [0, 0, 0, 0],
        Median(): [0, 0, 1, 9],
        TrimmedMean(f=0): [0, 0, 0, 0],
        TrimmedMean(f=2): [2, 2, 2, 2],
        GeometricMedian(): [0, 0, 1, 9],
    }


@every
def test_as_many_bits_with_one_thread_as_with_two(rule: Aggregator) -> None:
    rows = cloud(30, 20_000)
    threads, found = numba.get_num_threads(), set()
    try:
        for count in (1, 2):
            numba.set_num_threads(min(count, threads))
            with threadpool_limits(count):
                made = rule.aggregate(rows, np.linspace(1, 3, 30), rule.init(*rows.shape))
                found.add((made.vector.tobytes(), made.given.tobytes()))
    finally:
        numba.set_num_threads(threads)
    assert len(found) == 1


@every
def test_a_rule_travels_and_describes_itself(rule: Aggregator) -> None:
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert make_aggregator(**describe(rule)) == rule


@pytest.mark.parametrize(
    ("name", "arguments", "needed"),
    [
        ("trimmed_mean", {}, "'f'"),
        ("trimmed_mean", {"f": -1}, "f >= 0, got -1"),
        ("trimmed_mean", {"f": 0.2}, "f >= 0, got 0.2"),
        ("median", {"f": 1}, "it takes: no arguments"),
        ("geometric_median", {"iterations": 0}, "iterations >= 1, got 0"),
        ("geometric_median", {"tolerance": 0.0}, "0 < tolerance < 1, got 0.0"),
        ("geometric_median", {"smoothing": 2.0}, "0 < smoothing < 1, got 2.0"),
    ],
)
def test_impossible_arguments_are_refused(
    name: str, arguments: dict[str, object], needed: str
) -> None:
    with pytest.raises(PlanError, match=needed):
        make_aggregator(name, **arguments)


def test_an_unknown_rule_is_told_the_names() -> None:
    with pytest.raises(UnknownNameError, match="mean, median, trimmed_mean, geometric_median"):
        make_aggregator("average")
