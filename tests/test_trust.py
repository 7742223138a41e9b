"""Every trust rule gives each source a weight in [0, 1] and a reason."""

import pickle

import pytest

from msl.cluster import LocalExecutor
from msl.errors import PlanError
from msl.trust import TRUST, Held, TrustAll, TrustReport, TrustRule
from msl.types import SourceInfo

SAMPLES: list[TrustRule] = [TrustAll()]
every = pytest.mark.parametrize("rule", SAMPLES, ids=repr)


def infos(n: int) -> list[Held]:
    known = [SourceInfo(f"s{i}", 10 + i, 3, (0, 1), f"digest {i}") for i in range(n)]
    return [Held(rank, info, None, "local") for rank, info in enumerate(known)]


def test_every_member_has_a_sample() -> None:
    assert {type(rule) for rule in SAMPLES} == set(TRUST.values())
    assert all(TRUST[rule.name] is type(rule) for rule in SAMPLES)


@every
@pytest.mark.parametrize("n", [1, 4])
def test_every_source_is_weighed(rule: TrustRule, n: int) -> None:
    assert pickle.loads(pickle.dumps(rule)) == rule
    with LocalExecutor() as executor:
        report = rule.weigh(infos(n), executor)
        assert rule.weigh(infos(n), executor) == report
    assert len(report.weights) == len(report.reasons) == n
    assert all(0 <= weight <= 1 for weight in report.weights)
    assert all(report.reasons)
    assert pickle.loads(pickle.dumps(report)) == report


def test_trust_all_believes_everybody() -> None:
    with LocalExecutor() as executor:
        assert TrustAll().weigh(infos(3), executor).weights == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_the_unit_interval_is_refused(weight: float) -> None:
    with pytest.raises(PlanError, match=r"weights in \[0, 1\]"):
        TrustReport((1.0, weight), ("fine", "wrong"))


def test_every_weight_needs_a_reason() -> None:
    with pytest.raises(PlanError, match="2 weights need as many reasons, got 1"):
        TrustReport((1.0, 0.5), ("only one",))
