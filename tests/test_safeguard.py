"""The safeguard evicts what drifts, keeps what is only noisy, and says what it remembers."""

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import fields
from math import inf

import numpy as np
import pytest
import rule_oracles as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from msl.aggregators import Mean
from msl.aggregators.safeguard import Guard, Safeguard, calibrated
from msl.errors import DataError, PlanError
from msl.types import Aggregated
from msl_pipelines import safeguard as experiment

Rows = NDArray[np.float32]
N, D, SHORT, LONG = 10, 30, 10, 60


def noisy(rounds: int, seed: int, corrupted: int = 0, bias: float = 0.0) -> Iterator[Rows]:
    """Gradients with noise; those of the last sources are biased along one direction."""
    draw = np.random.default_rng(seed)
    for _ in range(rounds):
        rows = 0.3 + draw.standard_normal((N, D), np.float32)
        rows[N - corrupted :, 0] += np.float32(bias)
        yield rows


def play(rule: Safeguard, rounds: Iterable[Rows]) -> list[Aggregated]:
    """All rounds, with equal weights."""
    made: list[Aggregated] = []
    for rows in rounds:
        memory = made[-1].memory if made else rule.init(*rows.shape)
        made.append(rule.aggregate(rows, np.ones(len(rows)), memory))
    return made


def on_line(*values: float) -> Rows:
    """Rows of one coordinate."""
    return np.array(values, np.float32)[:, None]


@pytest.fixture(scope="module")
def rule() -> Safeguard:
    return Safeguard(SHORT, LONG, *calibrated(noisy(4 * LONG, seed=99), SHORT, LONG))


@pytest.mark.parametrize("seed", range(5))
def test_nobody_honest_is_evicted(rule: Safeguard, seed: int) -> None:
    last: Guard = play(rule, noisy(6 * LONG, seed))[-1].memory
    assert last.good.all()
    assert not last.rejected.any()
    assert last.log == ()


@pytest.mark.parametrize("seed", range(5))
def test_who_is_biased_is_evicted_and_takes_nobody_along(rule: Safeguard, seed: int) -> None:
    # In one round the bias of 3 is a fraction of the noise, sqrt(30).
    made = play(rule, noisy(6 * LONG, seed, corrupted=4, bias=3.0))
    last: Guard = made[-1].memory
    np.testing.assert_array_equal(last.good, [True] * 6 + [False] * 4)
    assert last.evicted[6:].min() >= SHORT
    assert last.evicted[6:].max() < LONG
    assert len(last.log) == 4
    assert all("long window" in why for why in last.log)
    np.testing.assert_allclose(made[-1].given, [1 / 6] * 6 + [0] * 4)


def test_the_single_guard_with_a_short_window_misses_it(rule: Safeguard) -> None:
    assert rule.thresholds
    single = Safeguard(SHORT, None, rule.thresholds[:1])
    assert play(single, noisy(6 * LONG, 0, corrupted=4, bias=3.0))[-1].memory.good.all()


