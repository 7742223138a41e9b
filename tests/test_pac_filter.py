"""The PAC filter: its policies on given differences, and the rule on sources."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from names import same_everywhere
from scipy.stats import norm
from test_weighting import held as held_rows

from msl.bounds.capacity import VC, Linear
from msl.cluster import LocalExecutor
from msl.errors import DataError, PlanError
from msl.random import derive, generator
from msl.trust.discrepancy import apart
from msl.trust.learners import judge, least_squares
from msl.trust.pac_filter import PacFilter
from msl.trust.policies import (
    Equal,
    agreement,
    allowed_by_rates,
    allowed_by_splits,
    equal_sources,
    most_differ,
    p_values,
)
from msl.trust.protocols import by_moments
from msl.trust.targets import Targets
from msl.types import Data

RULE = np.array([1.0, -0.5, 0.5])
OTHER = np.array([0.5, 1.0, 0.0])


def draw(key, rows=200, rule=RULE):
    """Return rows labelled by a linear rule, one label of ten wrong."""
    rng = generator(key)
    X = rng.standard_normal((rows, len(rule))).astype(np.float32)
    return X, ((X @ rule > 0) ^ (rng.random(rows) < 0.1)).astype(np.int64)


def draw_classes(key, rows=200, ones=0.5, rule=RULE):
    """Return rows of which a share is of class 1, the classes themselves always alike."""
    rng = generator(key)
    y = (rng.random(rows) < ones).astype(np.int64)
    X = rng.standard_normal((rows, len(rule))) + np.outer(2 * y - 1, 0.8 * rule)
    return X.astype(np.float32), y


def lie(source, name, key=0):
    X, y = source
    return (X, 1 - y) if name == "flip" else draw(derive(key, "lie"), len(y), OTHER)


def held(sets):
    """Return sources with these rows; class numbers are integers."""
    return [
        one if y.dtype.kind == "i" else replace(one, info=replace(one.info, classes=()))
        for one, (_, y) in zip(held_rows(sets), sets, strict=True)
    ]


def weigh(rule, sets):
    with LocalExecutor() as executor:
        return rule.weigh(held(sets), executor)


def symmetric(values, n):
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, 1)] = values[: n * (n - 1) // 2]
    return matrix + matrix.T


# Policies, on given differences.


def test_agreement_counts_the_source_itself():
    distances = symmetric([0.1, 0.3, 0.5, 0.2, 0.5, 0.5], 4)
    allowed = np.full((4, 4), 0.25)
    found = agreement(distances, allowed, 3)
    assert found.agree.sum(axis=1).tolist() == [2, 3, 2, 1]
    assert found.kept.tolist() == [False, True, False, False]
    assert found.statistic == pytest.approx([1.2, 0.8, 1.2, 2.0])
    assert agreement(distances, allowed, 1).kept.all()


def test_nothing_allowed_keeps_what_does_not_differ():
    found = agreement(symmetric([0, 0.1, 0.1], 3), np.zeros((3, 3)), 2)
    assert found.kept.tolist() == [True, True, False]


def test_theory_allows_the_sum_of_both_rates():
    rates = VC(4).rate(np.array([1e3, 1e4]), 0.01)
    assert allowed_by_rates(rates)[0, 1] == rates.sum()


def halves(key, rows, mean=0.8, sd=0.3, splits=400):
    drawn = generator(key).normal(mean, sd, (splits, len(rows)))
    return drawn * np.sqrt(4 / np.array(rows))


def test_equal_sources_are_known_from_halves_though_some_lie_about_theirs():
    rows = np.array([100, 200, 400, 100, 300])
    null = halves(0, rows)
    assert equal_sources(null, rows) == pytest.approx((0.8, 0.3), abs=0.02)
    for told in (0.0, 1.0):
        null[:, :2] = told
        assert equal_sources(null, rows) == pytest.approx((0.8, 0.3), abs=0.04)


def test_what_is_allowed_shrinks_with_the_rows_of_both():
    allowed = allowed_by_splits(Equal(0.8, 0.3), [100, 100, 400], 0.09)
    unit = 0.8 + norm.isf(0.01) * 0.3
    assert allowed[0, 1] == pytest.approx(unit * np.sqrt(2 / 100))
    assert allowed[0, 2] == allowed[2, 0] == pytest.approx(unit * np.sqrt(1 / 100 + 1 / 400))
    assert allowed_by_splits(Equal(0.8, 0.3), [4, 4], 0.05).max() == 1


def test_more_hypotheses_for_a_pair_are_allowed_more():
    equal, rows = Equal(0.8, 0.3), [400] * 5
    more = allowed_by_splits(equal, rows, 0.05, tries=10)
    assert more == pytest.approx(allowed_by_splits(equal, rows, 0.005))
    distances = more - np.diag(np.diag(more))
    once, often = (p_values(distances, rows, equal, 3, 4, tries) for tries in (1, 10))
    assert often == pytest.approx(10 * once)
    # The tail of one is 0.05 / (25 * 10); at least 2 of the 3 other good ones must be in it.
    assert often == pytest.approx(np.full(5, 0.05 / 25 * 3 / 2))
    one = weigh(PacFilter(protocol="losses"), [draw(i) for i in range(5)])
    assert np.all(np.array(one.statistic) < 1)


def test_sources_known_by_heart_may_differ_as_they_like():
    rows = [20, 20, 20]
    equal = equal_sources(np.ones((5, 3)), rows)
    assert (allowed_by_splits(equal, rows, 0.05) == 1).all()
    assert (p_values(symmetric([1, 1, 1], 3), rows, equal, 2, 2) == 1).all()


@pytest.mark.parametrize(("needed", "clean"), [(5, 5), (5, 7), (3, 7)])
def test_p_values_are_rarely_small_for_good_sources_whatever_the_others_do(needed, clean):
    rng, equal, rows = generator(3), Equal(0.8, 0.2), np.array([100.0] * 9)
    small = 0
    for _ in range(500):
        distances = symmetric(rng.normal(0.8, 0.2, 36) * np.sqrt(2 / 100), 9)
        distances[clean:] = distances[:, clean:] = 1
        np.fill_diagonal(distances, 0)
        found = p_values(distances, rows, equal, needed, clean)
        assert (found[clean:] < 1e-6).all()
        small += (found[0] <= 0.1) / 500
    assert small <= 0.1 + 0.03


@given(
    st.lists(st.floats(0, 1), min_size=36, max_size=36),
    st.integers(3, 9),
    st.floats(0.01, 1),
)
def test_sources_that_lie_do_not_stretch_what_is_allowed_far(values, n, allowed):
    good = n // 2 + 1
    distances = symmetric(values, n)
    honest = max(1.0, distances[:good, :good].max() / allowed)
    assert 1 <= most_differ(distances, np.full((n, n), allowed), good) <= 5.45 * honest


def test_what_most_differ_by_is_three_deviations_above_the_median():
    distances = np.array([0, 2, 2, 3, 3.0])[:, None] * np.ones(5)
    assert most_differ(distances, np.ones((5, 5)), 3) == pytest.approx(2)
    distances[1] = 1
    assert most_differ(distances, np.ones((5, 5)), 3) == pytest.approx(2 + 3 / norm.ppf(0.75))
    assert most_differ(distances / 10, np.ones((5, 5)), 3) == 1


@given(
    st.lists(st.floats(0, 1), min_size=15, max_size=15),
    st.lists(st.floats(0, 1), min_size=6, max_size=6),
    st.integers(1, 6),
    st.permutations(range(6)),
)
@settings(max_examples=50)
def test_sources_are_judged_alike_in_any_order(values, rates, needed, order):
    distances, rates = symmetric(values, 6), np.array(rates)
    found = agreement(distances, allowed_by_rates(rates), needed)
    moved = agreement(distances[np.ix_(order, order)], allowed_by_rates(rates[order]), needed)
    assert (moved.kept == found.kept[order]).all()
    assert (moved.statistic == found.statistic[order]).all()


@given(
    st.lists(st.floats(0, 1), min_size=36, max_size=36),
    st.integers(3, 9),
    st.integers(0, 100),
)
def test_a_copy_of_a_good_source_removes_no_good_one(values, n, copied):
    """Good sources, more than half, differ by what is allowed at most; others as they like."""
    good, s = n // 2 + 1, VC(3).rate(np.full(n, 2e4), 0.05 / (2 * n))
    distances = symmetric(values, n)
    distances[:good, :good] = np.minimum(distances[:good, :good], 2 * s[0])
    assert agreement(distances, allowed_by_rates(s), n // 2 + 1).kept[:good].all()
    again = [*range(n), copied % good]
    more = distances[np.ix_(again, again)]
    rates = VC(3).rate(np.full(n + 1, 2e4), 0.05 / (2 * (n + 1)))
    found = agreement(more, allowed_by_rates(rates), (n + 1) // 2 + 1)
    assert found.kept[:good].all()
    assert found.kept[n]


# The rule, on sources.


def test_good_sources_are_kept():
    lost = 0
    for seed in range(50):
        sizes = generator(derive(seed, "sizes")).integers(40, 200, 5)
        sets = [draw(derive(seed, i), rows) for i, rows in enumerate(sizes)]
        lost += min(weigh(PacFilter(seed=seed), sets).weights) < 1
    assert lost <= 2


@pytest.mark.parametrize("name", ["flip", "other"])
@pytest.mark.parametrize(
    "rule",
    [
        PacFilter(),
        PacFilter("permutation"),
        PacFilter("permutation", clean=4, needed=4),
        PacFilter(by_class=True),
        PacFilter(protocol="losses"),
        PacFilter(protocol="pairs", learner=least_squares),
        PacFilter(policy="quantile", clean=4),
        PacFilter(policy="quantile", protocol="losses", learner=least_squares),
    ],
    ids=same_everywhere,
)
def test_sources_that_lie_are_left_out(rule, name):
    sets = [draw(i, 300) for i in range(7)]
    for liar in (1, 4, 5):
        sets[liar] = lie(sets[liar], name, liar)
    report = weigh(rule, sets)
    assert report.weights == (1, 0, 1, 1, 0, 0, 1)
    assert pickle.loads(pickle.dumps(report)) == report
    truth, lies = np.array(report.statistic)[[0, 2, 3, 6]], np.array(report.statistic)[[1, 4, 5]]
    assert truth.max() < lies.min()
    if rule.policy != "quantile":
        assert truth.max() <= 1 < lies.min()
        assert max(report.p_values[i] for i in (1, 4, 5)) < 0.01 < min(report.p_values[::6])


def test_sources_that_naturally_differ_are_kept_and_those_that_lie_are_not():
    # Rules on a cone around one, each as far from its neighbours.
    turns = 2 * np.pi * np.arange(9) / 9
    across = np.outer(np.cos(turns), [1, 1, -1]) / 2 + np.outer(np.sin(turns), [0, 1, 1]) / 2**0.5
    rule, kept = PacFilter(protocol="losses"), []
    for seed in range(3):
        sets = [draw(derive(seed, i), 400, RULE + way / 2) for i, way in enumerate(across)]
        kept.append(weigh(rule, sets).weights)
        for liar in (1, 4, 6):
            sets[liar] = lie(sets[liar], "flip")
        assert weigh(rule, sets).weights == (1, 0, 1, 1, 0, 1, 0, 1, 1)
        # Chance alone allows less: nobody agrees with enough.
        strict = weigh(replace(rule, policy="permutation"), sets)
        assert strict.reasons[0].startswith("believed, as no source agrees")
    assert np.mean(kept) > 0.95


@pytest.mark.parametrize("protocol", ["moments", "losses", "pairs"])
def test_shares_of_classes_are_held_against_nobody_by_class(protocol):
    learner = least_squares if protocol == "pairs" else None
    plain = PacFilter(protocol=protocol, learner=learner)
    sets = [
        draw_classes(i, 300, ones) for i, ones in enumerate((0.1, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9))
    ]
    liars = (1, 5)
    told = [lie(one, "flip") if i in liars else one for i, one in enumerate(sets)]
    believed = tuple(float(i not in liars) for i in range(7))
    assert weigh(plain, told).weights != believed
    by_class = replace(plain, by_class=True)
    assert weigh(by_class, told).weights == believed
    assert weigh(by_class, sets).weights == (1,) * 7


def test_a_source_of_one_class_is_compared_on_that_class():
    sets = [draw_classes(i, 200, 0.5) for i in range(4)] + [draw_classes(4, 200, 1.0)]
    assert weigh(PacFilter("permutation"), sets).weights == (1, 1, 1, 1, 0)
    rule = PacFilter("permutation", by_class=True)
    assert weigh(rule, sets).weights == (1,) * 5
    for only in (1, 2):
        sets[4] = draw_classes(4, 200, 0.0)[0], np.full(200, only)
        assert weigh(rule, sets).weights == (1, 1, 1, 1, 0)


def test_by_class_differences_weigh_what_mantel_and_haenszel_say():
    X = np.arange(6, dtype=np.float32)[:, None]
    ours, theirs = Data(X, np.array([0, 0, 0, 0, 1, 1])), Data(X[:5], np.array([0, 1, 1, 1, 2]))
    targets = Targets((0, 1, 2), by_class=True)
    wrong = [np.array([1, 0, 0, 0, 1, 0]), np.array([0, 0, 0, 0, 0])]
    judged = [
        judge(targets, rows, [lambda _, said=said: said])
        for rows, said in zip((ours, theirs), wrong, strict=True)
    ]
    # Of class 0 errs 1 of 4, and 0 of 1; of class 1 err 1 of 2, and 3 of 3; class 2 is not shared.
    weight = np.array([4 * 1 / 5, 2 * 3 / 5])
    gap, error = apart(*judged)
    assert gap == pytest.approx(abs(weight @ [1 / 4, 1 / 2 - 1]) / weight.sum())
    square = (weight / weight.sum()) ** 2 @ [3 / 16 / 4, 1 / 4 / 2]
    assert error == pytest.approx(square**0.5)


def test_the_theorem_reaches_what_the_default_keeps_unless_it_compares_by_class():
    for m in (50, 500, 5000):
        rows = np.full(7, float(m))
        with LocalExecutor() as executor:
            same = held([draw(derive(m, i), m) for i in range(7)])
            null = by_moments(same, executor, splits=6).null
            kept = PacFilter().weigh(same, executor)
            by_class = PacFilter(by_class=True).weigh(same, executor)
        allowed = allowed_by_splits(equal_sources(null, rows), rows, 0.05)
        rates = allowed_by_rates(Linear(3, 2).rate(rows, 0.05 / 14))
        assert (rates > 5.45 * allowed).all()
        assert kept.filtered
        assert not by_class.filtered


def test_theory_leaves_out_liars_once_there_are_rows_enough():
    for rows, kept in ((300, 1), (8000, 0)):
        sets = [draw(i, rows) for i in range(4)]
        report = weigh(PacFilter("theory"), [*sets, lie(draw(5, rows), "flip")])
        assert report.weights == (1, 1, 1, 1, kept)
        assert report.p_values is None
    s = VC(4).rate(8000, 0.05 / 10)
    assert report.statistic[4] == pytest.approx(np.sort(report.discrepancy[4])[2] / (2 * s))


def test_reasons_name_the_numbers():
    sets = [draw(i) for i in range(5)]
    report = weigh(PacFilter(), [*sets, lie(sets[0], "flip"), lie(sets[1], "flip")])
    assert report.reasons[0] == "agrees with 5 of 7 sources (needs 4)"
    far = report.discrepancy[5].max()
    assert report.reasons[5].startswith(f"differs from 5 of 7 sources, by up to {far:.2f} where 0.")
    assert report.reasons[5].endswith("is allowed (agrees with 2, needs 4)")
    nearest = weigh(PacFilter("quantile"), sets)
    assert nearest.reasons[0].startswith(f"distance {nearest.statistic[0]:.3f} to its 3-th nearest")


def test_few_rows_are_said_to_be_few():
    sets = [draw(0), draw(1), draw(2, 20)]
    reasons = weigh(PacFilter(), sets).reasons
    assert "few" not in reasons[0]
    assert reasons[2].endswith("; 20 rows are few for 3 features")
    assert "differences up to 1 are allowed" in weigh(PacFilter("theory"), sets).reasons[0]


def test_everybody_is_believed_where_nobody_can_be_judged():
    assert weigh(PacFilter(), [draw(0)]).weights == (1,)
    for policy in ("outlier", "permutation", "quantile"):
        two = weigh(PacFilter(policy), [draw(0), lie(draw(1), "flip")])
        assert two.weights == (1, 1)
        assert all("of two sources none can outvote the other" in reason for reason in two.reasons)
    corners = [RULE, -RULE, OTHER, -OTHER]
    none = weigh(PacFilter("permutation"), [draw(i, 500, rule) for i, rule in enumerate(corners)])
    assert none.weights == (1, 1, 1, 1)
    assert all(reason.startswith("believed, as no source agrees") for reason in none.reasons)
    assert min(none.statistic) > 1


def test_order_and_copies_of_sources_change_nothing():
    sets = [draw(i, 300) for i in range(4)] + [lie(draw(4, 300), "flip")]
    weights = np.array(weigh(PacFilter(), sets).weights)
    assert weights.tolist() == [1, 1, 1, 1, 0]
    order = [4, 2, 0, 3, 1]
    assert weigh(PacFilter(), [sets[i] for i in order]).weights == tuple(weights[order])
    for i in range(4):
        assert weigh(PacFilter(), [*sets, sets[i]]).weights == (1, 1, 1, 1, 0, 1)


def test_labels_of_other_kinds():
    three = [(X, np.digitize(X @ RULE, [-0.5, 0.5])) for X, _ in (draw(i, 400) for i in range(5))]
    three[2] = (three[2][0], (three[2][1] + 1) % 3)
    real = [(X, (X @ RULE).astype(np.float32)) for X, _ in three]
    real[2] = (real[2][0], -real[2][1])
    for sets in (three, real):
        assert weigh(PacFilter(), sets).weights == (1, 1, 0, 1, 1)


def test_sources_of_one_class():
    sets = [draw(i) for i in range(4)]
    mixed = weigh(PacFilter(), [*sets, (sets[0][0], np.ones(200, dtype=np.int64))])
    assert mixed.weights == (1, 1, 1, 1, 0)
    same = [(X, np.zeros(200, dtype=np.int64)) for X, _ in sets]
    for policy in ("outlier", "permutation", "quantile", "theory"):
        assert sum(weigh(PacFilter(policy), same).weights) >= 3


def test_what_the_rule_refuses():
    sets = [draw(i) for i in range(4)]
    for n, clean in ((4, 2), (2, 1), (1, 2), (4, 5)):
        with pytest.raises(PlanError, match=f"k={clean} good of n={n}"):
            weigh(PacFilter(clean=clean), sets[:n])
    with pytest.raises(PlanError, match=r"needed must be in 2\.\.3, got 4"):
        weigh(PacFilter(clean=3, needed=4), sets)
    for n in (1, 3):
        empty = held([*sets[: n - 1], draw(9, 0)])
        empty[-1] = replace(empty[-1], info=replace(empty[-1].info, classes=(0, 1)))
        with LocalExecutor() as executor, pytest.raises(DataError, match=f"s{n - 1}"):
            PacFilter().weigh(empty, executor)
    real = [(X, X[:, 0]) for X, _ in sets]
    with pytest.raises(PlanError, match="rate of classifiers only"):
        weigh(PacFilter("theory"), real)
    with pytest.raises(PlanError, match="real targets have no classes"):
        weigh(PacFilter(by_class=True), real)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"policy": "best"}, "policy of outlier, permutation, quantile, theory, got 'best'"),
        ({"protocol": "rows"}, "protocol of moments, losses, pairs"),
        ({"delta": 0}, r"delta in \(0, 1\)"),
        ({"splits": 1}, "at least 2 splits"),
        ({"policy": "permutation", "splits": 1}, "at least 2 splits"),
        ({"policy": "theory", "by_class": True}, "no rate of comparisons by class"),
        ({"protocol": "pairs"}, "needs a learner"),
        ({"learner": least_squares}, "takes no learner"),
        ({"protocol": "losses", "learner": least_squares, "policy": "theory"}, "linear"),
    ],
)
def test_impossible_arguments_are_refused(arguments, words):
    with pytest.raises(PlanError, match=words):
        PacFilter(**arguments)
