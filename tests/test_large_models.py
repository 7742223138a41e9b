"""Large models: blocks give the bits of whole rows, no copy too many, equal bits over the wire."""

import gc
import tracemalloc
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
from codec_samples import SAMPLES

from msl import blocks, hosts, meeting
from msl.aggregators import Krum, Meamed, Mean, Median, TrimmedMean
from msl.algorithms.base import Algorithm, LocalSolver, ServerRule, Step
from msl.attacks import SignFlip
from msl.blocks import block_of, distance, reduce_blocks
from msl.checkpoints.file import packed, write_tree
from msl.cluster import DaskExecutor, LocalExecutor
from msl.codecs import ErrorFeedback, Identity, MaxMin, PassThrough, Qsgd, Sign, TopK
from msl.codecs.payload import HEADER_BYTES, Payload, padded
from msl.delivery import Delivery, Sent, staying
from msl.errors import MslError, PayloadError
from msl.finite import finite_rows, first_non_finite
from msl.models.base import Model
from msl.rounds import Plan, train
from msl.sources import ArraySource
from msl.types import Layout, Update
from msl.work import work

SOURCES = 4
RULES = [Mean(), Median(), TrimmedMean(f=1), Meamed(f=1)]


@dataclass(frozen=True)
class Wide(Model):
    """So many numbers, and nothing to learn."""

    size: int

    @property
    def layout(self):
        return Layout((("all", (self.size,)),))

    def init(self, key):
        return np.zeros(self.size, np.float32)

    def loss(self, params, X, y, weight=None):
        return 0.0

    def gradient(self, params, X, y, weight=None):
        return np.zeros_like(params)

    def predict(self, params, X):
        return np.zeros(len(X), np.int64)

    def predict_proba(self, params, X):
        return np.ones((len(X), 1))


@dataclass(frozen=True)
class Draw(LocalSolver):
    model: Model
    poisoned: bool

    def solve(self, params, source, memory, key, round):
        told = np.random.default_rng(key).standard_normal(len(params), np.float32)
        if self.poisoned and source.X[0, 0] == 2:
            told[-1] = np.inf
        return Update(told, float(len(source)), 0.0), memory


@dataclass(frozen=True)
class Drawn(Algorithm):
    """Updates that are drawn; with poison, that of source 2 ends in Inf."""

    poisoned: bool = False
    name = "drawn"

    def solver(self, model: Model) -> LocalSolver:
        return Draw(model, self.poisoned)

    def server(self) -> ServerRule:
        return Step(0.5)


def plan_of(size, **parts) -> Plan:
    return Plan(
        **({"model": Wide(size), "algorithm": Drawn(), "rounds": 2, "guarantee": None} | parts)
    )


def sources():
    return [
        ArraySource(f"s{rank}", np.full((8 + rank, 2), rank, np.float32), np.arange(8 + rank) % 2)
        for rank in range(SOURCES)
    ]


def encoded(codec, size, n=SOURCES):
    draw = np.random.default_rng(3)
    memory = codec.init(size)
    return [
        codec.encode(draw.standard_normal(size, np.float32), memory, key=i)[0] for i in range(n)
    ]


@pytest.mark.parametrize("codec", SAMPLES, ids=repr)
def test_pieces_of_a_payload_decode_to_pieces_of_the_vector(codec):
    size = 64 * 16 + 37
    (payload,) = encoded(codec, size, 1)
    run = payload.codec.run(payload)
    if run is None:
        pytest.skip("decodes as a whole")
    whole = payload.decode()
    for start, stop in ((0, 4 * run), (2 * run, 5 * run), (3 * run, size), (0, size)):
        piece = payload.codec.cut(payload, start, stop)
        np.testing.assert_array_equal(piece.decode(), whole[start:stop])
        sizes = [(b.dtype, b.shape) for b in piece.buffers]
        assert sizes == piece.codec.buffers(piece.size, piece.count, piece.flags)


@pytest.mark.parametrize(
    "weights", [np.ones(4), np.array([1.0, 2.0, 4.0, 0.5])], ids=["equal", "not"]
)
@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("codec", [Identity(), MaxMin(bits=3), Sign(), TopK(0.05)], ids=repr)
def test_blocks_give_the_bits_of_whole_rows(codec, rule, weights, monkeypatch):
    monkeypatch.setattr(blocks, "_NUMBERS", 4 * 1024)
    monkeypatch.setattr(blocks, "_LARGE", 4 * 1024)
    if not rule.weighted:
        weights = np.ones(4)
    payloads = encoded(codec, 10_007)
    block = block_of(rule, payloads, 10_007)
    assert block is not None
    assert block <= 1024
    whole = rule.aggregate(np.stack([p.decode() for p in payloads]), weights, None)
    found = reduce_blocks(rule, payloads, weights, block)
    assert found.vector.tobytes() == whole.vector.tobytes()
    assert found.given.tobytes() == whole.given.tobytes()