def test_noise_grows_like_the_root_of_the_window_and_a_bias_like_the_window() -> None:
    rounds = 256
    watching = Safeguard(rounds, None, (inf,))
    sums = [made.memory.sums[0] for made in play(watching, noisy(rounds, 1, 1, bias=20.0))]
    ages = np.array([2**k for k in range(3, 9)])
    centre = [np.mean(sums[age - 1][:-1], axis=0) for age in ages]
    away = [np.linalg.norm(sums[a - 1] - c, axis=1) for a, c in zip(ages, centre, strict=True)]
    noise, bias = [a[:-1].mean() for a in away], [a[-1] for a in away]
    assert np.polyfit(np.log(ages), np.log(noise), 1)[0] == pytest.approx(0.5, abs=0.1)
    assert np.polyfit(np.log(ages), np.log(bias), 1)[0] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("values", "good"),
    [
        ((0, 0, 9, 9), (1, 1, 1, 1)),  # exactly n / 2 stand together, twice
        ((0, 0, 0, 9), (1, 1, 1, 0)),
        ((0, 0, 0, 9, 9, 9), (1, 1, 1, 1, 1, 1)),
        ((0, 0, 11, 11, 11), (0, 0, 1, 1, 1)),
        ((0, 0, 0, 8), (1, 1, 1, 1)),  # 8 / 4 is 2 x the threshold, not beyond
        ((0, 4, 8, 12), (1, 1, 1, 1)),  # 4 and 8 have neighbours just at the threshold
        ((0, 4, 8, 13), (1, 1, 1, 0)),
        ((0, 5, 10, 15), (1, 1, 1, 1)),  # nobody has two neighbours: 5 takes the place of 4
        ((0, 5, 10, 16), (1, 1, 1, 0)),
    ],
)
def test_more_than_half_must_stand_behind_a_median(
    values: tuple[float, ...], good: tuple[int, ...]
) -> None:
    (made,) = play(Safeguard(1, None, (1.0,)), [on_line(*values)])
    np.testing.assert_array_equal(made.memory.good, np.array(good, bool))
    # The good of before the round make its result.
    np.testing.assert_allclose(made.vector, [np.mean(values)])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7).flatmap(
        lambda n: arrays(
            np.int8,
            st.tuples(st.integers(1, 7), st.just(n), st.just(2)),
            elements=st.integers(-3, 3),
        )
    ),
    st.sampled_from([(1, 3), (2, 2), (2, 3), (3, 6)]),
    st.tuples(st.sampled_from([0.3, 0.6, 1.1]), st.sampled_from([0.4, 0.9, 1.7])),
)
def test_equals_the_slow_rule(
    case: NDArray[np.int8], lengths: tuple[int, int], thresholds: tuple[float, float]
) -> None:
    # Off the grid: whole numbers stand at just twice the threshold, where rounding decides.
    off = 0.01 * np.random.default_rng(0).standard_normal(case.shape)
    rounds = (case + off).astype(np.float32)
    found = play(Safeguard(*lengths, thresholds), rounds)
    expected = slow.safeguard(list(rounds.astype(float)), list(lengths), list(thresholds))
    for made, (result, good) in zip(found, expected, strict=True):
        np.testing.assert_allclose(made.vector, result, atol=1e-6)
        np.testing.assert_array_equal(made.given > 0, good)


def test_the_order_of_sources_does_not_matter(rule: Safeguard) -> None:
    order = np.random.default_rng(3).permutation(N)
    rounds = list(noisy(2 * LONG, 0, corrupted=3, bias=3.0))
    straight, moved = play(rule, rounds), play(rule, [rows[order] for rows in rounds])
    assert not straight[-1].memory.good.all()
    for one, other in zip(straight, moved, strict=True):
        np.testing.assert_allclose(other.vector, one.vector, atol=1e-6)
        np.testing.assert_array_equal(other.memory.good, one.memory.good[order])
        np.testing.assert_array_equal(other.given, one.given[order])


def test_a_rotation_rotates_the_result(rule: Safeguard) -> None:
    turn = np.linalg.qr(np.random.default_rng(4).standard_normal((D, D)))[0]
    rounds = list(noisy(2 * LONG, 0, corrupted=3, bias=3.0))
    straight = play(rule, rounds)
    turned = play(rule, [(rows @ turn).astype(np.float32) for rows in rounds])
    for one, other in zip(straight, turned, strict=True):
        np.testing.assert_allclose(other.vector, one.vector @ turn, atol=1e-5)
        np.testing.assert_array_equal(other.memory.evicted, one.memory.evicted)


@pytest.mark.parametrize("size", [1.0, 1e38])
@pytest.mark.parametrize("spread", [None, inf])
def test_without_limits_it_is_the_mean_to_the_bit(size: float, spread: float | None) -> None:
    unlimited = Safeguard(2, 5, (inf, inf), spread)
    rounds = [np.clip(rows, -3, 3) * np.float32(size) for rows in noisy(12, 0, 2, bias=1.0)]
    weights = np.linspace(1, 3, N)
    memory = unlimited.init(N, D)
    for rows in rounds:
        made = unlimited.aggregate(rows, weights, memory)
        plain = Mean().aggregate(rows, weights, None)
        assert made.vector.tobytes() == plain.vector.tobytes()
        assert made.given.tobytes() == plain.given.tobytes()
        memory = made.memory
    assert memory.good.all()


