"""Every rule equals its slow oracle; every declared coefficient is above what attacks achieve."""

from itertools import combinations

import numpy as np
import pytest
import rule_oracles as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from rule_samples import distance_to_ones

from msl.aggregators import (
    AdaptiveRobustClipping,
    Bucketing,
    Bulyan,
    Caf,
    CenteredClipping,
    Clipping,
    Krum,
    Mda,
    Meamed,
    Mean,
    Median,
    Monna,
    MultiKrum,
    NearestNeighbourMixing,
    SignMajority,
    Smea,
    Zeno,
    make,
)
from msl.aggregators.subsets import MOST, best_subset
from msl.bounds import kappa, least_kappa
from msl.errors import PlanError

Rows = NDArray[np.float32]
Case = tuple[Rows, NDArray[np.float64], NDArray[np.float64]]


# A few numbers of rows, for rules with kernels that are compiled anew for each.
FEW = st.sampled_from([1, 2, 5, 8, 12])


@st.composite
def cases(
    draw: st.DrawFn,
    least: int = 1,
    most: int = 12,
    apart: bool = False,
    sizes: st.SearchStrategy[int] | None = None,
) -> Case:
    """Rows of small halves (so that ties and equal rows are common) or normals, and weights."""
    n = draw(st.integers(least, most) if sizes is None else sizes)
    d = draw(st.integers(1, 6))
    if apart or draw(st.booleans()):
        rows = np.random.default_rng(draw(st.integers(0, 2**32))).standard_normal((n, d))
    else:
        rows = draw(arrays(np.int8, (n, d), elements=st.integers(-6, 6))) / 2
    weights = draw(arrays(np.float64, n, elements=st.sampled_from([0.5, 1.0, 3.0])))
    rows = rows.astype(np.float32)
    return rows, rows.astype(np.float64), weights


quick = settings(max_examples=60, deadline=None)


