"""One seed, one model: in process and on 1, 2 and 4 workers, for every aggregator and codec."""

import numpy as np
import pytest
from codec_samples import SAMPLES
from distributed import Client, LocalCluster
from rule_samples import NEEDED
from tasks import blobs, held_out, plan

from msl.aggregators import AGGREGATORS, make
from msl.cluster import DaskExecutor, LocalExecutor
from msl.codecs import CODECS
from msl.models import Softmax
from msl.rounds import train
from msl.sources import ArraySource

BY_NAME = {codec.name: codec for codec in SAMPLES}


@pytest.fixture(scope="module")
def four():
    """Yield an executor on four worker processes."""
    with (
        LocalCluster(
            n_workers=4, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as started,
        Client(started) as client,
        DaskExecutor(client) as executor,
    ):
        assert len(executor.places) == 4
        yield executor


def known(a_plan, executor):
    """Return all that is to be the same: the model and what was told of every round."""
    result = train(a_plan, blobs(), executor, held_out=held_out())
    told = [(r.participants, r.given, r.source_loss, r.loss, r.bytes_total) for r in result.reports]
    return result.params.tobytes(), told


def is_the_same_anywhere(a_plan, executor, monkeypatch):
    with LocalExecutor() as local:
        alone = known(a_plan, local)
    for workers in (1, 2, 4):
        monkeypatch.setattr(executor, "places", executor.places[:workers])
        assert known(a_plan, executor) == alone, f"on {workers} workers"
        monkeypatch.undo()


@pytest.mark.parametrize("name", list(AGGREGATORS))
def test_every_aggregator(name, four, monkeypatch):
    aggregator = make(name, **NEEDED.get(name, {}))
    is_the_same_anywhere(plan(aggregator=aggregator, trusted=20, rounds=4), four, monkeypatch)


@pytest.mark.parametrize("name", list(CODECS))
def test_every_codec(name, four, monkeypatch):
    is_the_same_anywhere(plan(codec=BY_NAME[name], rounds=4), four, monkeypatch)


class Odd(LocalExecutor):
    """Brings arrays to odd addresses, where a wire may leave them."""

    def gather(self, handles):
        return [odd(value) if isinstance(value, np.ndarray) else value for value in handles]


def odd(array):
    room = np.empty(array.nbytes + 1, np.uint8)
    found = room[1:].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


def test_what_came_over_a_wire_predicts_the_same_bits():
    draw, p, n_classes = np.random.default_rng(0), 37, 7
    X, y = draw.standard_normal((1000, p), np.float32), draw.integers(0, n_classes, 1000)
    source, model, seen = ArraySource("a", X[:40], y[:40]), Softmax(p, n_classes), []

    def watch(_report, params):
        seen.append(params())
        return False

    task = plan(model=model, n_classes=n_classes, rounds=2, attack=None, corrupted=())
    here, there = (
        train(task, [source], executor, watch=watch).params for executor in (LocalExecutor(), Odd())
    )
    assert here.tobytes() == there.tobytes()
    assert model.decision(here, X).tobytes() == model.decision(there, X).tobytes()
    assert all(params.flags.aligned for params in seen)


def test_a_watch_may_write_to_what_it_got():
    def watch(_report, params):
        params()[:] = 0
        return False

    with LocalExecutor() as local:
        left, written = (train(plan(rounds=3), blobs(), local, watch=w) for w in (None, watch))
    assert written.params.tobytes() == left.params.tobytes()