def test_what_must_be_whole_is_not_cut(monkeypatch):
    monkeypatch.setattr(blocks, "_LARGE", 100)
    monkeypatch.setattr(blocks, "_NUMBERS", 100)
    payloads = encoded(Identity(), 1000)
    assert block_of(Mean(), payloads, 1000) == 25
    assert block_of(Krum(f=1), payloads, 1000) is None
    assert block_of(Mean(), payloads, 999) is None
    assert block_of(Mean(), encoded(Qsgd(coding="elias"), 1000), 1000) is None
    assert block_of(Mean(), [*payloads, *encoded(MaxMin(bucket=64), 1000)], 1000) == 64
    monkeypatch.setattr(blocks, "_LARGE", 1 << 22)
    assert block_of(Mean(), payloads, 1000) is None


def test_a_row_that_is_not_finite_is_left_out_of_every_block(monkeypatch):
    poisoned = plan_of(3000, algorithm=Drawn(poisoned=True), codec=PassThrough(Identity()))
    with LocalExecutor() as local:
        whole = train(poisoned, sources(), local)
        monkeypatch.setattr(blocks, "_LARGE", 100)
        monkeypatch.setattr(blocks, "_NUMBERS", 1000)
        cut = train(poisoned, sources(), local)
    assert whole.params.tobytes() == cut.params.tobytes()
    assert whole.reports[0].dropped == cut.reports[0].dropped == {2: "sent NaN or Inf"}
    assert whole.reports[0].given == cut.reports[0].given


@pytest.mark.parametrize("codec", [Identity(), MaxMin(bits=4), ErrorFeedback(TopK(0.01))], ids=repr)
def test_two_workers_send_large_payloads_to_the_same_bits(codec, cluster):
    plan = plan_of(1_300_000, codec=codec, aggregator=Median())
    with LocalExecutor() as local:
        wanted = train(plan, sources(), local)
    with DaskExecutor(cluster) as executor:
        found = train(plan, sources(), executor)
    assert found.params.tobytes() == wanted.params.tobytes()
    assert [r.given for r in found.reports] == [r.given for r in wanted.reports]
    assert [r.step_norm for r in found.reports] == [r.step_norm for r in wanted.reports]


def test_an_attack_on_a_large_model_sees_whole_rows():
    plan = plan_of(1_300_000, aggregator=Median(), attack=SignFlip(), corrupted=(1,), rounds=1)
    with LocalExecutor() as local:
        attacked = train(plan, sources(), local).params
        honest = train(replace(plan, attack=None, corrupted=()), sources(), local).params
    assert not np.array_equal(attacked, honest)


def test_a_payload_of_another_size_is_named():
    plan = plan_of(1_300_000)
    host = hosts.hold(plan, "here", list(enumerate(sources())))
    met = meeting.begin(plan, SOURCES)
    wrong = [Sent(i, p, 1.0, 0.0) for i, p in enumerate(encoded(Identity(), 1_299_999, 2))]
    with pytest.raises(PayloadError, match="source 0 in round 0: 1299999 numbers"):
        meeting.meet(host, met, [Delivery(tuple(wrong), {}, 0.0)], (1.0,) * 4, None, 0)


def peak_of(call, *arguments):
    """Return the most memory a call took beyond what was there, and what it returned."""
    gc.collect()
    tracemalloc.start()
    try:
        made = call(*arguments)
        return tracemalloc.get_traced_memory()[1], made
    finally:
        tracemalloc.stop()


def test_a_round_takes_the_room_of_its_payloads_and_no_copies():
    size = 1_500_000
    model, slack = 4 * size, 6 << 20
    for codec, ratio in (
        (Identity(), 1.0),
        (MaxMin(bits=4), 1 / 8),
        (ErrorFeedback(TopK(0.01)), 1.02),
    ):
        plan = plan_of(size, codec=codec, aggregator=Median())
        host = hosts.hold(plan, "here", list(enumerate(sources())))
        met, counts = meeting.begin(plan, SOURCES), (1.0,) * SOURCES
        for round in range(2):  # kernels compile in the first
            worked_peak, worked = peak_of(work, host, None, met.model, range(SOURCES), round)
            task = (host, met, [worked.delivery], counts, None, round)
            met_peak, after = peak_of(meeting.meet, *task)
        # What is sent, or kept of it at home, and one update in the making, with its residuals.
        assert worked_peak < SOURCES * ratio * model + 3 * model + slack, codec
        # The direction and the new parameters, and a product on the way to them.
        assert met_peak < 3 * model + slack, codec
        assert np.shares_memory(after.model.buffers[0], after.state.params)


