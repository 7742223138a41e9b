"""Bounds for sources that lie, held against brute force over finite classes."""

import itertools
import math
import pickle
import timeit

import numpy as np
import pytest

from msl.bounds import (
    VC,
    Finite,
    Guarantee,
    Linear,
    Measured,
    Norm,
    count_rule,
    effective_rows,
    excess_risk,
    largest_fraction,
    largest_fraction_within,
    make,
    weighted_deviation,
    weighted_excess_risk,
)
from msl.bounds.lower import agnostic, merged, realizable
from msl.errors import PlanError
from msl.parts import describe

CLASSES = [Finite(34), VC(5), Linear(4, 3), Norm(1.0, 2.0, 0.5), Measured(0.1, 200)]

# Thresholds on 16 cells, pointing either way: every hypothesis of a small domain. A row (x, y) is
# number 2 x + y, so that a source is a vector of 32 frequencies and its risks are source @ LOSS.
CELLS, DELTA, N, K = 16, 0.1, 11, 7
SAYS = np.arange(CELLS)[:, None] >= np.arange(CELLS + 1)
SAYS = np.hstack([SAYS, ~SAYS])
LOSS = np.stack([SAYS, ~SAYS], axis=1).reshape(2 * CELLS, -1).astype(float)
CLASS = Finite(LOSS.shape[1])


def worlds(trials, rng):
    """Return (trials, 32) distributions: a threshold, either way, with label noise."""
    cells = rng.dirichlet(np.ones(CELLS), trials)
    truth = SAYS.T[rng.integers(SAYS.shape[1], size=trials)]
    noise = rng.uniform(0, 0.3, (trials, 1))
    ones = cells * np.where(truth, 1 - noise, noise)
    return np.stack([cells - ones, ones], axis=2).reshape(trials, -1)


def draw(world, sizes, rng):
    counts = rng.multinomial(np.broadcast_to(sizes, (len(world), len(sizes))), world[:, None])
    return counts / np.asarray(sizes)[:, None]


def halves_apart(risks):
    return np.abs(risks[:, :, None] - risks[:, None]).max(axis=3)


def just_inside(good, world, lie, allowed, needed, rng):
    """Return frequencies as wrong as still find enough good sources that agree."""
    fresh = draw(world, [1000], rng)[:, 0]
    parts = np.linspace(0, 1, 51)[:, None]
    mixed = (1 - parts) * fresh[:, None] + parts * lie[:, None]
    far = np.abs((mixed @ LOSS)[:, :, None] - (good @ LOSS)[:, None]).max(axis=3)
    passes = (far <= allowed).sum(axis=2) >= needed
    best = passes.shape[1] - 1 - passes[:, ::-1].argmax(axis=1)
    return mixed[np.arange(len(world)), np.where(passes.any(axis=1), best, 0)]


def corrupt(drawn, world, allowed, c, rng):
    """Return what the learner sees: after the first K sources, one of five adversaries each."""
    trials, (good, bad) = len(world), np.split(drawn, [K], axis=1)
    best = (world @ LOSS).argmin(axis=1)
    other = (best + rng.integers(1, LOSS.shape[1], trials)) % LOSS.shape[1]
    differ = (LOSS.T[best] == 1) & (LOSS.T[other] == 0)  # rows that speak for the other alone
    lie = differ / np.maximum(differ.sum(axis=1), 1)[:, None]
    pairs = bad.reshape(trials, N - K, CELLS, 2)
    obeys = (LOSS.T[other] == 0).reshape(trials, 1, CELLS, 2)
    inside = just_inside(good, world, lie, allowed, c - (N - K), rng)
    choices = [
        pairs[..., ::-1],  # flipped labels
        pairs.sum(axis=3, keepdims=True) * obeys,  # labels of another threshold
        np.roll(good[:, : N - K].reshape(pairs.shape), 1 + rng.integers(4), axis=2),  # moved copies
        np.broadcast_to(lie[:, None], bad.shape),  # nothing but lies
        np.broadcast_to(inside[:, None], bad.shape),  # one lie, copied, just inside the threshold
    ]
    shaped = np.stack([choice.reshape(bad.shape) for choice in choices])
    return np.concatenate([good, shaped[rng.integers(5, size=trials), np.arange(trials)]], axis=1)


