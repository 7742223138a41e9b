"""Every sampler draws k different sources with the chances it states, the same on every replay."""

import pickle
from dataclasses import replace
from itertools import combinations
from math import ceil, comb, floor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from msl.aggregators import Mean
from msl.errors import PlanError, UnknownNameError
from msl.parts import describe
from msl.random import derive, generator
from msl.samplers import SAMPLERS, Candidates, Cyclic, Sampler, Stratified, Uniform, Weighted, make
from msl.types import SourceInfo

Array = NDArray[np.float64]

SAMPLES: list[Sampler] = [
    Uniform(),
    Weighted(),
    Weighted(by="belief"),
    Stratified(),
    Stratified(by="name"),
    Cyclic(),
]
every = pytest.mark.parametrize("sampler", SAMPLES, ids=repr)


def crowd(n: int, seed: int = 0, believed: bool = True) -> Candidates:
    """Sources of three towns, unequal in size, classes and belief; every fifth is not asked."""
    draw = np.random.default_rng(seed)
    infos = [
        SourceInfo(
            f"{('lyon', 'nice', 'metz')[draw.integers(3)]}-{rank}",
            rows=int(draw.lognormal(3, 1)) + 1,
            features=2,
            classes=tuple(np.flatnonzero(draw.random(3) < 0.6).tolist()),
            digest="",
        )
        for rank in range(n + n // 4 + 1)
    ]
    weights = draw.uniform(0.2, 1, len(infos)) if believed else np.ones(len(infos))
    weights[4::5] = 0
    return Candidates.of(infos, weights.tolist())


def sized(rows: list[int]) -> Candidates:
    infos = [SourceInfo(f"s{i}", m, 1, (), "") for i, m in enumerate(rows)]
    return Candidates.of(infos, [1.0] * len(rows))


def drawn(sampler: Sampler, who: Candidates, k: int, keys: int) -> NDArray[np.bool_]:
    """Return (keys, n): who was drawn under each key, in a round of its own."""
    found = np.zeros((keys, len(who)), bool)
    for key in range(keys):
        ranks = sampler.choose(who, k, key, round=key % 7)
        found[key, np.searchsorted(who.ranks, ranks)] = True
    return found


crowds = st.builds(crowd, st.integers(1, 40), st.integers(0, 50))


@every
@settings(max_examples=60, deadline=None)
@given(who=crowds, k=st.integers(1, 60), key=st.integers(0, 2**64 - 1), round=st.integers(0, 2000))
def test_a_round_has_k_different_candidates_and_the_same_on_replay(sampler, who, k, key, round):
    chosen = sampler.choose(who, k, key, round)
    assert len(chosen) == min(k, len(who))
    assert list(chosen) == sorted(set(chosen))
    assert set(chosen) <= set(who.ranks.tolist())
    assert all(type(rank) is int for rank in chosen)
    # Elsewhere, later, after other rounds: nothing is kept.
    again, other = pickle.loads(pickle.dumps((sampler, who)))
    again.choose(other, k, key, round + 1)
    assert again.choose(other, k, key, round) == chosen


@every
def test_a_choice_follows_the_sources_and_not_their_ranks_or_units(sampler):
    who = crowd(30)
    moved = replace(who, ranks=3 * who.ranks + 7, rows=10 * who.rows)
    for round in range(20):
        chosen = sampler.choose(who, 8, 5, round)
        assert sampler.choose(moved, 8, 5, round) == tuple(3 * rank + 7 for rank in chosen)


@every
def test_rounds_and_keys_differ(sampler):
    who = crowd(40)
    assert len({sampler.choose(who, 10, 5, round) for round in range(20)}) >= 19
    assert len({sampler.choose(who, 10, key, 5) for key in range(20)}) >= 19


@every
def test_a_round_needs_a_source(sampler):
    with pytest.raises(PlanError, match="at least 1 source, got k = 0"):
        sampler.choose(crowd(5), 0, 0, 0)


def test_uniform_draws_are_those_of_a_plain_generator():
    who = crowd(30)
    for round in range(10):
        draw = generator(derive(5, round, "choose"))
        plain = draw.choice(who.ranks.tolist(), 7, replace=False).tolist()
        assert Uniform().choose(who, 7, 5, round) == tuple(sorted(plain))


def surprise(found: NDArray[np.bool_], chances: Array) -> float:
    """Return the p-value of how often each was drawn; those drawn always tell nothing."""
    open_ = chances < 1
    expected = len(found) * chances[open_]
    assert expected.min() > 5
    z = (found.sum(axis=0)[open_] - expected) / np.sqrt(expected * (1 - chances[open_]))
    return float(chi2.sf((z**2).sum(), open_.sum()))


@every
@pytest.mark.parametrize("k", [1, 6, 17])
def test_everyone_is_drawn_as_often_as_stated(sampler, k):
    who = crowd(20, seed=3)
    chances = sampler.inclusion(who, k)
    assert chances.sum() == pytest.approx(min(k, len(who)), rel=1e-12)
    found = drawn(sampler, who, k, keys=4000)
    assert found[:, chances == 1].all()
    assert surprise(found, chances) > 1e-3


def test_the_check_of_chances_can_tell():
    """Drawing one after another by size, without replacement, is not in proportion."""
    who, k = sized([2, 3, 4, 5, 6, 8, 10, 12]), 4
    found = np.zeros((4000, len(who)), bool)
    for key in range(len(found)):
        order = generator(key).choice(8, k, replace=False, p=who.rows / who.rows.sum())
        found[key, order] = True
    chances = Weighted().inclusion(who, k)
    assert surprise(found, chances) < 1e-9
    assert surprise(drawn(Weighted(), who, k, 4000), chances) > 1e-3


@every
def test_any_two_may_meet(sampler):
    who = crowd(8, seed=1, believed=False)
    found = drawn(sampler, who, 3, keys=3000).astype(int)
    met = found.T @ found > 0
    if sampler == Stratified():  # two of a small stratum, whose share is one, take turns
        met |= who.class_sets == who.class_sets[:, None]
    if sampler == Stratified(by="name"):
        met |= who.name_groups == who.name_groups[:, None]
    assert met.all()


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.integers(1, 10**12), min_size=2, max_size=60),
    k=st.integers(1, 60),
    key=st.integers(0, 2**64 - 1),
)
@example(rows=[10**12, 1, 1], k=1, key=0)
@example(rows=[10**12, 10**12, 1, 1, 1], k=2, key=1)
@example(rows=[7] * 60, k=59, key=2)
def test_chances_are_in_proportion_to_rows_up_to_one(rows, k, key):
    who = sized(rows)
    chances = Weighted().inclusion(who, k)
    assert chances.sum() == pytest.approx(min(k, len(rows)), rel=1e-9)
    assert (chances > 0).all()
    assert (chances <= 1).all()
    rest = chances < 1
    if chances[rest].sum() > 1e-6:
        per_row = chances[rest] / who.rows[rest]
        np.testing.assert_allclose(per_row, per_row[0], rtol=1e-9)
        # Those in every round would have had a chance above 1.
        assert (who.rows[~rest] * per_row[0] >= 1 - 1e-9).all()
    assert len(set(Weighted().choose(who, k, key, 0))) == min(k, len(rows))


