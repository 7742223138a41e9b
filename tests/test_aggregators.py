"""Every aggregator keeps the contract, equals its slow oracle, and breaks when theory says so."""

import pickle
import warnings
from collections.abc import Iterable

import numba
import numpy as np
import pytest
import rule_oracles as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from rule_samples import SAMPLES
from threadpoolctl import threadpool_limits

from msl.aggregators import (
    AGGREGATORS,
    AdaptiveRobustClipping,
    Aggregator,
    Bucketing,
    Bulyan,
    CenteredClipping,
    Clipping,
    GeometricMedian,
    Mean,
    Median,
    Monna,
    SignMajority,
    TrimmedMean,
    Zeno,
)
from msl.aggregators import make as make_aggregator
from msl.aggregators.kept import kept_share, near_share, weighted_share
from msl.errors import DataError, PlanError, UnknownNameError
from msl.parts import describe

Rows = NDArray[np.float32]


def some(rules: Iterable[Aggregator]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rule", list(rules), ids=repr)


def fits(rule: Aggregator, n: int) -> bool:
    try:
        rule.check(n)
    except PlanError:
        return False
    return True


every = some(SAMPLES)
# A trusted row, a shuffle, and a tie that the lower index wins, know the order of the rows.
symmetric = some(r for r in SAMPLES if not isinstance(r, Monna | Bucketing | Bulyan))
# Clipping measures from the origin, votes and judges know it too.
absolute = (SignMajority, Zeno, Clipping, AdaptiveRobustClipping)
shifted = some(r for r in SAMPLES if not isinstance(r, absolute))
fixed = (CenteredClipping(tau=2.0, iterations=5), SignMajority(scale=0.5))
scaled = some(r for r in SAMPLES if not isinstance(r, Zeno | Clipping) and r not in fixed)
# Rules that choose by number choose otherwise when rows are repeated.
repeatable = (Mean, Median, GeometricMedian, CenteredClipping)
by_weight = some([*(r for r in SAMPLES if isinstance(r, repeatable)), SignMajority(scale=0.5)])
held = ("Clipping", "Zeno", "SignMajority", "Mean", "Safeguard", "Bucketing", "Monna")
robust = some(
    r
    for r in SAMPLES
    if r.tolerates(12) >= 2 and getattr(r, "f", 2) and not type(r).__name__.startswith(held)
)


def cloud(n: int = 12, d: int = 40, seed: int = 5) -> Rows:
    return np.random.default_rng(seed).standard_normal((n, d), np.float32)


def given_of(rule: Aggregator, rows: Rows, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return rule.aggregate(rows, weights, rule.init(*rows.shape)).given


def weights_for(rule: Aggregator, n: int = 12) -> NDArray[np.float64]:
    """Unequal weights where the rule has a use for them."""
    return np.linspace(1, 3, n) if rule.weighted else np.ones(n)


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
    np.testing.assert_array_equal(Median()(rows), slow.median(exact))
    f = len(rows) // 4
    np.testing.assert_allclose(TrimmedMean(f)(rows), slow.trimmed_mean(exact, f), atol=1e-6)
    np.testing.assert_array_equal(Median()(rows, weights), slow.weighted_median(exact, weights))
    trimmed = slow.weighted_trimmed_mean(exact, weights, f / len(rows))
    np.testing.assert_allclose(TrimmedMean(f)(rows, weights), trimmed, atol=1e-6)


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
    rows, weights = cloud(), weights_for(rule)
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
    if isinstance(rule, SignMajority | Clipping):
        pytest.skip("a vote of signs, or a clipped row, is not the row")
    for n in (1, 2, 5, 8, 12):
        if fits(rule, n):
            np.testing.assert_allclose(rule(np.repeat(row, n, axis=0)), row[0], rtol=1e-6)


@every
@pytest.mark.parametrize("d", [0, 1])
def test_short_rows(rule: Aggregator, d: int) -> None:
    assert rule(cloud(12, d)).shape == (d,)


@symmetric
def test_the_order_of_rows_does_not_matter(rule: Aggregator) -> None:
    rows, weights = cloud(), weights_for(rule)
    order = np.random.default_rng(1).permutation(12)
    moved = rule(rows[order], weights[order])
    np.testing.assert_allclose(moved, rule(rows, weights), atol=2e-6)
    shares = given_of(rule, rows[order], weights[order])
    np.testing.assert_allclose(shares, given_of(rule, rows, weights)[order], atol=2e-6)


@scaled
@pytest.mark.parametrize("scale", [2.0**-40, 2.0, 2.0**20])
def test_a_change_of_units_changes_the_answer_likewise(rule: Aggregator, scale: float) -> None:
    rows, expected = cloud(), rule(cloud())
    np.testing.assert_allclose(rule(rows * np.float32(scale)) / scale, expected, atol=2e-6)
    np.testing.assert_allclose(rule(-rows), -expected, atol=2e-6)


@shifted
def test_a_shift_shifts_the_answer(rule: Aggregator) -> None:
    rows, shift = cloud(), cloud(1)
    np.testing.assert_allclose(rule(rows + shift), rule(rows) + shift[0], atol=4e-6)


@by_weight
def test_a_whole_weight_is_a_repeated_row(rule: Aggregator) -> None:
    rows, weights = cloud(), np.arange(12) % 3 + 1
    repeated = rule(np.repeat(rows, weights, axis=0))
    np.testing.assert_allclose(rule(rows, weights), repeated, atol=5e-6)
    np.testing.assert_allclose(rule(rows, 10.0 * weights), rule(rows, weights), atol=1e-6)


@some(r for r in SAMPLES if not r.weighted)
def test_a_rule_without_a_use_for_weights_refuses_them(rule: Aggregator) -> None:
    with pytest.raises(DataError, match=f"{rule.name} has no use for unequal weights"):
        rule(cloud(), np.arange(12) + 1.0)
    assert rule(cloud(), np.full(12, 7.0)).tobytes() == rule(cloud()).tobytes()


@some(r for r in SAMPLES if r.weighted)
def test_equal_weights_are_the_textbook_rule(rule: Aggregator) -> None:
    assert rule(cloud(), np.full(12, 7.0)).tobytes() == rule(cloud()).tobytes()
    assert rule(cloud(), np.linspace(1, 3, 12)).tobytes() != rule(cloud()).tobytes()


def attacked(f: int, size: float) -> tuple[Rows, Rows]:
    """Return a cloud whose first f rows lie far away, and the honest rest."""
    rows = cloud()
    rows[:f] = np.float32(size)
    return rows, rows[f:]


@pytest.mark.parametrize("rule", [Median(), TrimmedMean(f=2), TrimmedMean(f=5)], ids=repr)
@pytest.mark.parametrize("size", [1e6, -1e20, 1e38])
def test_a_coordinate_stays_between_the_honest_ones(rule: Aggregator, size: float) -> None:
    rows, honest = attacked(getattr(rule, "f", 5), size)
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
def test_a_majority_can_move_it_anywhere(rule: Aggregator) -> None:
    rows = cloud()
    rows[:10] = 1e6
    assert np.abs(rule(rows)).max() > 1e4


@robust
def test_as_many_as_it_is_told_move_it_little(rule: Aggregator) -> None:
    f = getattr(rule, "f", 2)
    for far in (1e6, -1e6, 30.0):
        rows, honest = attacked(f, far)
        gap = np.linalg.norm(rule(rows) - honest.mean(axis=0))
        assert gap <= 2 * np.linalg.norm(honest - honest.mean(axis=0), axis=1).max()


@every
@pytest.mark.parametrize("d", [1, 40, 5000])
def test_shares_sum_to_one(rule: Aggregator, d: int) -> None:
    shares = given_of(rule, cloud(12, d), weights_for(rule))
    assert shares.shape == (12,)
    assert shares.dtype == np.float64
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1, abs=1e-12)


@robust
def test_corrupted_rows_get_a_small_share(rule: Aggregator) -> None:
    rows, f = cloud(12, 5000), getattr(rule, "f", 2)
    rows[:f] = 1e6
    # Clipped rows and pulls keep the direction of a liar, but not its length.
    bound = 0.2 if isinstance(rule, CenteredClipping | AdaptiveRobustClipping) else 1e-4
    assert given_of(rule, rows, np.ones(12))[:f].max() < bound


def test_the_mean_gives_the_weights_and_the_geometric_median_what_it_sums() -> None:
    rows, weights = cloud(), np.linspace(1, 3, 12)
    np.testing.assert_allclose(given_of(Mean(), rows, weights), weights / weights.sum())
    shares = given_of(GeometricMedian(), rows, weights)
    np.testing.assert_allclose(shares @ rows, GeometricMedian()(rows, weights), atol=1e-6)


def test_kept_share_counts_kept_coordinates() -> None:
    rows = np.array([[0, 2, 1], [1, 1, 1], [2, 0, 5]], np.float32)
    # Middle values: row 1, row 1, and rows 0 and 1 that tie.
    np.testing.assert_allclose(kept_share(rows, 1, 1), [0.25, 0.75, 0])


def test_near_share_counts_the_nearest() -> None:
    rows = np.array([[0, 2, 1], [1, 1, 1], [2, 0, 5], [9, 9, 9]], np.float32)
    # Medians 1.5, 1.5 and 3: the two nearest are rows 1 and 2, rows 0 and 1, and three that tie.
    np.testing.assert_allclose(near_share(rows, 2), np.array([2, 3, 2, 0]) / 7)


def test_weighted_share_counts_what_is_left() -> None:
    rows = np.array([[0.0], [1.0], [2.0]], np.float32)
    weights = np.array([1.0, 2.0, 1.0])
    np.testing.assert_allclose(weighted_share(rows, weights, 0.125), [1 / 6, 4 / 6, 1 / 6])
    np.testing.assert_allclose(weighted_share(rows, weights, 0.5), [0, 1, 0], atol=1e-6)


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_left_out_and_named(rule: Aggregator, bad: float) -> None:
    rows = cloud(14)
    rows[[7, 9], 3] = bad
    with pytest.warns(UserWarning, match="rows left out, as they hold NaN or Inf: 7, 9"):
        found = rule(rows)
    assert found.tobytes() == rule(np.delete(rows, [7, 9], axis=0)).tobytes()
    rows[:, 0] = bad
    with pytest.raises(DataError, match="no row is finite"):
        rule(rows)


@some(r for r in SAMPLES if hasattr(r, "f") and r.f and not isinstance(r, Zeno))
def test_f_is_checked_again_when_rows_are_left_out(rule: Aggregator) -> None:
    n = next(n for n in range(1, 30) if fits(rule, n))
    rows = cloud(n)
    rule(rows)
    rows[0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(PlanError, match=f"got {n - 1}"):
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
    with pytest.raises(PlanError, match=r"f=4 needs at least 9 rows, got 8; .* is 3"):
        TrimmedMean(f=4).check(8)
    with pytest.raises(PlanError, match="f=4"):
        TrimmedMean(f=4)(cloud(8))


def test_tolerates() -> None:
    ns, minority = (1, 2, 3, 7, 20), [0, 0, 1, 3, 9]
    found = {rule.name: [rule.tolerates(n) for n in ns] for rule in SAMPLES}
    assert found == {
        **dict.fromkeys(AGGREGATORS, minority),
        "mean": [0, 0, 0, 0, 0],
        "krum": [0, 0, 0, 2, 8],
        "multi_krum": [0, 0, 0, 2, 8],
        "bulyan": [0, 0, 0, 1, 4],
        "centered_clipping": [0, 0, 0, 0, 2],
        "zeno": [0, 1, 2, 6, 19],
        "nnm": [0, 0, 0, 0, 0],  # around the mean
        "bucketing": [0, 0, 0, 1, 4],
    }


@every
def test_as_many_bits_with_one_thread_as_with_two(rule: Aggregator) -> None:
    rows = cloud(20, 20_000)
    threads, found = numba.get_num_threads(), set()
    try:
        for count in (1, 2):
            numba.set_num_threads(min(count, threads))
            with threadpool_limits(count):
                made = rule.aggregate(rows, weights_for(rule, 20), rule.init(*rows.shape))
                found.add((made.vector.tobytes(), made.given.tobytes()))
    finally:
        numba.set_num_threads(threads)
    assert len(found) == 1


@every
def test_a_rule_travels_and_describes_itself(rule: Aggregator) -> None:
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert make_aggregator(**describe(rule)) == rule


def test_krum_prefers_exact_distances_far_from_the_origin() -> None:
    """Rows 10 + 0.001 noise: products of rows would cancel, differences do not."""
    rows = (10 + 0.001 * cloud(60, 20_000)).astype(np.float32)
    order = slow.krum_order(rows[:20].astype(np.float64), 14)
    found = given_of(make_aggregator("krum", f=4), rows[:20], np.ones(20))
    assert int(found.argmax()) == order[0]


@pytest.mark.parametrize(
    ("name", "arguments", "needed"),
    [
        ("trimmed_mean", {}, "'f'"),
        ("trimmed_mean", {"f": -1}, "f >= 0, got -1"),
        ("trimmed_mean", {"f": 0.2}, "f >= 0, got 0.2"),
        ("median", {"f": 1}, "it takes: no arguments"),
        ("krum", {"f": 1, "closest": "n"}, "closest 'n-f-2' or 'n-f-1', got 'n'"),
        ("multi_krum", {"f": 1, "m": 0}, "m >= 1 or none, got 0"),
        ("centered_clipping", {"tau": 0}, "tau > 0 or none, got 0"),
        ("centered_clipping", {"iterations": 0}, "iterations >= 1, got 0"),
        ("monna", {"f": 1, "reference": -1}, "row number >= 0, got -1"),
        ("sign_majority", {"scale": 0}, "scale > 0 or none, got 0"),
        ("zeno", {"f": 1, "rho": -1}, "rho >= 0, got -1"),
        ("nnm", {"f": -1}, "f >= 0, got -1"),
        ("bucketing", {"s": 0}, "s >= 1, got 0"),
        ("clipping", {"radius": 0}, "radius > 0, got 0"),
        ("arc", {"f": 0.5}, "f >= 0, got 0.5"),
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
    with pytest.raises(UnknownNameError, match="mean, median, trimmed_mean, krum"):
        make_aggregator("average")