def test_sums_that_overflow_are_beyond_any_threshold() -> None:
    rows = on_line(0, 0, 0, 3e38)
    made = play(Safeguard(5, None, (1e38,)), [rows, rows, rows])
    assert np.isinf(made[1].memory.sums[0][3]).all()
    np.testing.assert_array_equal(made[1].memory.evicted, [-1, -1, -1, 1])


def test_too_few_good_sources_evict_nobody() -> None:
    fewer = play(Safeguard(10, None, (0.5,)), [on_line(0, 0, 0, 9, 9)])[0].memory
    assert fewer.good.sum() == 3
    apart = Safeguard(10, None, (0.5,)).aggregate(on_line(0, 0, 50, 0, 0), np.ones(5), fewer)
    # Three of five are needed, and only two of the good ones stand together.
    np.testing.assert_array_equal(apart.memory.good, fewer.good)
    np.testing.assert_allclose(apart.vector, [50 / 3], rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int8, (8, 5, 2), elements=st.integers(-9, 9)),
    st.sampled_from([(0.1, 0.1), (0.5, 2.0), (3.0, 0.2)]),
)
def test_somebody_stays(case: NDArray[np.int8], thresholds: tuple[float, float]) -> None:
    made = play(Safeguard(2, 4, thresholds), case.astype(np.float32))
    assert made[-1].memory.good.any()
    for one in made:
        assert one.given.sum() == pytest.approx(1)


def test_weights_weigh_the_good_ones_only() -> None:
    rule, rows = Safeguard(4, None, (0.5,)), on_line(1, 2, 1, 9)
    weights = np.array([1.0, 2, 1, 50])  # a heavy source is no majority
    first = rule.aggregate(rows, weights, rule.init(4, 1))
    np.testing.assert_allclose(first.given, weights / 54)
    second = rule.aggregate(rows, weights, first.memory)
    np.testing.assert_allclose(second.given, [0.25, 0.5, 0.25, 0])
    np.testing.assert_allclose(second.vector, [1.5])


def test_on_the_edge_of_the_threshold_the_damage_is_bounded() -> None:
    # Four of ten keep their sum exactly at 2 x the threshold: 2 x 0.5 x 10 from the others.
    rule, step, pull = Safeguard(8, None, (0.5,)), np.float32([3, 4]), np.float32([6, 8])
    rounds = [np.tile(step, (N, 1)) for _ in range(8)]
    rounds[0][6:] += pull
    made = play(rule, rounds)
    assert made[-1].memory.good.all()
    damage = np.linalg.norm(sum(one.vector - step for one in made))
    assert damage == pytest.approx(4 / 10 * 2 * 0.5 * N, rel=1e-6)
    rounds[5][6:] += pull / 1000
    np.testing.assert_array_equal(play(rule, rounds)[-1].memory.evicted[6:], [5] * 4)


def test_windows_start_anew_at_multiples() -> None:
    rule = Safeguard(2, 3, (inf, inf))
    found = [
        [float(total[0, 0]) for total in made.memory.sums]
        for made in play(rule, [on_line(2**t) for t in range(7)])
    ]
    assert found == [[1, 1], [3, 3], [4, 7], [12, 8], [16, 24], [48, 56], [64, 64]]