def test_a_payload_that_is_the_update_itself_is_not_copied():
    told = np.arange(5, dtype=np.float32)
    assert not np.shares_memory(Identity().encode(told)[0].buffers[0], told)
    told.flags.writeable = False
    assert np.shares_memory(Identity().encode(told)[0].buffers[0], told)
    writable = np.arange(5, dtype=np.float32)
    view = writable.view()
    view.flags.writeable = False
    assert not np.shares_memory(Identity().encode(view)[0].buffers[0], writable)


def test_a_view_of_a_payload_cannot_be_written_to():
    for payload in (*encoded(Identity(), 10, 1), *encoded(MaxMin(), 10, 1)):
        with pytest.raises(ValueError, match="read-only"):
            payload.view()[0] = 1
        np.testing.assert_array_equal(payload.view(), payload.decode())


def test_what_stays_with_a_host_holds_no_payload():
    plan = plan_of(1000, codec=ErrorFeedback(TopK(0.1)))
    host = hosts.hold(plan, "here", list(enumerate(sources())))
    worked = work(host, None, meeting.begin(plan, SOURCES).model, range(SOURCES), 0)
    assert staying(worked).delivery.sent == ()
    assert staying(worked).memories is worked.memories


def test_what_was_pulled_goes_with_the_call_that_needed_it(cluster):
    with DaskExecutor(cluster) as executor:
        first, last = executor.places
        here = executor.submit(np.zeros, 5_000_000, at=first)
        executor.gather([executor.submit(np.size, here, at=last)])
        before, after = (
            executor.gather([executor.submit(_resident, here, at=last)])[0] for _ in range(2)
        )
    assert after - before < 20e6, "40 MB that nobody needs are still there"


def _resident(_):
    gc.disable()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_finiteness_is_found_in_every_piece():
    vector = np.zeros(3 << 20, np.float32)
    assert first_non_finite(vector) == -1
    vector[-1] = np.nan
    assert first_non_finite(vector) == len(vector) - 1
    rows = np.zeros((3, 2 << 20), np.float32)
    rows[1, -1] = np.inf
    assert finite_rows(rows).tolist() == [True, False, True]


def test_a_distance_in_pieces_is_the_distance():
    a, b = np.random.default_rng(0).standard_normal((2, 2_500_000), np.float32)
    wanted = np.linalg.norm(a.astype(np.float64) - b)
    assert distance(a, b) == pytest.approx(wanted, rel=1e-6)


def test_a_checkpoint_is_written_without_a_copy(tmp_path):
    state = meeting.begin(plan_of(2_000_000), SOURCES).state
    with open(tmp_path / "state", "wb") as out:
        peak, _ = peak_of(lambda: write_tree(out, packed(state, "state")))
    assert peak < 1 << 20


def test_no_finite_update_is_an_error_in_blocks_too(monkeypatch):
    monkeypatch.setattr(blocks, "_LARGE", 100)
    monkeypatch.setattr(blocks, "_NUMBERS", 100)
    plan = plan_of(1000, algorithm=Drawn(poisoned=True), codec=PassThrough(Identity()))
    with (
        LocalExecutor() as local,
        pytest.raises(MslError, match=r"no update in round 0.*sent NaN or Inf"),
    ):
        train(plan, [replace(sources()[2], name=f"s{i}") for i in range(3)], local)


@pytest.mark.parametrize(
    "codec", [Identity(), MaxMin(bits=3), Qsgd(), Sign(), TopK(0.01)], ids=repr
)
def test_sizes_past_32_bits_are_exact(codec):
    size = 2**32 - 5  # indices are uint32
    kept = codec.count(size) if isinstance(codec, TopK) else 0
    shapes = codec.buffers(size, kept)
    stated = HEADER_BYTES + sum(padded(d.itemsize * prod(shape)) for d, shape in shapes)
    assert codec.nbytes(size) == stated > 2**28


def test_a_size_past_32_bits_is_refused_before_it_costs_memory():
    head = bytearray(Identity().encode(np.zeros(2, np.float32))[0].to_bytes())
    head[8:16] = (2**33).to_bytes(8, "little")

    def read():
        with pytest.raises(PayloadError):
            Payload.from_bytes(bytes(head))

    peak, _ = peak_of(read)
    assert peak < 1 << 20
