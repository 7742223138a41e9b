"""Displays show what the estimator knows, on the axes they are given."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from msl.aggregators import Krum
from msl.errors import DataError, PlanError
from msl.estimators import MultiSourceClassifier, SourceFilter
from msl.estimators.display import HistoryDisplay, TrustDisplay
from msl.ledger import Ledger
from msl.trust.base import TrustReport
from msl.types import Report, SourceInfo

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((600, 3))
Y = (X[:, 0] > 0).astype(int)
WARD = np.arange(600) % 5
LIED = np.where(WARD == 3, 1 - Y, Y)


@pytest.fixture(autouse=True)
def _closed() -> Any:
    yield
    plt.close("all")


def ledger(discrepancy: Any = None) -> Ledger:
    sources = [SourceInfo(name, 50, 3, (0, 1), "ab") for name in ("north", "south", "east")]
    verdict = TrustReport((1.0, 0.0, 1.0), ("", "far away", ""), discrepancy)
    return Ledger.open(sources, verdict).heard(
        Report(0, (0, 2), (0.75, 0.25), (0.7, 0.6), {}, 0, 0, 0, 0, 0.0)
    )


def lengths(display: TrustDisplay) -> list[float]:
    return [bar.get_width() for bar in display.ax_.patches]


def test_shares_are_bars_and_who_is_left_out_is_grey() -> None:
    display = TrustDisplay(ledger()).plot()
    assert lengths(display) == [1.5, 0.0, 0.5]
    colours = [bar.get_facecolor() for bar in display.ax_.patches]
    assert colours[0] == colours[2] != colours[1]
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == [
        "north", "south", "east"
    ]  # fmt: skip
    bottom, top = display.ax_.get_ylim()
    assert bottom > top  # the first source is on top
    assert display.heat_map_ax_ is None


def test_discrepancies_are_a_heat_map_in_the_axes_that_are_given() -> None:
    figure, axes = plt.subplots(1, 2)
    gap = np.array([[0, 0.6, 0.1], [0.6, 0, 0.5], [0.1, 0.5, 0]])
    display = TrustDisplay(ledger(gap)).plot(axes[1], color="red")
    assert display.figure_ is figure
    assert display.heat_map_ax_ is not None
    assert np.array_equal(display.heat_map_ax_.images[0].get_array(), gap)
    assert lengths(display) == [1.5, 0.0, 0.5]
    assert display.ax_.get_ylim() == display.heat_map_ax_.get_ylim()
    assert display.ax_.get_position().x0 >= axes[1].get_position().x0
    assert not axes[0].patches
    figure.canvas.draw()


def test_trust_of_a_fitted_filter_also_in_a_pipeline() -> None:
    filtered = make_pipeline(StandardScaler(), SourceFilter(LogisticRegression()))
    filtered.fit(X, LIED, sourcefilter__sources=WARD)
    display = TrustDisplay.from_estimator(filtered)
    assert lengths(display) == [1, 1, 1, 0, 1]
    assert "trust rule" in display.ax_.get_xlabel()
    assert display.discrepancy is not None
    assert display.discrepancy.shape == (5, 5)
    display.figure_.canvas.draw()


def test_a_thousand_sources_are_not_named() -> None:
    names = [f"s{i}" for i in range(1000)]
    display = TrustDisplay(pd.DataFrame({"name": names, "trust": np.ones(1000)})).plot()
    assert len(display.ax_.patches) == 1000
    assert len(display.ax_.get_yticks()) < 20
    assert display.figure_.get_size_inches()[1] < 15


HISTORY = pd.DataFrame(
    {
        "sources/loss_mean": [0.9, 0.5, 0.4],
        "eval/accuracy": [0.5, np.nan, 0.8],
        "bytes/total": [10.0, 20, 30],
    }
)


class Learned(BaseEstimator):  # type: ignore[misc]
    def fit(self) -> "Learned":
        self.history_ = HISTORY
        return self


@pytest.mark.parametrize(
    ("arguments", "points", "words"),
    [
        ({}, [(0, 0.5), (2, 0.8)], ("round", "eval/accuracy")),
        (
            {"metric": "sources/loss_mean", "against": "bytes/total"},
            [(10, 0.9), (20, 0.5), (30, 0.4)],
            ("bytes/total", "sources/loss_mean"),
        ),
    ],
)
def test_history_is_drawn_where_it_is_known(
    arguments: dict[str, Any], points: list[Any], words: tuple[str, str]
) -> None:
    estimator = Learned().fit()
    _, ax = plt.subplots()
    display = HistoryDisplay.from_estimator(estimator, ax=ax, label="mean", **arguments)
    assert display.ax_ is ax
    assert [tuple(point) for point in display.line_.get_xydata()] == points
    assert (ax.get_xlabel(), ax.get_ylabel()) == words
    assert ax.get_legend().get_texts()[0].get_text() == "mean"


def test_a_fitted_classifier_shows_its_rounds_and_the_shares_of_its_sources() -> None:
    rule = MultiSourceClassifier(aggregator=Krum(f=1), rounds=5, algorithm="fedavg")
    rule.fit(X, LIED, sources=WARD)
    history = HistoryDisplay.from_estimator(rule)
    assert history.line_.get_xdata().tolist() == [0, 1, 2, 3, 4]
    trust = TrustDisplay.from_estimator(rule)
    # Krum takes one source's update a round; a share of 1 is an equal one.
    assert sum(lengths(trust)) == pytest.approx(5)
    assert lengths(trust)[3] == 0
    assert "aggregator" in trust.ax_.get_xlabel()


def test_rounds_may_be_a_column_and_nothing_judged() -> None:
    history = HISTORY[["sources/loss_mean"]].assign(round=[7, 8, 9])
    display = HistoryDisplay(history).plot()
    assert display.line_.get_xdata().tolist() == [7, 8, 9]
    assert display.ax_.get_ylabel() == "sources/loss_mean"


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(PlanError, match="no 'eval/loss'; choose from: sources/loss_mean, eval"):
        HistoryDisplay(HISTORY, "eval/loss")
    with pytest.raises(DataError, match="lacks the columns trust"):
        TrustDisplay(pd.DataFrame({"name": ["a"]}))
    with pytest.raises(DataError, match=r"shape \(3, 3\), got \(2, 2\)"):
        TrustDisplay(ledger(), np.zeros((2, 2)))
    with pytest.raises(PlanError, match="LogisticRegression has no history_"):
        HistoryDisplay.from_estimator(LogisticRegression().fit(X, Y))
    with pytest.raises(NotFittedError):
        TrustDisplay.from_estimator(SourceFilter())