def test_the_evicted_come_back_with_empty_sums() -> None:
    rule = Safeguard(2, 4, (0.5, 0.5), readmit=8)
    lying, sorry = on_line(1, 1, 1, 9, 9, 1, 1), on_line(1, 1, 1, 9, 1, 1, 1)
    made = play(rule, [lying] * 8 + [sorry] * 4)
    np.testing.assert_array_equal(made[7].memory.good, [1, 1, 1, 0, 0, 1, 1])
    np.testing.assert_allclose(made[8].given, np.full(7, 1 / 7))
    np.testing.assert_array_equal(made[8].memory.sums[1], sorry)
    last: Guard = made[-1].memory
    np.testing.assert_array_equal(last.good, [1, 1, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(last.evicted, [-1, -1, -1, 8, 0, -1, -1])
    assert "round 8: readmitted 3, 4" in last.log
    assert len(last.log) == 4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_with_nan_never_gets_in(rule: Safeguard, value: float) -> None:
    rounds = list(noisy(2 * LONG, 0))
    for t, rows in enumerate(rounds):
        rows[7, t % D] = value
    made = play(rule, rounds)
    others = np.arange(N) != 7
    for rows, one in zip(rounds, made, strict=True):
        assert one.vector.tobytes() == Mean()(rows[others]).tobytes()
        assert one.given[7] == 0
        assert all(np.isfinite(total).all() for total in one.memory.sums)
    last: Guard = made[-1].memory
    assert last.good[others].all()
    np.testing.assert_array_equal(last.rejected, np.where(others, 0, 2 * LONG))


def test_a_single_nan_evicts_nobody() -> None:
    # A missing row of length 10 would be far beyond 2 x 0.1; it counts as the round's result.
    rounds = [np.full((5, 2), 10, np.float32) for _ in range(4)]
    rounds[1][2] = np.nan
    last: Guard = play(Safeguard(4, None, (0.1,)), rounds)[-1].memory
    assert last.good.all()
    np.testing.assert_array_equal(last.sums[0], np.full((5, 2), 40))


def test_nothing_finite_at_all_is_said() -> None:
    rule = Safeguard(4, None, (0.1,))
    with pytest.raises(DataError, match="no good source sent a finite row in round 0"):
        rule.aggregate(np.full((3, 2), np.nan, np.float32), np.ones(3), rule.init(3, 2))


def test_a_row_out_of_the_spread_is_not_heard_in_its_round() -> None:
    rule = Safeguard(10, None, (inf,), spread=1.0)
    near, far = on_line(0, 1, 0, 1, 4), on_line(0, 1, 0, 1, 6)
    made = play(rule, [near, far, near])
    np.testing.assert_allclose([one.given[4] for one in made], [0.2, 0, 0.2])
    np.testing.assert_allclose(made[1].vector, [0.5])
    np.testing.assert_array_equal(made[-1].memory.rejected, [0, 0, 0, 0, 1])
    np.testing.assert_allclose(made[-1].memory.sums[0][4], [4 + 0.5 + 4])
    # No three lie within 1, but within 2: that counts four times.
    stale = play(rule, [on_line(0, 2, 4, 10, 11)])[0]
    np.testing.assert_allclose(stale.given, [0.25, 0.25, 0.25, 0.25, 0])


def test_one_bad_round_cannot_blow_up_the_model(rule: Safeguard) -> None:
    rounds = list(noisy(3, 0))
    for rows in rounds:
        rows[6:] *= -1e6
    assert max(np.abs(one.vector).max() for one in play(rule, rounds)) < 3
    unchecked = Safeguard(SHORT, LONG, rule.thresholds)
    assert np.abs(play(unchecked, rounds)[0].vector).max() > 1e5


def test_it_calibrates_itself_on_the_first_rounds() -> None:
    first = 2 * LONG
    rounds = [*noisy(first, 5), *noisy(LONG, 6, corrupted=4, bias=20.0)]
    rule = Safeguard(SHORT, LONG, calibrate=first)
    made = play(rule, rounds)
    learned: Guard = made[first - 1].memory
    assert (learned.thresholds, learned.spread) == calibrated(rounds[:first], SHORT, LONG)
    assert learned.good.all()
    last: Guard = made[-1].memory
    assert (last.thresholds, last.spread) == (learned.thresholds, learned.spread)
    np.testing.assert_array_equal(last.good, [True] * 6 + [False] * 4)


@pytest.mark.parametrize("bias", [3.0, 1e3, 1e20])
def test_a_minority_cannot_push_the_calibration_beyond_the_honest(bias: float) -> None:
    rule = Safeguard(SHORT, LONG, calibrate=LONG)
    made = play(rule, noisy(LONG, 0, corrupted=4, bias=bias))
    diameters = [
        max(
            np.linalg.norm(a - b)
            for total in [one.memory.sums[1][:6]]
            for a in total
            for b in total
        )
        for one in made
    ]
    assert made[-1].memory.good.all()
    assert 0 < made[-1].memory.thresholds[1] <= max(diameters) / N


def test_memory_is_a_value(rule: Safeguard) -> None:
    rounds = list(noisy(LONG, 0, corrupted=4, bias=4.0))
    made = play(rule, rounds)
    assert not made[-1].memory.good.all()
    before, kept = made[20].memory, pickle.dumps(made[20].memory)
    for memory in (before, pickle.loads(kept)):
        again = rule.aggregate(rounds[21], np.ones(N), memory)
        assert again.vector.tobytes() == made[21].vector.tobytes()
        for field in fields(Guard):
            one, other = (getattr(m, field.name) for m in (again.memory, made[21].memory))
            np.testing.assert_array_equal(one, other)
    assert pickle.dumps(before) == kept


def test_memory_does_not_hold_the_rows_of_the_caller() -> None:
    rule, rows = Safeguard(4, 8, (inf, inf)), next(noisy(1, 0))
    memory = rule.aggregate(rows, np.ones(N), rule.init(N, D)).memory
    for field in fields(memory):
        value = getattr(memory, field.name)
        for array in value if field.name == "sums" else [value]:
            assert not isinstance(array, np.ndarray) or not np.shares_memory(array, rows)


def test_it_tolerates_any_minority() -> None:
    assert [Safeguard(1, None, (1.0,)).tolerates(n) for n in (1, 2, 3, 10)] == [0, 0, 1, 4]


@pytest.mark.parametrize(("n", "d"), [(1, 3), (2, 3), (3, 0), (3, 1)])
def test_small_shapes(n: int, d: int) -> None:
    rows = np.ones((n, d), np.float32)
    (made,) = play(Safeguard(2, 4, (0.5, 0.5), spread=1.0), [rows])
    np.testing.assert_array_equal(made.vector, rows[0])
    assert made.memory.good.all()


@pytest.mark.parametrize(("n", "d"), [(9, D), (N, D + 1)])
def test_other_sources_than_before_are_refused(rule: Safeguard, n: int, d: int) -> None:
    memory = rule.init(N, D)
    with pytest.raises(PlanError, match=rf"of 10 sources \(d = 30\), round 0 has {n} \(d = {d}\)"):
        rule.aggregate(np.zeros((n, d), np.float32), np.ones(n), memory)


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ({}, "either thresholds or calibrate"),
        ({"thresholds": (1.0,), "calibrate": 9}, "either thresholds or calibrate"),
        ({"short": 0, "thresholds": (1.0,)}, r">= 1 rounds, got \(0,\)"),
        ({"long": 2, "calibrate": 9}, "long >= short, got 2 < 3"),
        ({"long": 9, "calibrate": 8}, "9 rounds or more, got 8"),
        ({"long": 9, "thresholds": (1.0,)}, "each of 2 windows"),
        ({"thresholds": (0.0,)}, "threshold > 0"),
        ({"thresholds": (float("nan"),)}, "threshold > 0"),
        ({"thresholds": (1.0,), "spread": 0.0}, "spread > 0"),
        ({"long": 6, "calibrate": 6, "readmit": 9}, "multiple of 3 and 6"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, object], needed: str) -> None:
    with pytest.raises(PlanError, match=needed):
        Safeguard(**{"short": 3, **arguments})  # type: ignore[arg-type]


def test_a_list_of_thresholds_is_as_good() -> None:
    assert Safeguard(2, 4, [1.0, 2.0]) == Safeguard(2, 4, (1.0, 2.0))  # type: ignore[arg-type]


def test_too_short_a_calibration_is_refused() -> None:
    with pytest.raises(PlanError, match="60 rounds, got 59"):
        calibrated(noisy(LONG - 1, 0), SHORT, LONG)
    with pytest.raises(PlanError, match="10 rounds, got 0"):
        calibrated([], SHORT)


def test_the_experiment_has_the_gradients_of_its_model() -> None:
    data, _ = experiment.digits(0)
    X, y = next(experiment.batches(3, data))
    params = experiment.MODEL.init(4)
    expected = [experiment.MODEL.gradient(params, *batch) for batch in zip(X, y, strict=True)]
    np.testing.assert_allclose(experiment.gradients(params, X, y), expected, atol=1e-6)
    assert np.abs(expected).max() > 0.01
