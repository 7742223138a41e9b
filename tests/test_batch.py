"""Small sources solved together send and keep, to the bit, what each would have by itself."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from msl.algorithms import Algorithm, FedAvg, FedSgd
from msl.codecs import make as make_codec
from msl.codecs.none import Identity
from msl.delivery import Worked
from msl.errors import SourceError
from msl.hosts import Host
from msl.models import Softmax
from msl.models.base import Model
from msl.models.linear import Linear
from msl.plan import Plan
from msl.sources.base import info_of
from msl.types import Data
from msl.work import work

P, C = 5, 3


def rows(m: int, kind: str = "", seed: int = 0) -> Data:
    draw = np.random.default_rng(100 * m + seed)
    X, y = draw.standard_normal((m, P), np.float32), draw.integers(0, C, m)
    weight = draw.integers(1, 4, m).astype(np.float32)
    if kind == "one class":
        y[:] = 1
    if kind == "absent":
        weight[: m // 2] = 0
    if kind == "sparse":
        return Data(csr_array(X), y)
    return Data(X, y, weight if kind in ("weighted", "absent") else None)


def host(
    data: list[Data],
    model: Model | None = None,
    algorithm: Algorithm | None = None,
    codec: str = "none",
    failure: str = "raise",
) -> Host:
    plan = Plan(
        model=model or Softmax(P, C),
        algorithm=algorithm or FedAvg(epochs=2, batch=7, lr=0.3),
        codec=make_codec(codec, **({"bits": 4} if codec == "maxmin" else {})),
        on_failure=failure,
        seed=3,
    )
    infos = {rank: info_of(f"s{rank}", one, "here") for rank, one in enumerate(data)}
    return Host(plan, "here", dict(enumerate(data)), infos)


def rounds(of: Host, monkeypatch: pytest.MonkeyPatch, together: bool) -> list[Worked]:
    """Work for three rounds, the sources by turns when not together."""
    with monkeypatch.context() as patch:
        if not together:
            patch.setattr("msl.batch._SMALL", 0)
        params = np.random.default_rng(1).standard_normal(of.plan.model.layout.size, np.float32)
        found, before = [], None
        for round in range(3):
            model = Identity().encode(params * np.float32(1 + round))[0]
            ranks = [rank for rank in of.data if (rank + round) % 4]
            before = work(of, before, model, ranks, round)
            found.append(before)
        return found


def check_equal(of: Host, monkeypatch: pytest.MonkeyPatch) -> list[Worked]:
    together, alone = (rounds(of, monkeypatch, way) for way in (True, False))
    for one, other in zip(together, alone, strict=True):
        assert one.delivery.dropped == other.delivery.dropped
        assert len(one.delivery.sent) == len(other.delivery.sent)
        for sent, wanted in zip(one.delivery.sent, other.delivery.sent, strict=True):
            assert (sent.rank, sent.weight, sent.loss) == (wanted.rank, wanted.weight, wanted.loss)
            assert sent.payload.to_bytes() == wanted.payload.to_bytes()
        for rank, kept in other.memories.items():
            mine = one.memories[rank]
            assert mine.round == kept.round
            assert (mine.coding is None) == (kept.coding is None)
    return together


kinds = st.tuples(st.integers(1, 30), st.sampled_from(["", "weighted", "absent", "one class"]))


@settings(max_examples=25, deadline=None)
@given(st.lists(kinds, min_size=1, max_size=6))
def test_equals_the_sources_by_turns(sizes):
    data = [rows(m, kind, seed) for seed, (m, kind) in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        check_equal(host(data), patch)


@pytest.mark.parametrize("codec", ["none", "maxmin", "topk"])
@pytest.mark.parametrize("algorithm", [FedAvg(batch=4), FedSgd(), FedSgd(batch=3)], ids=repr)
@pytest.mark.parametrize("model", [Softmax(P, C, l2=0.1), Linear(P, C, "hinge")], ids=repr)
def test_any_model_algorithm_and_codec(model, algorithm, codec, monkeypatch):
    data = [rows(m, kind) for m, kind in ((9, ""), (1, ""), (20, "weighted"), (5, "absent"))]
    check_equal(host(data, model, algorithm, codec), monkeypatch)


def test_sparse_rows_among_dense_ones(monkeypatch):
    check_equal(host([rows(9), rows(8, "sparse"), rows(7)]), monkeypatch)


def spoilt(what: str) -> list[Data]:
    data = [rows(9, seed=seed) for seed in range(4)]
    if what == "label":
        data[2].y[1] = C
    if what == "diverges":
        data[2].X[:] *= np.float32(1e30)
    if what == "no weight":
        data[2] = replace(data[2], weight=np.zeros(9, np.float32))
    return data


@pytest.mark.parametrize("what", ["label", "diverges", "no weight"])
def test_a_failing_source_is_dropped_or_raised_as_before(what, monkeypatch):
    found = check_equal(host(spoilt(what), failure="drop"), monkeypatch)
    assert [set(one.delivery.dropped) for one in found[:2]] == [{2}, {2}]
    assert 3 in {sent.rank for sent in found[0].delivery.sent}
    said = []
    for together in (True, False):
        with pytest.raises(SourceError, match="s2") as raised:
            rounds(host(spoilt(what)), monkeypatch, together)
        said.append(str(raised.value))
    assert said[0] == said[1]


def test_many_sources_are_cut_into_pieces(monkeypatch):
    monkeypatch.setattr("msl.batch._SOURCES", 3)
    check_equal(host([rows(6, seed=seed) for seed in range(8)]), monkeypatch)
