"""Keys, layouts, reports and errors: the values that travel."""

import pickle

import numpy as np
import pytest

from msl import errors
from msl.errors import (
    CheckpointError,
    DataError,
    MslError,
    PayloadError,
    PlanError,
    SourceError,
    TrackingError,
    UnknownNameError,
    WorkerLostError,
)
from msl.random import derive, generator
from msl.types import Data, Layout, Report

ERRORS: list[tuple[MslError, type[Exception], str]] = [
    (MslError("a"), Exception, "a"),
    (PlanError("b"), ValueError, "b"),
    (UnknownNameError("no 'c'"), KeyError, "no 'c'"),
    (DataError("d"), ValueError, "d"),
    (PayloadError("e"), ValueError, "e"),
    (
        SourceError("s", 3, "tcp://w:1", "boom"),
        RuntimeError,
        "source 's' failed in round 3 on worker tcp://w:1: boom",
    ),
    (
        SourceError("s", -1, "tcp://w:1", "boom"),
        RuntimeError,
        "source 's' failed while loading on worker tcp://w:1: boom",
    ),
    (CheckpointError("half of it is missing"), RuntimeError, "half of it is missing"),
    (WorkerLostError(("a", "b"), "silence"), ConnectionError, "lost worker(s) a, b: silence"),
    (TrackingError("f"), RuntimeError, "f"),
]


@pytest.mark.parametrize(
    ("key", "words", "golden"),
    [
        (0, (), 0xE220A8397B1DCDAF),
        (7, (3, "encode"), 0xD62819DEB3D368CF),
        (2**64 - 1, ("solve", 0, 12), 0x7DBF743481AF79A4),
    ],
)
def test_keys_never_drift(key: int, words: tuple[int | str, ...], golden: int) -> None:
    assert derive(key, *words) == golden


def test_keys_do_not_meet() -> None:
    purposes = ("solve", "encode", "attack", "init", "sample", *range(5))
    keys = {
        derive(7, round, rank, purpose)
        for round in range(100)
        for rank in range(100)
        for purpose in purposes
    }
    assert len(keys) == 100 * 100 * len(purposes)
    assert all(0 <= key < 2**64 for key in keys)


def test_generator_is_a_function_of_its_key() -> None:
    first = generator(7).integers(0, 2**63, 3)
    named = np.random.Generator(np.random.Philox(key=7))
    np.testing.assert_array_equal(first, named.integers(0, 2**63, 3))
    assert first.tolist() == [8043457917274619346, 2724264800509173827, 3874717180691306060]
    np.testing.assert_array_equal(generator(7).integers(0, 2**63, 3), first)
    assert (generator(8).integers(0, 2**63, 3) != first).all()


def test_layout_splits_into_views() -> None:
    layout = Layout((("weight", (2, 3)), ("scale", ()), ("bias", (2,))))
    vector = np.arange(9, dtype=np.float32)
    assert layout.size == len(vector)
    blocks = layout.split(vector)
    assert list(blocks) == ["weight", "scale", "bias"]
    assert [block.tolist() for block in blocks.values()] == [[[0, 1, 2], [3, 4, 5]], 6, [7, 8]]
    blocks["bias"][:] = -1
    assert vector[7:].tolist() == [-1, -1]
    assert pickle.loads(pickle.dumps(layout)) == layout


def test_data_counts_rows() -> None:
    assert len(Data(np.zeros((4, 2), np.float32), np.zeros(4, np.int64))) == 4


def test_report_says_few_names() -> None:
    report = Report(
        round=2,
        participants=(0, 2),
        given=(0.25, 0.75),
        source_loss=(1.0, 5.0),
        dropped={1: "late"},
        bytes_up=50,
        bytes_down=200,
        bytes_up_dense=400,
        bytes_total=750,
        step_norm=0.5,
        seconds={"solve": 0.1, "round": 0.2},
        loss=0.7,
        accuracy=0.9,
    )
    assert pickle.loads(pickle.dumps(report)) == report
    assert report.metrics() == {
        "bytes/up": 50.0,
        "bytes/down": 200.0,
        "bytes/total": 750.0,
        "bytes/ratio": 8.0,
        "round/participants": 2.0,
        "round/dropped": 1.0,
        "round/step_norm": 0.5,
        "sources/loss_mean": 3.0,
        "sources/loss_std": 2.0,
        "sources/loss_min": 1.0,
        "sources/loss_max": 5.0,
        "time/solve": 0.1,
        "time/round": 0.2,
        "eval/loss": 0.7,
        "eval/accuracy": 0.9,
    }


def test_report_of_an_empty_round() -> None:
    metrics = Report(0, (), (), (), {0: "late"}, 0, 0, 0, 0, 0.0).metrics()
    assert metrics["bytes/ratio"] == 0
    assert not [name for name in metrics if name.startswith(("sources/", "eval/", "time/"))]


def test_every_error_has_a_sample() -> None:
    assert {type(error).__name__ for error, _, _ in ERRORS} == set(errors.__all__)


@pytest.mark.parametrize(("error", "standard", "said"), ERRORS, ids=lambda value: repr(value))
def test_errors_arrive_as_themselves(error: MslError, standard: type[Exception], said: str) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert isinstance(arrived, standard)
    assert isinstance(arrived, MslError)
    assert vars(arrived) == vars(error)
    assert str(arrived) == said


def test_errors_name_what_failed() -> None:
    source = SourceError("s", 3, "tcp://w:1", "boom")
    assert (source.source, source.round, source.worker, source.cause) == (
        "s",
        3,
        "tcp://w:1",
        "boom",
    )
    lost = WorkerLostError(("a", "b"), "silence")
    assert (lost.workers, lost.cause) == (("a", "b"), "silence")
