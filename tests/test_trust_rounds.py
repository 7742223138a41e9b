"""Trust on the path of a run: who is asked when, what is promised, what the books say."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from scipy import sparse
from tasks import blob, blobs, held_out, plan

from msl import cli
from msl.aggregators import Mean
from msl.attacks import LabelFlip
from msl.bounds import Guarantee, Linear, Norm
from msl.cleaning import clean
from msl.cluster import LocalExecutor
from msl.codecs import Identity
from msl.config import Config, load_config
from msl.errors import DataError, PlanError
from msl.models.torch_mlp import Mlp
from msl.rounds import train
from msl.sources import ArraySource, LoaderSource
from msl.trust import PacFilter, TrustReport, TrustRule

CALM = {"attack": None, "corrupted": (), "codec": Identity(), "aggregator": Mean()}


@dataclass(frozen=True)
class OnlyLarge(TrustRule):
    """Believes sources of at least so many rows."""

    rows: int
    name: ClassVar[str] = "only_large"

    def weigh(self, sources, executor):
        large = [held.info.rows >= self.rows for held in sources]
        return TrustReport(
            tuple(map(float, large)), tuple("large" if one else "small" for one in large)
        )


def run(a_plan, sources):
    with LocalExecutor() as executor:
        return train(a_plan, sources, executor, held_out=held_out())


def growing(rank, folder):
    """A source that has 10 rows more whenever it is loaded."""
    counter = folder / f"{rank}"
    times = int(counter.read_text()) if counter.exists() else 0
    counter.write_text(str(times + 1))
    return blob(rank, 20 + 10 * times if rank == 0 else 40)


def test_who_lies_is_left_out_and_the_books_say_why():
    lying = plan(**CALM | {"attack": LabelFlip(), "corrupted": (1, 4)}, trust=PacFilter())
    result = run(lying, blobs(7, 200))
    assert {report.participants for report in result.reports} == {(0, 2, 3, 5, 6)}
    assert {report.believed for report in result.reports} == {5}
    table = result.ledger.table()
    assert table["trust"].tolist() == [1, 0, 1, 1, 0, 1, 1]
    assert table["rounds"].tolist() == [6, 0, 6, 6, 0, 6, 6]
    assert "differs from" in table["reason"][1]
    assert result.ledger.verdict.discrepancy.shape == (7, 7)


def test_sources_are_loaded_and_weighed_anew_every_so_many_rounds(tmp_path):
    sources = [LoaderSource(f"site-{r}", growing, (r, tmp_path)) for r in range(3)]
    a_plan = plan(**CALM, trust=OnlyLarge(40), trust_every=2)
    result = run(a_plan, sources)
    assert [r.participants for r in result.reports] == [(1, 2)] * 4 + [(0, 1, 2)] * 2
    assert [round for round, _ in result.ledger.verdicts] == [0, 4]
    assert result.ledger.excluded.tolist() != [0, 0, 0]
    assert np.isnan(result.ledger.excluded).all()
    with pytest.raises(PlanError, match="trust_every must be at least 1 round"):
        run(replace(a_plan, trust_every=0), sources)


def test_asking_again_changes_no_bit_when_the_rows_are_the_same():
    once = run(plan(trust=PacFilter()), blobs())
    often = run(plan(trust=PacFilter(), trust_every=2), blobs())
    np.testing.assert_array_equal(once.params, often.params)
    assert [r.round for r in often.reports] == list(range(6))


def test_what_is_promised_follows_from_rows_and_shares():
    guarantee = Guarantee(alpha=0.2, capacity=Norm(radius=1.0, norm=1.0))
    a_plan = plan(**CALM, trust=PacFilter(), guarantee=guarantee)
    sources = [LoaderSource(f"site-{r}", blob, (r, 100 * (r + 1))) for r in range(7)]
    for report in run(a_plan, sources).reports:
        rows = [100 * (rank + 1) for rank in report.participants]
        expected = guarantee.of_round(
            rows, report.given, guarantee.capacity, filtered=False, believed=7
        )
        assert expected.effective_rows == pytest.approx(sum(rows))
        assert report.bound == expected.metrics()
        assert report.metrics()["bound/excess"] == min(1.0, expected.excess)


def test_without_a_filter_one_liar_costs_its_whole_weight():
    promised = Guarantee(alpha=0.2, capacity=Linear(1, 2))
    trusting = plan(**CALM, guarantee=promised, rounds=1)
    filtered = replace(trusting, trust=PacFilter())
    sources = blobs(7, 40_000)
    assert run(trusting, sources).reports[0].bound["bound/excess"] > 2 / 7
    assert run(filtered, sources).reports[0].bound["bound/excess"] < 0.2
    # The filter compares linear classifiers: of other classes it says nothing.
    other = replace(filtered, guarantee=Guarantee(alpha=0.2, capacity=Norm(1e-3, 1e-3)))
    assert run(other, sources).reports[0].bound["bound/excess"] > 2 / 7


def test_whom_a_round_does_not_draw_may_lie_as_well():
    promised = Guarantee(alpha=0.45, capacity=Linear(1, 2))
    drawn = plan(**CALM, trust=PacFilter(), guarantee=promised, per_round=1, rounds=2)
    # Three of the seven may lie, and be the one that is drawn.
    assert all(r.bound["bound/excess"] > 0.5 for r in run(drawn, blobs(7, 40_000)).reports)


def test_a_row_with_all_the_weight_is_one_row():
    X, y = blob(1, 4000)
    weight = np.full(4000, 1e-6, np.float32)
    weight[0] = 1e6
    sources = [*blobs(2, 4000), ArraySource("one", X, y, weight)]
    told = run(plan(**CALM, guarantee=Guarantee(alpha=0.0)), sources).reports[0].bound
    assert told["bound/effective_rows"] < 10


def test_linear_models_are_measured_by_their_size_and_others_on_request():
    linear = plan(**CALM)
    assert linear.capacity == Linear(6, 3)
    net = replace(linear, model=Mlp(n_features=6, n_classes=3, hidden=(8,)), rounds=1)
    assert run(net, blobs(3)).reports[0].bound == {}
    measured = replace(net, guarantee=Guarantee(alpha=0.0, capacity="measured"))
    bound = run(measured, blobs(3, 400)).reports[0].bound
    assert 0 < bound["bound/excess"] <= 1
    assert run(replace(measured, guarantee=None), blobs(3)).reports[0].bound == {}


def test_a_file_says_what_is_promised():
    raw = {"data": {"dataset": "wine", "sources": 3}}
    norm = {"delta": 0.1, "capacity": {"name": "norm", "radius": 2.0, "norm": 3.0}}
    config = Config.model_validate(raw | {"guarantee": norm, "trust_every": 3})
    assert config.plan().guarantee == Guarantee(delta=0.1, capacity=Norm(2.0, 3.0))
    assert config.plan().trust_every == 3
    assert Config.model_validate(raw | {"guarantee": None}).plan().guarantee is None
    with pytest.raises(PlanError, match=r"guarantee: alpha=0\.6"):
        Config.model_validate(raw | {"guarantee": {"alpha": 0.6}}).plan()


def test_sparse_rows_are_not_compared():
    X, y = blob(1)
    sources = [*blobs(2), ArraySource("thin", sparse.csr_array(X), y)]
    with pytest.raises(DataError, match="compares dense rows, source 'thin' has sparse ones"):
        run(plan(**CALM, trust=PacFilter()), sources)
    assert len(run(plan(**CALM), sources).reports) == 6


def test_clean_leaves_weights_a_table_and_a_page(tmp_path):
    config = load_config("configs/trust.yaml", ["tracking.uri=none"])
    with LocalExecutor() as executor:
        ledger = clean(config, executor, tmp_path / "out")
    weights = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert list(weights) == [info.name for info in ledger.sources]
    assert (tmp_path / "out" / "trust.csv").read_text().count("\n") == 11
    page = (tmp_path / "out" / "trust.html").read_text(encoding="utf-8")
    assert "source-03" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_clean_is_a_command_and_a_job(tmp_path, capsys, monkeypatch):
    for command in ("msl.cli", "msl_pipelines.clean"):
        out = tmp_path / command
        arguments = ["clean"] * (command == "msl.cli") + ["configs/trust.yaml", "--out", str(out)]
        settings = ["--set", "cluster.workers=0", "--set", "tracking.uri=none"]
        if command == "msl.cli":
            monkeypatch.setattr(sys, "argv", ["msl", *arguments, *settings])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert ended.value.code == 0
            printed = capsys.readouterr().out
        else:  # a module that is nothing but a start
            printed = subprocess.run(
                [sys.executable, "-m", command, *arguments, *settings],
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
        assert "whom to believe" in printed
        assert sorted(path.name for path in out.iterdir()) == [
            "trust.csv",
            "trust.html",
            "weights.json",
        ]