def test_sizes_are_rows_or_beliefs():
    who = replace(sized([10, 20, 30, 40]), weights=np.array([1, 0.5, 1, 0.5]))
    np.testing.assert_allclose(Weighted().inclusion(who, 1), np.array([1, 2, 3, 4]) / 10)
    np.testing.assert_allclose(Weighted(by="belief").inclusion(who, 1), np.array([2, 1, 2, 1]) / 6)


@settings(max_examples=100, deadline=None)
@given(who=crowds, k=st.integers(1, 40), key=st.integers(0, 2**64 - 1), by=st.booleans())
def test_every_stratum_has_its_share_of_every_round(who, k, key, by):
    sampler = Stratified(by="name" if by else "classes")
    labels = [n.split("-")[0] for n in who.names] if by else list(who.classes)
    ranks = dict(zip(who.ranks.tolist(), labels, strict=True))
    k = min(k, len(who))
    for round in range(5):
        chosen = [ranks[rank] for rank in sampler.choose(who, k, key, round)]
        for label in set(labels):
            share = k * labels.count(label) / len(who)
            assert floor(share + 1e-9) <= chosen.count(label) <= ceil(share - 1e-9)


def test_strata_are_class_sets_and_names_without_their_last_part():
    names = ("lyon-03", "lyon-07", "eu/lyon-1", "eu/lyon-2", "metz", "st nice", "lyon_4")
    classes = ((0, 1), (0,), (0, 1), (), (0,), (1,), ())
    infos = [SourceInfo(n, 1, 1, c, "") for n, c in zip(names, classes, strict=True)]
    who = Candidates.of(infos, [1.0] * 7)
    assert who.name_groups.tolist() == [0, 0, 1, 1, 2, 3, 0]
    assert who.class_sets.tolist() == [0, 1, 0, 2, 1, 3, 2]


@settings(max_examples=100, deadline=None)
@given(who=crowds, k=st.integers(1, 40), key=st.integers(0, 2**64 - 1), cycle=st.integers(0, 50))
def test_everyone_has_a_turn_in_every_cycle(who, k, key, cycle):
    n = len(who)
    length = ceil(n / min(k, n))
    turns = [r for j in range(length) for r in Cyclic().choose(who, k, key, cycle * length + j)]
    ranks, times = np.unique(turns, return_counts=True)
    assert ranks.tolist() == who.ranks.tolist()
    assert sorted(times.tolist()) == [1] * (2 * n - len(turns)) + [2] * (len(turns) - n)


