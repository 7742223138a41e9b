"""The page of a comparison holds its numbers, asks for nothing, and trusts no name it is given."""

import base64
import json
import re
import shutil
import subprocess
import time
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest

from msl.comparison import Comparison
from msl.comparison_page import page, size, table_of, thinned
from msl.config import load_config
from msl.grid import cells_of
from msl.outcome import Outcome

COMMAND = "msl compare tests/small_grid.yaml"
AXES = "compare={aggregator: [mean, median, {name: meamed, f: corrupted}], attack: [label_flip, mimic], seed: [0, 1]}"  # noqa: E501


def outcome(name, end, rounds=12, baseline=False):
    at = np.arange(rounds)
    accuracies = end * (1 - 0.6 ** (at + 1))
    accuracies[-1] = end
    return Outcome(
        name, baseline, end, 0.25, 0.0 if baseline else 1500.0, 0 if baseline else 4500 * rounds,
        4.0, 0.5 * rounds, tuple(at.tolist()), tuple(accuracies.tolist()),
        tuple((4500 * (at + 1)).tolist()), tuple((0.5 * (at + 1)).tolist()),
    )  # fmt: skip


BASELINES = (
    outcome("pooled_clean", 0.97, baseline=True),
    outcome("oracle", 0.95, baseline=True),
    Outcome("local_only", True, 0.6, 1.0, 0.0, 0, 1.0),
)


def comparison(changes=(AXES,), baselines=BASELINES, failed=None, rounds=12, file=None):
    config = load_config(file or "tests/small_grid.yaml", [*changes])
    cells = [cell.name for cell in cells_of(config)]
    outcomes = [
        outcome(name, 0.5 + 0.4 * i / len(cells), rounds)
        for i, name in enumerate(cells)
        if name not in (failed or {})
    ]
    return Comparison(config, (*baselines, *outcomes), failed or {})


