"""The benchmark beside other systems: what is not installed or fails is left out, and says so."""

import json

import numpy as np
import pytest

from msl_pipelines.bench.peers import task
from msl_pipelines.bench.peers.beside import Told, peers


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Return a maker of an environment's programs, which are shell scripts."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PEERS", str(tmp_path))

    def write(name, script):
        place = tmp_path / "bin" / name
        place.write_text(f"#!/bin/sh\n{script}\n")
        place.chmod(0o755)

    return write


def test_one_line_says_that_none_is_installed(monkeypatch):
    monkeypatch.delenv("PEERS", raising=False)
    (line,) = peers(10)
    assert "make bench-peers" in line


def test_a_round_takes_the_median_after_the_first_tenth(programs):
    ends = [5.0, *(9.0 + np.arange(20) / 4), 60.0]
    said = json.dumps({"version": "1.2", "begun": 2.0, "ends": ends, "loss": 0.1})
    programs("python", f"echo noise; echo '{said}'")
    programs("torchrun", "echo first >&2; echo 'no such module: pfl' >&2; exit 1")
    one, two, *flower = peers(50)
    assert one == Told("pfl 1.2, 1 process", 0.25, 3.0)
    assert two == "pfl, 2 processes is left out: no such module: pfl"
    assert [told.per_round for told in flower] == [0.25, 0.25]


def test_local_training_learns():
    W = np.zeros((task.FEATURES, task.CLASSES), np.float32)
    b = np.zeros(task.CLASSES, np.float32)
    draw, before = np.random.default_rng(0), task.loss_of(W, b)
    task.train_locally(W, b, task.load_rows(0), draw)
    assert task.loss_of(W, b) < before / 2
