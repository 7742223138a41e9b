"""Pictures say what the runs found: checked on what is drawn, not on pixels."""

import time

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from msl.outcome import Outcome
from msl.plots import colours, convergence, heat_map, traffic
from msl.report_plots import _squares, bound_and_reality, trust_over_rounds
from msl.types import Report


def outcome(name, end=0.9, rounds=20, up=1000, baseline=False):
    at = np.arange(rounds)
    accuracies = end * (1 - 0.8 ** (at + 1))
    return Outcome(
        name, baseline, float(accuracies[-1]), 0.1, 0.0 if baseline else float(up),
        0 if baseline else 3 * up * rounds, 4.0, 0.1 * rounds, tuple(at.tolist()),
        tuple(accuracies.tolist()), tuple((3 * up * (at + 1)).tolist()),
        tuple((0.1 * (at + 1)).tolist()),
    )  # fmt: skip


def grid(aggregators, attacks, seeds, **more):
    """Return outcomes and labels of a grid; each cell ends at another accuracy."""
    outcomes, labels = [], {}
    for i in range(aggregators):
        for j in range(attacks):
            for k in range(seeds):
                name = f"rule{i} attack{j} seed={k}"
                labels[name] = {"aggregator": f"rule{i}", "attack": f"attack{j}", "seed": f"{k}"}
                outcomes.append(outcome(name, 0.5 + 0.4 * i / aggregators - 0.1 * k, **more))
    return outcomes, labels