def test_every_cycle_has_an_order_of_its_own():
    who = crowd(12)
    cycles = [tuple(Cyclic().choose(who, 3, 5, 4 * c + j) for j in range(4)) for c in range(10)]
    assert len(set(cycles)) == 10


def off(sampler: Sampler, who: Candidates, k: int, target: Array, counts: Array) -> float:
    """Return how many standard errors the expected mean of a round is off the full mean.

    Each source sends the logarithm of its rows, and counts so much when drawn.
    """
    values = np.log(who.rows).astype(np.float32)[:, None]
    found = drawn(sampler, who, k, keys=4000)
    means = np.array([Mean()(values[mine], counts[mine])[0] for mine in found], np.float64)
    error = means.std() / np.sqrt(len(means)) + 1e-9
    return float((means.mean() - np.average(values[:, 0], weights=target)) / error)


@pytest.mark.parametrize("k", [2, 6, 12])
def test_the_expected_mean_is_the_full_mean(k):
    sure, unsure = crowd(20, seed=3, believed=False), crowd(20, seed=3)
    # At k = 12 the largest are in every round; they count more by as much.
    assert (Weighted().inclusion(sure, 12) == 1).any()
    for sampler, who, by_rows in [
        (Uniform(), sure, False),
        (Stratified(), sure, False),
        (Cyclic(), sure, False),
        (Weighted(), sure, True),
        (Weighted(by="belief"), unsure, False),
    ]:
        rows = who.rows if by_rows else 1
        counts = sampler.counts(who, k, by_rows) * rows
        assert abs(off(sampler, who, k, who.weights * rows, counts)) < 3.5, sampler


def test_drawing_by_rows_and_weighing_by_rows_would_count_them_twice():
    who = crowd(20, seed=3, believed=False)
    rows = who.rows * 1.0
    assert off(Weighted(), who, 4, rows, counts=rows) > 10


@every
@pytest.mark.parametrize("by_rows", [True, False])
def test_one_that_claims_few_rows_cannot_outvote_a_round(sampler, by_rows):
    who = replace(sized([1, *[1000] * 19]), weights=np.full(20, 0.5))
    counts = sampler.counts(who, 5, by_rows) * (who.rows if by_rows else 1)
    assert counts[0] <= counts[1] * (1 + 1e-12)


@every
@pytest.mark.parametrize("by_rows", [True, False])
def test_when_all_take_part_beliefs_are_what_counts(sampler, by_rows):
    who = crowd(9)
    for k in (len(who), 99):
        np.testing.assert_array_equal(sampler.counts(who, k, by_rows), who.weights)


def test_a_ratio_estimate_is_off_by_order_one_over_k():
    """Uniform draws weighed by rows, over all subsets: their weights' sum differs by draw."""
    rows = np.array([1.0, 2, 4, 8, 16, 32, 64, 128])
    values, gaps = np.log(rows), []
    for k in (2, 4, 6):
        subsets = [list(s) for s in combinations(range(8), k)]
        assert len(subsets) == comb(8, k)
        mean = np.mean([np.average(values[s], weights=rows[s]) for s in subsets])
        gaps.append(float(np.average(values, weights=rows) - mean))
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0


@every
def test_the_table_makes_what_a_sampler_says_it_is(sampler):
    assert make(**describe(sampler)) == sampler
    assert SAMPLERS[sampler.name] is type(sampler)
    assert hash(pickle.loads(pickle.dumps(sampler))) == hash(sampler)


def test_every_member_is_sampled():
    assert {type(sampler) for sampler in SAMPLES} == set(SAMPLERS.values())


@pytest.mark.parametrize(
    ("asked", "error", "why"),
    [
        ({"name": "oort"}, UnknownNameError, "uniform, weighted, stratified, cyclic"),
        ({"name": "uniform", "by": "rows"}, PlanError, "takes no by"),
        ({"name": "weighted", "by": "size"}, PlanError, "rows or belief, got 'size'"),
        ({"name": "stratified", "by": "place"}, PlanError, "classes or name, got 'place'"),
    ],
)
def test_a_wrong_part_is_refused(asked, error, why):
    with pytest.raises(error, match=why):
        make(**asked)


def test_who_is_not_believed_is_no_candidate():
    infos = [SourceInfo(f"s{i}", 10 + i, 1, (), "") for i in range(4)]
    who = Candidates.of(infos, [0.0, 1.0, 0.0, 0.5])
    assert (who.ranks.tolist(), who.weights.tolist(), who.rows.tolist(), who.names) == (
        [1, 3],
        [1.0, 0.5],
        [11, 13],
        ("s1", "s3"),
    )
    with pytest.raises(PlanError, match="believes no source"):
        Candidates.of(infos, [0.0] * 4)