def close(found: NDArray[np.float32], expected: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@quick
@given(cases(least=3))
def test_krum(case: Case) -> None:
    rows, exact, weights = case
    n, f = len(rows), (len(rows) - 3) // 2
    best = slow.krum_order(exact, n - f - 2)[0]
    np.testing.assert_array_equal(Krum(f)(rows), rows[best])
    other = slow.krum_order(exact, n - f - 1)[0]
    np.testing.assert_array_equal(Krum(f, closest="n-f-1")(rows), rows[other])
    close(MultiKrum(f)(rows, weights), slow.multi_krum(exact, weights, f, n - f))
    close(MultiKrum(f, m=1)(rows), exact[best])


@quick
@given(cases(sizes=FEW))
def test_meamed(case: Case) -> None:
    rows, exact, _ = case
    for f in {0, (len(rows) - 1) // 2}:
        close(Meamed(f)(rows), slow.meamed(exact, f))


@settings(max_examples=30, deadline=None)
@given(cases(most=9))
def test_mda(case: Case) -> None:
    rows, exact, weights = case
    f = (len(rows) - 1) // 2
    found = Mda(f).aggregate(rows, weights, None)
    chosen = np.flatnonzero(found.given)

    # Of equal subsets any may be chosen: it has the least diameter there is.
    def diameter(s: tuple[int, ...]) -> float:
        return max(slow.square(exact[i], exact[j]) for i in s for j in s)

    least = min(map(diameter, combinations(range(len(rows)), len(rows) - f)))
    assert diameter(tuple(chosen)) <= least * (1 + 1e-5) + 1e-12
    close(found.vector, slow.mean(exact[chosen], weights[chosen]))


@settings(max_examples=30, deadline=None)
@given(cases(most=9))
def test_smea(case: Case) -> None:
    rows, exact, weights = case
    f = (len(rows) - 1) // 2
    found = Smea(f).aggregate(rows, weights, None)
    chosen = np.flatnonzero(found.given)
    subsets = combinations(range(len(rows)), len(rows) - f)
    least = min(slow.smea_value(exact[list(s)]) for s in subsets)
    assert slow.smea_value(exact[chosen]) <= least * (1 + 1e-5) + 1e-5
    close(found.vector, slow.mean(exact[chosen], weights[chosen]))


@quick
@given(cases(apart=True))
def test_caf(case: Case) -> None:
    rows, exact, weights = case
    f = (len(rows) - 1) // 2
    np.testing.assert_allclose(
        Caf(f)(rows, weights), slow.caf(exact, weights, f), rtol=1e-3, atol=1e-3
    )


@quick
@given(cases(sizes=FEW), st.sampled_from([0.3, 1.0, 100.0]), st.integers(1, 4))
def test_centered_clipping(case: Case, tau: float, iterations: int) -> None:
    rows, exact, weights = case
    rule, start = CenteredClipping(tau, iterations), np.full(rows.shape[1], 0.25, np.float32)
    expected = slow.centered_clipping(exact, weights, start.astype("d"), tau, iterations)
    found = rule.aggregate(rows, weights, start)
    close(found.vector, expected)
    assert found.memory is found.vector
    middle = slow.weighted_median(exact, weights)
    close(rule(rows, weights), slow.centered_clipping(exact, weights, middle, tau, iterations))


@quick
@given(cases(least=3))
def test_bulyan(case: Case) -> None:
    rows, exact, _ = case
    f = (len(rows) - 3) // 4
    close(Bulyan(f)(rows), slow.bulyan(exact, f))


@quick
@given(cases())
def test_monna_and_mixing(case: Case) -> None:
    rows, exact, weights = case
    f, last = (len(rows) - 1) // 2, len(rows) - 1
    near = slow.nearest_rows(exact, last, len(rows) - f)
    close(Monna(f, reference=last)(rows, weights), slow.mean(exact[near], weights[near]))
    mixed = slow.nnm(exact, weights, f)
    close(NearestNeighbourMixing(f)(rows, weights), slow.mean(mixed, weights))
    found = NearestNeighbourMixing(f).aggregate(rows, weights, None)
    close(found.vector, found.given @ exact)


@quick
@given(cases())
def test_clipping(case: Case) -> None:
    rows, exact, weights = case
    f = (len(rows) - 1) // 2
    clipped = slow.arc(exact, f)
    close(AdaptiveRobustClipping(f)(rows, weights), slow.mean(clipped, weights))
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    expected = exact * np.minimum(1, 2.0 / np.maximum(lengths, 1e-300))
    close(Clipping(2.0)(rows, weights), slow.mean(expected, weights))


@quick
@given(cases(), st.integers(1, 4))
def test_bucketing(case: Case, s: int) -> None:
    rows, exact, weights = case
    rule, memory, seen = Bucketing(s, seed=3), None, set()
    memory = rule.init(*rows.shape)
    for _ in range(3):
        found = rule.aggregate(rows, weights, memory)
        # The mean of weighted means is the mean, however they are shuffled.
        close(found.vector, slow.mean(exact, weights))
        close(found.vector, found.given @ exact)
        seen.add(Bucketing(s, Median(), 3).aggregate(rows, weights, memory).vector.tobytes())
        memory = found.memory
    assert memory[0] == 3


@quick
@given(cases())
def test_sign_majority(case: Case) -> None:
    rows, exact, weights = case
    votes = np.sign((np.sign(exact) * weights[:, None]).sum(axis=0))
    np.testing.assert_array_equal(SignMajority(2.0)(rows, weights), 2 * votes)
    size = np.median(np.abs(exact).mean(axis=1))
    close(SignMajority()(rows, weights), size * votes)


@quick
@given(cases(apart=True))
def test_zeno_keeps_what_the_judge_likes(case: Case) -> None:
    rows, exact, weights = case
    f = len(rows) // 2
    zero = np.zeros(rows.shape[1], np.float32)
    before = distance_to_ones(zero)
    gains = [before - distance_to_ones(row) - 0.01 * np.square(row).mean() for row in rows]
    chosen = np.argsort(gains)[f:]
    found = Zeno(f, rho=0.01).trusting(distance_to_ones)(rows, weights)
    close(found, slow.mean(exact[chosen], weights[chosen]))


def test_zeno_without_a_judge_says_what_it_needs() -> None:
    with pytest.raises(PlanError, match="zeno needs trusted rows"):
        Zeno(f=1)(np.ones((3, 2), np.float32))


def test_beyond_so_many_subsets_neighbourhoods_are_tried() -> None:
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((40, 50)).astype(np.float32)
    rows[:8] += 4
    tried = []

    def cost(subsets: NDArray[np.intp]) -> tuple[NDArray[np.float64], ...]:
        tried.append(len(subsets))
        return (np.zeros(len(subsets)),)

    best_subset(np.zeros((40, 40)), 8, cost)
    assert sum(tried) == 40 < MOST
    for rule in (Mda(f=8), Smea(f=8)):
        assert rule.aggregate(rows, np.ones(40), None).given[:8].sum() == 0


def worst(rule: object, honest: Rows, f: int, draw: np.random.Generator) -> float:
    """Return |F - mean|^2 over the variance of the honest rows, the worst of many attacks."""
    centre = honest.mean(axis=0)
    variance = np.square(honest - centre).sum(axis=1).mean()
    spread = np.sqrt(variance)
    found = 0.0
    for size in (0.1, 0.5, 1.0, 2.0, 5.0, 100.0):
        for _ in range(6):
            way = draw.standard_normal(honest.shape[1])
            way *= size * spread / np.linalg.norm(way)
            rows = np.vstack([honest, np.tile(centre + way, (f, 1))]).astype(np.float32)
            found = max(found, float(np.square(rule(rows) - centre).sum() / variance))  # type: ignore[operator]
    return found


@pytest.mark.parametrize("name", ["trimmed_mean", "krum", "median", "geometric_median"])
@pytest.mark.parametrize(("n", "f"), [(7, 2), (12, 3), (12, 4), (20, 5)])
@pytest.mark.parametrize("mixed", [False, True])
def test_no_attack_passes_the_coefficient(name: str, n: int, f: int, mixed: bool) -> None:
    draw = np.random.default_rng(n + f)
    rule = make(name, **({"f": f} if name in ("trimmed_mean", "krum") else {}))
    if mixed:
        rule = NearestNeighbourMixing(f, rule)
    bound = kappa(name, n, f, mixed)
    assert bound is not None
    assert bound >= least_kappa(n, f)
    for d in (1, 8):
        honest = draw.standard_normal((n - f, d)).astype(np.float32)
        assert worst(rule, honest, f, draw) <= bound


def test_the_mean_has_no_coefficient() -> None:
    draw = np.random.default_rng(0)
    assert worst(Mean(), draw.standard_normal((9, 4)).astype(np.float32), 3, draw) > 100
    assert kappa("mean", 12, 3) is None
    with pytest.raises(PlanError, match="2 f < n"):
        kappa("median", 4, 2)
