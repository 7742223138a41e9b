"""One seed, one model: in process and on 1, 2 and 4 workers, for every aggregator and codec."""

import pytest
from codec_samples import SAMPLES
from distributed import Client, LocalCluster
from rule_samples import NEEDED
from tasks import blobs, held_out, plan

from msl.aggregators import AGGREGATORS, make
from msl.cluster import DaskExecutor, LocalExecutor
from msl.codecs import CODECS
from msl.rounds import train

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