class Reader(HTMLParser):
    """Collects what a browser would, and checks that what opens also closes."""

    VOID = ("meta", "line", "path", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.rows = [], [], "", []
        self.scripts = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[dict(self.tags[-1][1]).get("id", "code")] = data
        else:
            self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.strip()

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def data(self):
        def refuse(word):
            raise AssertionError(f"{word} is no JSON")

        return json.loads(self.scripts["data"], parse_constant=refuse)


@pytest.fixture(scope="module")
def read():
    return Reader(page(comparison(), COMMAND))


def test_it_names_the_safest_choice_and_ranks_by_the_worst_case(read):
    text = " ".join(read.text.split())
    assert "Best in its worst setting: meamed, with accuracy 0.783 under label_flip" in text
    head = next(i for i, row in enumerate(read.rows) if row[:1] == ["Rank"])
    assert [row[:3] for row in read.rows[head + 1 : head + 4]] == [
        ["1", "meamed", "0.783"],
        ["2", "median", "0.650"],
        ["3", "mean", "0.517"],
    ]


def test_the_prices_are_differences_of_what_ran(read):
    text = " ".join(read.text.split())
    assert "Price of robustness 16.7 points oracle 0.950 less meamed 0.783" in text
    assert "Price of federation 2.0 points pooled_clean 0.970 less oracle 0.950" in text
    bare = " ".join(Reader(page(comparison(baselines=()), COMMAND)).text.split())
    assert "Price of robustness not known add to the baselines: oracle" in bare
    assert "Price of federation not known add to the baselines: pooled_clean, oracle" in bare


def test_every_cell_and_baseline_is_in_the_table_with_its_numbers(read):
    rows = {row[0]: row for row in read.rows if row}
    assert rows["mean label_flip seed=0"] == [
        "mean label_flip seed=0", "mean", "label_flip", "seed=0",
        "0.500", "47.0", "0.250", "1.5 kB", "54.0 kB", "4.00\N{MULTIPLICATION SIGN}", "6.00",
    ]  # fmt: skip
    assert rows["local_only"] == [
        "local_only",
        "baseline",
        "",
        "",
        "0.600",
        "37.0",
        "1.000",
        *[""] * 4,
    ]
    for cell in cells_of(comparison().config):
        assert cell.name in rows


def test_the_map_has_the_mean_over_seeds_and_the_worst_case(read):
    assert ["meamed", "0.78", "0.85", "0.78"] in read.rows
    _, [(_, [low, lost, high])] = table_of(["a"], ["x", "y", "z"], np.array([[0.1, np.nan, 0.9]]))
    assert low[1:] == ("#e3eef9", False)
    assert lost[1:] == ("#ffffff", False)
    assert high[2]


def test_the_chart_is_drawn_without_scripts_and_its_data_holds_every_curve(read):
    drawn = [a for a in read.all("path") if a.get("fill") == "none"]
    assert len(drawn) == 3 + len(BASELINES)
    data = read.data
    assert [axis["name"] for axis in data["axes"]] == ["attack", "seed"]
    assert [group["name"] for group in data["groups"]] == ["mean", "median", "meamed"]
    assert len(data["cells"]) == 12
    first = data["cells"][0]
    assert (first["group"], first["at"]) == ("mean", [0, 0])
    assert data["rounds"][first["rounds"]] == list(range(12))
    assert first["bytes"][-1] == 54_000
    assert first["time"][-1] == 6.0
    assert [one["name"] for one in data["baselines"]] == [o.name for o in BASELINES]


def test_it_asks_for_nothing_and_allows_only_its_own_script(read):
    for tag, attributes in read.tags:
        assert not {"src", "href", "action"} & set(attributes), tag
        assert not [key for key in attributes if key.startswith("on")], tag
    (policy,) = (a["content"] for a in read.all("meta") if "http-equiv" in a)
    digest = base64.b64encode(sha256(read.scripts["code"].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", read.scripts["code"])
    assert not re.search(r"innerHTML|eval|fetch\(|import\(", read.scripts["code"])


def test_what_failed_is_listed_and_counted():
    failed = {"mean mimic seed=1": "DataError: source-03: 17 labels, 18 rows"}
    read = Reader(page(comparison(failed=failed), COMMAND))
    assert [*next(iter(failed.items()))] in read.rows
    assert "11 cells finished, 1 failed" in " ".join(read.text.split())
    nothing = Reader(page(Comparison(comparison().config, (), failed), COMMAND))
    assert "0 cells finished, 1 failed" in " ".join(nothing.text.split())


def test_names_errors_and_commands_cannot_become_markup():
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028'\""
    found = comparison(failed={"mean mimic seed=1": evil})
    config = found.config.model_copy(update={"name": evil})
    baselines = (replace(BASELINES[0], name=evil), *found.outcomes[1:])
    read = Reader(page(Comparison(config, baselines, found.failed), f"msl compare '{evil}'"))
    assert read.all("img") == []
    assert len(read.all("script")) == 2
    assert read.data["baselines"][0]["name"] == evil
    assert read.text.count("alert(1)") >= 8


def test_the_file_and_the_command_are_there_and_passwords_are_not(read):
    assert COMMAND in read.text
    assert "aggregator:\n" in read.text
    uri = "tracking.uri=postgresql://me:s3cret@db/mlflow"
    text = page(comparison([AXES, uri]), f"{COMMAND} --set {uri}")
    assert "s3cret" not in text
    assert text.count("postgresql://…@db/mlflow") == 2


def test_the_same_comparison_gives_the_same_bytes():
    assert page(comparison(), COMMAND) == page(comparison(), COMMAND)


def test_without_attacks_the_best_mean_over_seeds_wins_and_there_is_no_ranking():
    read = Reader(page(comparison(["compare={aggregator: [mean, median], seed: [0, 1]}"]), COMMAND))
    assert "Best: median, with accuracy 0.750." in " ".join(read.text.split())
    assert "Ranking" not in read.text
    assert Reader(page(comparison(["compare={}"], baselines=()), COMMAND)).data["axes"] == []


def test_a_model_that_diverged_leaves_the_page_readable():
    found = comparison()
    lost = replace(
        found.outcomes[3], accuracy=float("nan"), loss=float("inf"),
        accuracies=(0.5, -3.0, *[float("nan")] * 10),
    )  # fmt: skip
    outcomes = (*found.outcomes[:3], lost, *found.outcomes[4:])
    read = Reader(page(Comparison(found.config, outcomes), COMMAND))
    assert read.data["cells"][0]["accuracy"] == [0.5, -3.0]
    assert all("nan" not in a["d"] for a in read.all("path"))


def test_728_cells_of_500_rounds_make_a_page_one_can_mail():
    large = comparison((), file="configs/robust_grid.yaml", rounds=500)
    assert len(large.outcomes) == 728 + 3
    start = time.thread_time()  # others may use the machine
    text = page(large, COMMAND)
    assert time.thread_time() - start < 5
    assert len(text) < 6e6
    read = Reader(text)
    assert len(read.data["cells"]) == 728
    assert len(read.data["rounds"][read.data["cells"][0]["rounds"]]) == 150
    assert {attributes.get("open", "shut") for attributes in read.all("details")} == {"shut"}


def test_curves_are_thinned_evenly_and_keep_their_ends():
    assert thinned(range(3)) == [0, 1, 2]
    assert thinned([]) == []
    kept = thinned(range(10_001))
    assert (len(kept), kept[0], kept[-1]) == (150, 0, 10_000)
    assert max(np.diff(kept)) - min(np.diff(kept)) <= 1


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e8, "250 MB"), (3e12, "3,000 GB")],
)
def test_bytes_are_written_for_people(count, words):
    assert size(count) == words


def test_a_browser_runs_the_script(tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("not run: Chromium is missing (Debian: apt-get install chromium)")
    place = tmp_path / "report.html"
    place.write_text(page(comparison(), COMMAND), encoding="utf-8")
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/me",
         "--virtual-time-budget=2000", "--dump-dom", place.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    after = Reader(re.sub(r"</(path|line)>|</?(br|circle|rect|option)\b[^>]*>", "", done.stdout))
    drawn = [a for a in after.all("path") if a.get("fill") == "none"]
    assert len(drawn) == 12 + 3 + len(BASELINES)
    pressed = [a for a in after.all("button") if a.get("aria-pressed") == "true"]
    assert len(pressed) == 3 + len(BASELINES)
    assert not [a for a in pressed if "disabled" in a]