def learn(seen, world, sizes, allowed, c):
    """Filter, pool, minimise; return who was kept and the excess risk, ties to the worst."""
    risks = seen @ LOSS
    kept = (halves_apart(risks) <= allowed).sum(axis=2) >= c
    weights = np.where(kept.any(axis=1, keepdims=True), kept, True) * np.asarray(sizes)
    pooled = np.einsum("tn,tnh->th", weights / weights.sum(axis=1, keepdims=True), risks)
    true = world @ LOSS
    tied = pooled <= pooled.min(axis=1, keepdims=True) + 1e-12
    return kept, np.where(tied, true, 0).max(axis=1) - true.min(axis=1)


def play(sizes, c, *, scale=1.0, flexible=False, trials=1000, seed=0):
    rng = np.random.default_rng(seed)
    rates = scale * CLASS.rate(np.asarray(sizes), DELTA / (2 * N))
    world = worlds(trials, rng)
    drawn = draw(world, sizes, rng)
    if flexible:  # leaves the K sources that mislead most
        true, risks = world @ LOSS, drawn @ LOSS
        turn = np.argsort((risks - true[:, None]).max(axis=2), axis=1)[:, ::-1]
        drawn = np.take_along_axis(drawn, turn[:, :, None], axis=1)
    seen = corrupt(drawn, world, rates[K] + rates[:K], c, rng)
    return learn(seen, world, sizes, rates[:, None] + rates, c)


