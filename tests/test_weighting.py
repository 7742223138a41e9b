"""Source weights in closed form, lambda by cross-validation, and the rule made of both."""

import pickle

import numpy as np
import pytest
from scipy.optimize import minimize

from msl.cluster import LocalExecutor
from msl.errors import DataError, PlanError
from msl.random import generator
from msl.trust.base import Held
from msl.trust.reference import discrepancies_to_reference
from msl.trust.reference_weighting import ReferenceWeighting
from msl.trust.weighting import (
    cross_validated_lambda,
    deal_folds,
    fit_weighted,
    source_weights,
)
from msl.types import Data, SourceInfo

D = np.array([0.0, 0.07, 0.02, 0.4, 0.9, 0.07])
M = np.array([50, 300, 20, 100, 1000, 10])


def objective(a, lam, d=D):
    return a @ d + lam * np.sqrt((a**2 / M).sum())


@pytest.mark.parametrize("lam", [1e-3, 0.1, 0.7, 3.0, 40.0])
def test_the_closed_form_is_the_minimiser(lam):
    ours = source_weights(D, M, lam)
    assert ours.sum() == pytest.approx(1)
    assert (ours >= 0).all()
    generic = minimize(
        objective,
        np.full(6, 1 / 6),
        args=(lam,),
        method="SLSQP",
        bounds=[(0, 1)] * 6,
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert objective(ours, lam) <= objective(generic.x, lam) + 1e-9
    assert ours == pytest.approx(generic.x, abs=2e-3)


def test_limits_and_ties():
    assert source_weights(D, M, 0.0).tolist() == [1, 0, 0, 0, 0, 0]
    tied = source_weights([0.2, 0.1, 0.1], [5, 30, 10], 0.0)
    assert tied == pytest.approx([0, 0.75, 0.25])
    assert source_weights([0.2, 0.1, 0.1], [5, 30, 10], 1e-12) == pytest.approx(tied)
    assert source_weights(D, M, np.inf) == pytest.approx(M / M.sum())
    assert source_weights(D, M, 1e9) == pytest.approx(M / M.sum())
    assert source_weights([0.5], [3], 1.0).tolist() == [1.0]


def test_a_source_farther_away_gets_less_and_the_bound_grows():
    before, least = None, -1.0
    for far in np.linspace(0, 1, 21):
        d = D.copy()
        d[1] = far
        weights = source_weights(d, M, 1.0)
        assert before is None or weights[1] <= before + 1e-12
        assert objective(weights, 1.0, d) >= least - 1e-12
        before, least = weights[1], objective(weights, 1.0, d)


def test_weights_follow_their_sources():
    order = np.array([3, 0, 5, 1, 4, 2])
    assert source_weights(D[order], M[order], 0.5) == pytest.approx(
        source_weights(D, M, 0.5)[order]
    )


@pytest.mark.parametrize(
    ("d", "m", "lam", "error", "words"),
    [
        ([0.1], [1], -1.0, PlanError, "lam must be in"),
        ([0.1], [1], np.nan, PlanError, "lam must be in"),
        ([], [], 1.0, DataError, "one discrepancy and size"),
        ([0.1, 0.2], [1], 1.0, DataError, "one discrepancy and size"),
        ([0.1, 0.2], [1, 0], 1.0, DataError, "leave out empty"),
        ([0.1, np.nan], [1, 2], 1.0, DataError, "must be finite"),
    ],
)
def test_impossible_values_are_refused(d, m, lam, error, words):
    with pytest.raises(error, match=words):
        source_weights(d, m, lam)


def draw(key, rows=200, flip=False, features=3):
    rng = generator(key)
    X = rng.standard_normal((rows, features)).astype(np.float32)
    y = (X[:, 0] + 0.3 * rng.standard_normal(rows) > 0).astype(np.int64)
    return X, 1 - y if flip else y


def test_discrepancies_tell_flipped_labels():
    found = discrepancies_to_reference(draw(0), [draw(0), draw(1), draw(2, flip=True)])
    assert found[0] == 0
    assert found[1] < 0.2
    assert found[2] > 0.7


def test_discrepancies_do_not_depend_on_units():
    reference, source = draw(0), draw(1, flip=True)
    unit = np.array([1e-4, 1.0, 1e4])
    scaled = [(X.astype(float) * unit + 5 * unit, y) for X, y in (reference, source)]
    before = discrepancies_to_reference(reference, [source])
    assert discrepancies_to_reference(scaled[0], scaled[1:]) == pytest.approx(before, abs=0.01)


def test_a_set_of_one_class_is_told_by_a_constant_hypothesis():
    X, y = draw(0)
    ones = np.ones_like(y)
    (far,) = discrepancies_to_reference((X, ones), [(X, y)])
    assert far >= (1 - y).mean()
    (same,) = discrepancies_to_reference((X, ones), [(X[:50], ones[:50])])
    assert same < 0.15


def test_three_classes():
    X, _ = draw(0)
    y = np.digitize(X[:, 0], [-0.4, 0.4])
    near, far = discrepancies_to_reference((X, y), [(X, y), (X, (y + 1) % 3)], 3)
    assert near == 0
    assert far > 0.5
    with pytest.raises(DataError, match="class numbers"):
        discrepancies_to_reference((X, y), [(X, y)], 2)


def least_squares(X, y, weight):
    Z = np.column_stack([X, np.ones(len(X))]) * np.sqrt(weight)[:, None]
    w = np.linalg.lstsq(Z, (2 * y - 1) * np.sqrt(weight), rcond=None)[0]
    return lambda rows: (np.column_stack([rows, np.ones(len(rows))]) @ w > 0).astype(np.int64)


def test_lambda_is_small_when_all_others_lie_and_helps_when_none_does():
    reference, (X, y) = draw(0, 30, features=10), draw(99, 2000, features=10)
    for flip, most in ((True, 0.0), (False, 1.0)):
        sources = [draw(1 + i, 100, flip, features=10) for i in range(5)]
        choice = cross_validated_lambda(reference, sources, least_squares)
        d = np.append(0.0, discrepancies_to_reference(reference, sources))
        weights = source_weights(d, [30] + [100] * 5, choice.lam)
        error = (fit_weighted([reference, *sources], weights, least_squares)(X) != y).mean()
        alone = (fit_weighted([reference], [1.0], least_squares)(X) != y).mean()
        assert weights[1:].sum() <= most + 0.05
        assert error <= alone + 0.01
        assert min(choice.errors) == choice.errors[choice.lambdas.index(choice.lam)]


def test_no_discrepancy_sees_the_rows_of_its_fold():
    reference, seen = draw(0, 50), []

    def spy(ours, sources, _):
        seen.append({row.tobytes() for row in ours[0]})
        return np.zeros(len(sources))

    cross_validated_lambda(
        reference, [draw(1)], least_squares, folds=5, lambdas=(1.0,), discrepancies=spy
    )
    assert [len(rows) for rows in seen] == [40] * 5
    left_out = [{row.tobytes() for row in reference[0]} - rows for rows in seen]
    assert len(set.union(*left_out)) == 50


def test_folds_that_cannot_be_dealt_are_refused():
    with pytest.raises(PlanError, match="at least 2 folds"):
        deal_folds(np.array([0, 1]), 1, 0)
    with pytest.raises(DataError, match="5 folds need as many"):
        deal_folds(np.array([0, 1]), 5, 0)
    with pytest.raises(DataError, match="set lam"):
        deal_folds(np.ones(20, dtype=int), 5, 0)


class Rows:
    """As much of a host as a rule sees."""

    def __init__(self, data):
        self.data = data


def held(sets):
    host = Rows({rank: Data(*one) for rank, one in enumerate(sets)})
    return [
        Held(
            rank,
            SourceInfo(f"s{rank}", len(y), X.shape[1], tuple(np.unique(y).tolist()), ""),
            host,
            "local",
        )
        for rank, (X, y) in enumerate(sets)
    ]


@pytest.mark.parametrize("lam", [None, 0.3])
def test_the_rule_leaves_liars_out(lam):
    sets = [draw(0, 80), draw(1), draw(2, flip=True), draw(3, flip=True), draw(4, flip=True)]
    rule = ReferenceWeighting(reference="s0", lam=lam)
    with LocalExecutor() as executor:
        report = rule.weigh(held(sets), executor)
    assert report == pickle.loads(pickle.dumps(report))
    assert max(report.weights) == 1.0
    assert report.weights[2:] == (0.0, 0.0, 0.0)
    assert "left out" in report.reasons[2]
    assert report.reasons[0].startswith("the reference")
    expected = np.append(0.0, discrepancies_to_reference(sets[0], sets[1:]))
    assert report.statistic == pytest.approx(expected)
    if lam is not None:
        shares = np.array(report.weights) * [len(y) for _, y in sets]
        assert shares / shares.sum() == pytest.approx(
            source_weights(expected, [len(y) for _, y in sets], lam)
        )


def test_what_the_rule_refuses():
    sets = [draw(0), draw(1)]
    with LocalExecutor() as executor:
        with pytest.raises(PlanError, match="no source 'x'"):
            ReferenceWeighting("x").weigh(held(sets), executor)
        assert ReferenceWeighting().weigh(held(sets[:1]), executor).weights == (1.0,)
        one_class = [(sets[0][0], np.ones(200, dtype=int)), sets[1]]
        with pytest.raises(DataError, match="set lam"):
            ReferenceWeighting().weigh(held(one_class), executor)
        fixed = ReferenceWeighting(lam=0.1).weigh(held(one_class), executor)
        assert fixed.weights == (1.0, 0.0)
    with pytest.raises(PlanError, match="lam in"):
        ReferenceWeighting(lam=-1)
    with pytest.raises(PlanError, match="2 folds"):
        ReferenceWeighting(folds=1)