def names_in(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def report(round, given, participants=None, n=None, **more):
    n = len(given) if n is None else n
    who = tuple(range(n)) if participants is None else tuple(participants)
    return Report(round, who, tuple(given), tuple(given), {}, 0, 0, 0, 0, 0.0, **more)


def test_an_attack_has_a_panel_an_aggregator_a_colour_and_a_thick_line_is_the_mean_of_seeds():
    outcomes, labels = grid(6, 2, 2)
    figure = convergence(outcomes, labels)
    assert [axes.get_title() for axes in figure.axes] == ["attack0", "attack1"]
    for attack, axes in enumerate(figure.axes):
        assert len(axes.lines) == 6
        assert len({to_hex(line.get_color()) for line in axes.lines}) == 6
        (thin,) = (c for c in axes.collections if isinstance(c, LineCollection))
        assert len(thin.get_segments()) == 12
        for i, line in enumerate(axes.lines):
            cells = [o for o in outcomes if o.name.startswith(f"rule{i} attack{attack} ")]
            assert np.allclose(line.get_ydata(), np.mean([o.accuracies for o in cells], axis=0))


@pytest.mark.parametrize(("against", "end"), [("round", 19), ("bytes", 60_000), ("time", 2.0)])
def test_the_same_lines_stand_against_rounds_bytes_and_time(against, end):
    outcomes, labels = grid(2, 1, 1)
    (axes,) = convergence(outcomes, labels, against).axes
    assert [line.get_xdata()[-1] for line in axes.lines] == pytest.approx([end, end])


def test_baselines_are_grey_curves_against_rounds_and_levels_against_bytes():
    yardsticks = [
        outcome("oracle", 0.95, baseline=True),
        Outcome("local_only", True, 0.6, 1.0, 0.0, 0, 1.0),
    ]
    outcomes, labels = grid(2, 1, 1)
    for against, points in (("round", 20), ("bytes", 2)):
        figure = convergence([*yardsticks, *outcomes], labels, against)
        grey = [line for line in figure.axes[0].lines if line.get_color() == "0.45"]
        assert [len(line.get_xdata()) for line in grey] == [points, 2]
        assert len({str(line.get_linestyle()) for line in grey}) == 2
        assert names_in(figure)[-2:] == ["oracle", "local_only"]


def test_a_legend_has_15_names_at_most_the_best_first_and_says_how_many_it_leaves_out():
    outcomes, labels = grid(40, 1, 2)
    names = names_in(convergence([*outcomes, outcome("oracle", baseline=True)], labels))
    assert len(names) == 15
    assert names[0] == "rule39"
    assert names[-2:] == ["and 27 more", "oracle"]


def test_codecs_of_very_different_size_have_panels_and_a_logarithmic_scale():
    small, large = outcome("mean topk", up=100), outcome("mean none", up=10_000)
    labels = {o.name: dict(zip(("aggregator", "codec"), o.name.split(), strict=True))
              for o in (small, large)}  # fmt: skip
    figure = convergence([small, large], labels, "bytes")
    assert [axes.get_title() for axes in figure.axes] == ["topk", "none"]
    assert figure.axes[0].get_xscale() == "log"


def test_every_cell_of_a_large_grid_is_drawn_and_colours_stay_apart():
    outcomes, labels = grid(13, 7, 8)
    figure = convergence(outcomes, labels)
    assert sum(len(axes.collections[0].get_segments()) for axes in figure.axes) == 728
    for n in (5, 13, 18, 40):
        found = colours([str(i) for i in range(n)])
        assert len(set(found.values())) == n
        assert not {"#7f7f7f", "#c7c7c7"} & set(found.values())


def test_cells_without_labels_have_a_colour_each_and_nothing_at_all_still_draws():
    outcomes, _ = grid(3, 1, 1)
    (axes,) = convergence(outcomes).axes
    assert len({line.get_color() for line in axes.lines}) == 3
    assert convergence([]).axes[0].lines[:] == []
    assert traffic([]).axes


def test_traffic_has_both_directions_per_codec_and_what_float32_takes():
    labels = {}
    outcomes = []
    for codec, up in (("small", 100), ("large", 900)):
        for rule in ("mean", "median"):
            labels[f"{rule} {codec}"] = {"aggregator": rule, "codec": codec}
            outcomes.append(outcome(f"{rule} {codec}", up=up))
    (axes,) = traffic([*outcomes, outcome("oracle", baseline=True)], labels).axes
    up, down = axes.containers
    assert [text.get_text() for text in axes.get_yticklabels()] == ["large", "small"]
    assert [bar.get_width() for bar in up] == [900, 100]
    assert [bar.get_width() for bar in down] == [1800, 200]
    assert axes.lines[0].get_xdata().tolist() == [3600, 400]


def test_traffic_of_many_cells_shows_the_longest():
    (axes,) = traffic([outcome(f"cell{i}", up=10 + i) for i in range(100)]).axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == [f"cell{i}" for i in range(99, 69, -1)]
    assert "the 30 longest of 100" in axes.get_xlabel()


def test_a_heat_map_writes_a_dash_where_a_cell_failed():
    figure = heat_map("", ["a"], ["x", "y"], np.array([[0.25, np.nan]]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.25", "\N{EN DASH}"]


def test_squares_are_means_over_bins_of_sources_and_rounds():
    draw, n, rounds = np.random.default_rng(0), 410, 500
    reports = []
    for round in range(rounds):
        who = np.sort(draw.permutation(n)[:50])
        given = draw.dirichlet(np.ones(50))
        reports.append(report(round, given.tolist(), who.tolist()))
    order = draw.permutation(n)
    found = _squares(reports, order)
    assert found.shape == (200, 240)
    slow = [[[] for _ in range(240)] for _ in range(200)]
    place = {rank: at for at, rank in enumerate(order.tolist())}
    for i, one in enumerate(reports):
        for rank, share in zip(one.participants, one.given, strict=True):
            slow[place[rank] * 200 // n][i * 240 // rounds].append(50 * share)
    for row, expected in zip(found.tolist(), slow, strict=True):
        for value, shares in zip(row, expected, strict=True):
            assert value == pytest.approx(np.mean(shares)) if shares else np.isnan(value)


def test_trust_puts_the_sources_that_got_least_last_and_marks_liars():
    given = [0.1, 0.0, 0.5, 0.4]
    figure = trust_over_rounds(
        [report(r, given, believed=3) for r in range(5)], ["a", "b", "c", "d"], corrupted=[1]
    )
    counts, squares = figure.axes[:2]
    labels = squares.get_yticklabels()
    assert [text.get_text() for text in labels] == ["c", "d", "a", "b"]
    assert [text.get_color() == "#a1120b" for text in labels] == [False, False, False, True]
    shown = squares.images[0].get_array()
    assert np.allclose(shown[:, 0], [2.0, 1.6, 0.4, 0.0])
    used, believed = (line.get_ydata() for line in counts.lines)
    assert used.tolist() == [4] * 5
    assert list(believed) == [3] * 5


def test_ten_thousand_sources_fit_a_picture():
    given = np.r_[np.full(8000, 1.0), np.zeros(2000)] / 8000
    reports = [report(r, given.tolist()) for r in range(20)]
    axes = trust_over_rounds(reports, corrupted=range(8000, 10_000)).axes[1]
    shown = axes.images[0].get_array()
    assert shown.shape == (200, 20)
    assert np.allclose(shown[:160], 1.25)
    assert np.allclose(shown[160:], 0)
    assert len(axes.collections[0].get_segments()) == 2000


@pytest.mark.parametrize(
    ("bounds", "said"),
    [([1.0, 1.0, 0.4], " while it is 1"), ([1.0, 1.0, 1.0], "says nothing:"), ([0.5] * 3, None)],
)
def test_a_bound_that_says_nothing_is_drawn_and_called_so(bounds, said):
    reports = [
        report(r, [1.0], accuracy=0.8, bound={"bound/excess": b}) for r, b in enumerate(bounds)
    ]
    (axes,) = bound_and_reality(reports).axes
    drawn, error = axes.lines
    assert drawn.get_ydata().tolist() == bounds
    assert np.allclose(error.get_ydata(), 0.2)
    assert axes.get_ylim()[1] > 1
    texts = [text.get_text() for text in axes.texts]
    assert (said in texts[0]) if said else (texts == [])


def test_a_run_without_bound_evaluation_or_rounds_still_draws():
    assert len(bound_and_reality([report(0, [1.0])]).axes[0].lines) == 0
    assert trust_over_rounds([]).axes


def test_pictures_are_quick_and_leave_no_global_state():
    outcomes, labels = grid(6, 2, 2, rounds=60)
    reports = [report(r, [0.05] * 20) for r in range(60)]
    for make in (
        lambda: convergence(outcomes, labels),
        lambda: convergence(outcomes, labels, "time"),
        lambda: traffic(outcomes, labels),
        lambda: trust_over_rounds(reports),
        lambda: bound_and_reality(reports),
    ):
        took = []
        for _ in range(3):
            start = time.thread_time()  # others may use the machine
            make()
            took.append(time.thread_time() - start)
        assert min(took) < 0.3
    assert Gcf.get_all_fig_managers() == []