SIZES = {
    "equal": [1000] * N,
    "large liars": [500, 600, 700, 800, 900, 1000, 1100] + [1500] * 4,
    "small liars": [1100, 1200, 1300, 1400, 1500, 1600, 1700] + [500] * 4,
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("c", count_rule(N, K))
def test_the_theorem_holds_against_random_adversaries(sizes, c):
    kept, excess = play(sizes, c)
    bound = excess_risk(N, K, sizes, DELTA, CLASS)
    assert bound < 0.36  # it says something
    assert (excess > bound).mean() <= DELTA
    assert (~kept[:, :K]).any(axis=1).mean() <= DELTA
    bad_kept = kept[:, K:].mean()
    assert 0.2 < bad_kept < 0.9  # some adversaries get in, some do not


def test_the_theorem_holds_against_an_adversary_that_chooses_after_the_draw():
    sizes = SIZES["equal"]
    kept, excess = play(sizes, N // 2 + 1, flexible=True)
    assert (excess > excess_risk(N, K, 1000, DELTA, CLASS, "flexible")).mean() <= DELTA
    assert (~kept[:, :K]).any(axis=1).mean() <= DELTA


def test_thresholds_a_tenth_as_large_lose_good_sources_and_large_ones_lose_the_bound():
    """Shows that the two tests above can fail."""
    kept, _ = play(SIZES["equal"], 6, scale=0.1)
    assert (~kept[:, :K]).any(axis=1).mean() > 0.5
    kept, excess = play(SIZES["equal"], 6, scale=100)
    assert kept.all()
    assert (excess > excess_risk(N, K, 1000, DELTA, CLASS)).mean() > DELTA


def test_without_corruption_nobody_is_left_out():
    rng = np.random.default_rng(3)
    world, sizes = worlds(1000, rng), SIZES["large liars"]
    rates = CLASS.rate(np.asarray(sizes), DELTA / (2 * N))
    drawn = draw(world, sizes, rng)
    kept, excess = learn(drawn, world, sizes, rates[:, None] + rates, N)
    assert kept.all(axis=1).mean() >= 1 - DELTA
    assert (excess > excess_risk(N, N, sizes, DELTA, CLASS)).mean() <= DELTA


def test_a_rounds_bound_holds_for_any_fixed_weights():
    rng = np.random.default_rng(4)
    sizes = np.array(SIZES["large liars"])
    rates = CLASS.rate(sizes, DELTA / (2 * N))
    world = worlds(1000, rng)
    seen = corrupt(draw(world, sizes, rng), world, rates[K] + rates[:K], 6, rng)
    weights = rng.dirichlet(np.ones(N))
    kept, _ = learn(seen, world, sizes, rates[:, None] + rates, 6)
    shares = np.where(kept, weights, 0)
    pooled = np.einsum("tn,tnh->th", shares / shares.sum(axis=1, keepdims=True), seen @ LOSS)
    true = world @ LOSS
    excess = np.take_along_axis(true, pooled.argmin(axis=1)[:, None], 1)[:, 0] - true.min(axis=1)
    bound = [
        weighted_excess_risk(share[held], sizes[held], int(held[K:].sum()), DELTA, CLASS)
        for share, held in zip(shares, kept, strict=True)
    ]
    assert (excess > bound).mean() <= DELTA


@pytest.mark.parametrize("m", [20, 400])
@pytest.mark.parametrize("capacity", [CLASS, VC(2), "measured"], ids=str)
def test_rates_cover_the_largest_deviation(capacity, m):
    rng = np.random.default_rng(1)
    world = worlds(2000, rng)
    halves = draw(world, [m // 2, m // 2], rng) @ LOSS
    off = np.abs(halves.mean(axis=1) - world @ LOSS).max(axis=1)
    if capacity == "measured":
        apart = np.abs(halves[:, 0] - halves[:, 1]).max(axis=1)
        rate = np.array([Measured(float(d), m).rate(m, DELTA) for d in apart])
    else:
        rate = capacity.rate(m, DELTA)
    assert (off > rate).mean() <= DELTA
    assert (off > rate / 20).mean() > 0.5  # not idle


def test_the_norm_rate_covers_linear_losses():
    rng = np.random.default_rng(2)
    # Loss (1 + <w, x>) / 2 with |w| <= 1, |x| <= 1: the supremum is half the mean's deviation.
    rows = rng.standard_normal((2000, 50, 30))
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    off = np.linalg.norm(rows.mean(axis=1), axis=1) / 2
    assert (off > Norm(1.0, 1.0, 0.5).rate(50, DELTA)).mean() <= DELTA
    assert Norm(1.0, 1.0, 0.5).rate(50, DELTA) < 6 * off.mean()


@pytest.mark.parametrize("p", [1, 2])
def test_linear_choices_are_fewer_than_counted(p):
    classes, half = 3, 6  # 2 m = 12 rows
    rng = np.random.default_rng(5)
    rows = np.hstack([rng.standard_normal((2 * half, p)), np.ones((2 * half, 1))])
    scores = np.einsum("mp,scp->smc", rows, rng.standard_normal((50_000, classes, p + 1)))
    seen = len(np.unique(scores.argmax(axis=2), axis=0))
    k = (classes - 1) * (p + 1)
    assert 100 < seen <= (math.e * half * classes * (classes - 1) / k) ** k


def test_rates_are_what_the_literature_states():
    m, d, delta = 5000, 10, 0.05
    assert Finite(34).rate(m, delta) == pytest.approx(math.sqrt(math.log(68 / delta) / 2 / m))
    classical = 8 * d * (1 + math.log(2 * m / d)) + 8 * math.log(4 / delta)
    assert VC(d).rate(m, delta) == pytest.approx(math.sqrt(classical / m))
    assert Linear(9).rate(m, delta) == VC(10).rate(m, delta)
    assert Norm(2.0, 3.0, 0.5).rate(m, delta) == pytest.approx(
        6 / math.sqrt(m) + math.sqrt(math.log(2 / delta) / 2 / m)
    )


@pytest.mark.parametrize("capacity", CLASSES, ids=str)
def test_rates_fall_with_rows_and_chance(capacity):
    sizes = np.array([1, 2, 3, 5, 8, 20, 100, 1e4, 1e8])
    rates = capacity.rate(sizes, 0.05)
    assert (np.diff(rates) < 0).all()
    assert rates[-1] < 0.01
    assert (np.diff(rates * np.sqrt(sizes)) >= -1e-9).all()  # what weighted_excess_risk needs
    assert capacity.rate(100, 0.01) > capacity.rate(100, 0.1)
    assert pickle.loads(pickle.dumps(capacity)) == capacity
    assert make(**describe(capacity)) == capacity
    for m, delta in ((0, 0.1), (10, 0.0), (10, 1.0)):
        with pytest.raises(PlanError):
            capacity.rate(m, delta)


def test_half_of_the_sources_cannot_move_the_measured_rate_far():
    null, rows = np.full((4, 5), 0.2), np.array([100, 100, 100, 400, 100])
    null[:, 3] = 0.1
    honest = Measured.of_sources(null, rows)
    assert honest.rate(100, 0.05) == pytest.approx(Measured(0.2, 100).rate(100, 0.05))
    null[:, :2] = 1.0
    assert Measured.of_sources(null, rows).rate(100, 0.05) == honest.rate(100, 0.05)


@pytest.mark.parametrize(
    ("door", "args"),
    [
        (Finite, (0,)),
        (VC, (0,)),
        (Linear, (3, 1)),
        (Norm, (1.0, 0.0)),
        (Measured, (1.2, 10)),
        (count_rule, (10, 5)),
        (count_rule, (3, 4)),
        (excess_risk, (4, 2, 100, 0.05, VC(1))),
        (excess_risk, (3, 2, [10, 20], 0.05, VC(1))),
        (excess_risk, (3, 2, [10, 20, 0], 0.05, VC(1))),
        (excess_risk, (3, 2, 10, 1.5, VC(1))),
        (weighted_deviation, ([1], [1], 0.0, [0], [0])),
        (merged, (0.5,)),
        (realizable, (-0.1, 10)),
        (agnostic, (0.7, 10, 10, 1)),
        (agnostic, (0.1, 10, 10, 0)),
        (Guarantee, (0.0,)),
        (Guarantee, (0.05, 0.5)),
        (Guarantee, (0.05, None, "vc")),
        (Guarantee, (0.05, None, "auto", "angry")),
        (make, ("dimension",)),
    ],
)
def test_refuses_what_cannot_be(door, args):
    with pytest.raises(PlanError):
        door(*args)


def test_the_bound_is_the_theorems():
    s, delta = VC(10), 0.05
    assert excess_risk(11, 7, 1000, delta, s) == pytest.approx(
        2 * s.rate(7000, delta / 2) + 6 * 4 / 11 * s.rate(1000, delta / 22)
    )
    assert excess_risk(11, 7, 1000, delta, s, "flexible") == pytest.approx(
        2 * s.rate(7000, delta / 2 / math.comb(11, 7)) + 6 * 4 / 11 * s.rate(1000, delta / 22)
    )
    assert excess_risk(11, 11, 1000, delta, s) == 2 * s.rate(11000, delta / 2)
    sizes = [1000, 100, 400, 300, 200]
    assert excess_risk(5, 3, sizes, delta, s) == pytest.approx(
        2 * s.rate(600, delta / 2) + 6 * 0.7 * s.rate(100, delta / 10)
    )
    # Chances too small for a float: every source's own rate stands in.
    own = s.rate(1000, delta / 6002)
    assert excess_risk(3001, 2001, 1000, delta, s, "flexible") == pytest.approx(
        (2 + 2000 / 1000.33333) * own, rel=1e-3
    )


def test_the_largest_fraction_is_below_half_and_shrinks_with_the_excess_asked_for():
    assert [largest_fraction(n) for n in (1, 2, 3, 10)] == [0, 0, 1 / 3, 0.4]
    bounds = {bad: excess_risk(11, 11 - bad, 1000, 0.05, CLASS) for bad in range(6)}
    for bad, bound in bounds.items():
        assert largest_fraction_within(bound, 11, 1000, 0.05, CLASS) == bad / 11
    assert largest_fraction_within(bounds[0] * 0.99, 11, 1000, 0.05, CLASS) is None


def test_weights_by_rows_tell_the_most():
    sizes = [100, 300, 50]
    assert effective_rows(sizes, sizes) == pytest.approx(450)
    assert effective_rows([0, 7, 0], sizes) == pytest.approx(300)
    assert effective_rows([1, 1, 1], sizes) < 450


def test_weighted_deviation_is_theorem_1():
    found = weighted_deviation([1, 3], [100, 300], 0.1, [0.2, 0.1], [0.0, 0.4], bound=2.0)
    assert found == pytest.approx(
        4 * 0.125 + 2 * 0.3 + 6 * math.sqrt(math.log(40) * 4 / 2) * math.sqrt(1 / 400)
    )


def test_who_merges_everything_plateaus_and_who_filters_does_not():
    """Kearns and Li's adversary: both labels of a rare point become equally common."""
    rng, alpha, trials = np.random.default_rng(6), 4 / 11, 400
    rare = alpha / (1 - alpha)
    risks, filtered = [], []
    for m in (10, 100, 1000, 10_000, 100_000):
        good = rng.binomial(m, rare, (trials, K))  # each bad source: m lies at the rare point
        wrong = good.sum(axis=1) < (N - K) * m
        assert (rare * wrong > merged(alpha).risk).mean() > merged(alpha).probability
        risks.append((rare * wrong).mean())
        # Of the two hypotheses a good source has the risks (0, good / m), a bad one (1, 0): they
        # are 1 apart, and the filter works as soon as its threshold is below that.
        threshold = 2 * Finite(2).rate(m, DELTA / (2 * N))
        if threshold < 1:
            filtered.append((np.ptp(good, axis=1) / m > threshold).mean())
    assert min(risks) > merged(alpha).risk
    assert risks[-1] > 0.8 * risks[0]
    assert len(filtered) == 4
    assert max(filtered) <= DELTA


def test_lower_bounds_lie_below_upper_ones():
    assert merged(0.25).risk == pytest.approx(1 / 24)
    assert realizable(0.25, 10).risk == pytest.approx(1 / 320)
    assert agnostic(0.25, 8, 10, 5).risk == pytest.approx(math.sqrt(5 / 102400) + 1 / 640)
    for bad, m, d in itertools.product((0, 2, 5), (10, 1000, 10**6), (1, 20)):
        below = agnostic(bad / 11, 11, m, d).risk
        assert below < excess_risk(11, 11 - bad, m, 0.05, VC(d))


def test_a_round_of_equal_sources_is_at_most_the_theorem():
    found = Guarantee(alpha=0.3, delta=0.1).of_round([1000] * 11, [0.5] * 11, CLASS)
    assert found.excess == pytest.approx(
        2 * CLASS.rate(11_000, 0.05) + 6 * 3 / 11 * CLASS.rate(1000, 0.1 / 22)
    )
    assert found.excess < excess_risk(11, 8, 1000, 0.1, CLASS)
    assert found.effective_rows == pytest.approx(11_000)
    assert not found.vacuous
    assert found.metrics() == {
        "bound/excess": found.excess,
        "bound/effective_rows": found.effective_rows,
        "bound/tolerated": 5 / 11,
        "bound/vacuous": 0.0,
    }
    most = Guarantee(delta=0.1).of_round([1000] * 11, [0.5] * 11, CLASS)
    assert most == Guarantee(alpha=0.49, delta=0.1).of_round([1000] * 11, [1.0] * 11, CLASS)
    assert most.excess > found.excess
    after = Guarantee(delta=0.1, adversary="flexible").of_round([1000] * 11, [1.0] * 11, CLASS)
    assert after.excess > most.excess


def test_corrupted_sources_that_nobody_filtered_may_be_off_by_their_whole_weight():
    guarantee, rows, given = Guarantee(alpha=0.3), [10_000] * 10, [0.3, 0.2, *[0.0625] * 8]
    clean = Guarantee(alpha=0.0).of_round(rows, given, CLASS, filtered=False)
    free = guarantee.of_round(rows, given, CLASS, filtered=False)
    assert free.excess - clean.excess == pytest.approx(2 * 0.5625)
    kept = guarantee.of_round(rows, given, CLASS)
    single = CLASS.rate(10_000, 0.05 / 20)
    assert kept.excess - clean.excess == pytest.approx(6 * 0.5625 * single)
    few = [guarantee.of_round([9] * 10, given, CLASS, filtered=f) for f in (True, False)]
    assert few[0] == few[1]  # a filter that lets everything pass


@pytest.mark.parametrize("capacity", CLASSES, ids=str)
@pytest.mark.parametrize("adversary", ["fixed", "flexible"])
def test_a_round_never_fails(capacity, adversary):
    guarantee = Guarantee(adversary=adversary)
    for n in (1, 2):  # nothing to vote with: nothing corrupted is assumed
        found = guarantee.of_round([50] * n, [1.0 / n] * n, capacity)
        assert found.tolerated == 0
        assert found.excess == 2 * capacity.rate(50 * n, 0.025)
    assert guarantee.of_round([1], [1.0], capacity).vacuous
    assert np.isfinite(guarantee.of_round([9] * 3000, [1.0] * 3000, capacity).excess)
    whole = guarantee.of_round([100, 200, 300], [1, 2, 3], capacity)
    assert guarantee.of_round([100, 0, 200, 300], [1, 0, 2, 3], capacity) == whole
    hopeless = [([], []), ([0], [0.0]), ([0, 5], [0.5, 0.5]), ([5], [float("nan")])]
    for rows, given in [*hopeless, ([5, 5], [0.0, 0.0]), ([5, 5], [-0.5, 1.5])]:
        found = guarantee.of_round(rows, given, capacity)
        assert (found.vacuous, found.effective_rows) == (True, 0)
        assert found.metrics()["bound/excess"] == 1


def test_a_round_costs_little():
    rows, given, guarantee = list(range(100, 200)), np.full(100, 0.01), Guarantee()
    runs = timeit.repeat(lambda: guarantee.of_round(rows, given, Linear(20)), number=50, repeat=20)
    assert min(runs) / 50 < 200e-6  # 22 us on a quiet core
