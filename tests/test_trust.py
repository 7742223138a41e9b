"""Every trust rule gives each source a weight in [0, 1] and a reason."""

import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tasks import plan

from msl.cluster import LocalExecutor
from msl.errors import PlanError
from msl.hosts import hold
from msl.sources import LoaderSource
from msl.trust import TRUST, Held, TrustAll, TrustReport, TrustRule, make

# What a rule needs, where it cannot be made from its name alone.
NEEDED: dict[str, dict[str, Any]] = {"flea": {"protected": 2}}
RULES = [make(name, **NEEDED.get(name, {})) for name in TRUST]
every = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def census(rank: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return rows with labels and a last column of 0 and 1."""
    draw = np.random.default_rng(rank)
    X = draw.standard_normal((60, 3))
    X[:, 2] = draw.random(60) < 0.4
    return X.astype(np.float32), (X[:, 0] + 0.3 * draw.standard_normal(60) > 0).astype(np.int64)


def held(n: int) -> list[Held]:
    """Return n sources on one host."""
    sources = [LoaderSource(f"site-{rank}", census, (rank,)) for rank in range(n)]
    host = hold(plan(corrupted=()), "local", list(enumerate(sources)))
    return [Held(rank, host.infos[rank], host, host.place) for rank in range(n)]


def test_every_member_has_its_name() -> None:
    assert all(TRUST[rule.name] is type(rule) for rule in RULES)


@every
@pytest.mark.parametrize("n", [1, 2, 4])
def test_every_source_is_weighed(rule: TrustRule, n: int) -> None:
    assert pickle.loads(pickle.dumps(rule)) == rule
    with LocalExecutor() as executor:
        report = rule.weigh(held(n), executor)
        assert rule.weigh(held(n), executor) == report
    assert len(report.weights) == len(report.reasons) == n
    assert all(0 <= weight <= 1 for weight in report.weights)
    assert sum(weight > 0 for weight in report.weights) > n / 2
    assert all(report.reasons)
    for told in (report.statistic, report.p_values):
        assert told is None or len(told) == n
    if (matrix := report.discrepancy) is not None:
        assert matrix.shape == (n, n)
        assert (matrix == matrix.T).all()
        assert not matrix.diagonal().any()
        assert 0 <= matrix.min() <= matrix.max() <= 1
    assert pickle.loads(pickle.dumps(report)) == report


def test_trust_all_believes_everybody() -> None:
    with LocalExecutor() as executor:
        assert TrustAll().weigh(held(3), executor).weights == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_the_unit_interval_is_refused(weight: float) -> None:
    with pytest.raises(PlanError, match=r"weights in \[0, 1\]"):
        TrustReport((1.0, weight), ("fine", "wrong"))


def test_every_weight_needs_a_reason() -> None:
    with pytest.raises(PlanError, match="2 weights need as many reasons, got 1"):
        TrustReport((1.0, 0.5), ("only one",))
