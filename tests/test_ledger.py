"""The ledger's sums equal slow ones, and its page says what it should and nothing else."""

import json
import pickle
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from msl.errors import PlanError
from msl.ledger import COLUMNS, Drops, Ledger
from msl.ledger_page import clustered
from msl.trust import TrustReport
from msl.types import Report, SourceInfo


def infos(n, names=None):
    names = names or [f"site-{rank}" for rank in range(n)]
    return tuple(
        SourceInfo(name, 10 + rank, 3, (0, 1), f"d{rank:015x}", "local")
        for rank, name in enumerate(names)
    )


def report(round, participants, given, dropped=None):
    return Report(round, tuple(participants), tuple(given), tuple(given), dropped or {},
                  0, 0, 0, 0, 0.0)  # fmt: skip


def random_report(draw, n, round):
    order = draw.permutation(n).tolist()
    k, lost = draw.integers(1, n), draw.integers(0, 3)
    given = draw.uniform(size=k)
    late = {rank: f"late in {round}" for rank in order[k : k + lost]}
    return report(round, order[:k], given / given.sum(), late)


def far_apart(n, out):
    """Sources in `out` differ from all others, and they from each other a little."""
    side = np.isin(np.arange(n), out)
    matrix = np.where(side[:, None] == side, 0.05, 0.6)
    np.fill_diagonal(matrix, 0)
    return matrix


def verdict(n, out=(), **more):
    reasons = [f"reason {rank}" for rank in range(n)]
    return TrustReport(tuple(float(r not in out) for r in range(n)), tuple(reasons), **more)


def books(n, out=(), names=None, **more):
    judged = verdict(n, out, discrepancy=far_apart(n, out), **more)
    ledger = Ledger.open(infos(n, names), judged)
    inside = [rank for rank in range(n) if rank not in out]
    return ledger.heard(report(0, inside, np.full(len(inside), 1 / len(inside))))


def test_sums_equal_slow_ones_over_random_reports():
    draw, n = np.random.default_rng(0), 9
    reports = [random_report(draw, n, round) for round in range(40)]
    ledger = Ledger.open(infos(n), verdict(n))
    for one in reports:
        ledger = ledger.heard(one)
    columns = ledger.columns()
    assert ledger.rounds == 40
    for rank in range(n):
        shares = [
            share * len(one.participants)
            for one in reports
            for who, share in zip(one.participants, one.given, strict=True)
            if who == rank
        ]
        lost = [one.round for one in reports if rank in one.dropped]
        assert columns["share"][rank] == pytest.approx(np.mean(shares))
        assert columns["rounds"][rank] == len(shares)
        assert columns["dropped"][rank] == len(lost)
        assert columns["last_dropped"][rank] == lost[-1]
        assert ledger.dropped[rank] == Drops(len(lost), lost[-1], f"late in {lost[-1]}")


def test_old_books_stay_as_they_are_and_pickle():
    first = Ledger.open(infos(3), verdict(3))
    second = first.heard(report(0, (0, 2), (0.5, 0.5), {1: "late"}))
    third = second.judged(1, verdict(3, (0,))).heard(report(1, (2,), (1.0,), {1: "late"}))
    assert first.columns()["rounds"] == [0, 0, 0]
    assert second.columns()["rounds"] == [1, 0, 1]
    assert [b.columns()["dropped"][1] for b in (first, second, third)] == [0, 1, 2]
    assert np.isnan(second.columns()["excluded"]).all()
    assert pickle.loads(pickle.dumps(third)).html() == third.html()


def test_excluded_says_since_when():
    ledger = Ledger.open(infos(3), verdict(3, (2,)))
    for round, out in ((5, (1, 2)), (10, (1, 2)), (15, (1,))):
        ledger = ledger.judged(round, verdict(3, out))
    np.testing.assert_equal(ledger.columns()["excluded"], [np.nan, 5.0, np.nan])
    ledger = ledger.judged(20, verdict(3, (1, 2)))
    np.testing.assert_equal(ledger.columns()["excluded"], [np.nan, 5.0, 20.0])
    assert [round for round, _ in ledger.verdicts] == [0, 20]


def test_the_books_do_not_grow_with_the_rounds():
    n, draw = 50, np.random.default_rng(1)
    ledger, sizes = Ledger.open(infos(n), verdict(n, discrepancy=far_apart(n, ()))), []
    for round in range(300):
        ledger = ledger.judged(round, verdict(n, (round % n,), discrepancy=far_apart(n, ())))
        ledger = ledger.heard(random_report(draw, n, round))
        sizes.append(len(pickle.dumps(ledger)))
    assert max(sizes[200:]) < 1.02 * max(sizes[80:120])


def test_a_verdict_about_other_sources_is_refused():
    with pytest.raises(PlanError, match="3 sources needs as many weights, got 2"):
        Ledger.open(infos(3), verdict(2))


def test_the_table_is_by_rank_with_all_columns():
    more = {"statistic": (0.1, 0.2, 0.7), "p_values": (0.5, 0.4, 0.01)}
    table = books(3, out=(2,), **more).table()
    assert tuple(table.columns) == COLUMNS
    assert table.index.name == "rank"
    assert table["name"].tolist() == ["site-0", "site-1", "site-2"]
    assert table["trust"].tolist() == [1, 1, 0]
    assert table["statistic"].tolist() == [0.1, 0.2, 0.7]
    assert table["p_value"].tolist() == [0.5, 0.4, 0.01]
    assert table["rows"].dtype.kind == table["rounds"].dtype.kind == "i"
    assert pd.isna(table["share"][2])


def test_columns_survive_json():
    columns = books(3, out=(2,)).columns()
    assert tuple(columns) == COLUMNS
    again = json.loads(pd.DataFrame(columns).to_json(orient="split"))
    assert again["data"][2][COLUMNS.index("share")] is None
    assert {len(column) for column in columns.values()} == {3}


class Tags(HTMLParser):
    """Collects tags, attributes and text, and holds that what is opened is closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_tells_who_was_left_out_and_why():
    page = books(5, out=(1, 4), statistic=(0.1,) * 5, p_values=(0.5,) * 5).html()
    text = re.sub(r"\s+", " ", "".join(Tags(page).texts))
    assert "5 sources with 60 rows; 2 left out; 1 round" in text
    assert "site-1, since round 0: reason 1" in text
    assert "site-4, since round 0: reason 4" in text
    assert "site-2, since" not in text
    for heading in ("Trust", "Share", "Rounds", "Dropped", "Statistic", "p-value", "Digest"):
        assert text.count(heading) >= 2  # in the table, and explained
    assert "site-1 and site-0: 0.600" in text
    assert "✕ site-1" in text


def test_a_hostile_name_is_only_text():
    name = "<script>alert('x')</script>\"'&"
    page = books(4, out=(0,), names=[name, "</title><img src=x onerror=y>", "{{ 7 * 7 }}", "d"])
    tags = Tags(page.html())
    assert not {"script", "img"} & set(tags.seen)
    assert name in tags.texts
    assert "{{ 7 * 7 }}" in tags.texts
    assert not [name for name, _ in tags.attributes if name.startswith("on")]


@pytest.mark.parametrize("n", [1, 2, 7, 20, 70, 300])
def test_the_page_needs_no_network_and_is_the_same_every_time(n):
    ledger = books(n, out=range(2, n, 5))
    page = ledger.html()
    assert page == ledger.html()
    tags = Tags(page)
    # The colours are a picture inside the page; there is no other address.
    links = [v for name, v in tags.attributes if name in ("href", "src", "srcset", "action")]
    assert len(links) == (n > 1)
    assert all(link.startswith("data:image/png;base64,") for link in links)
    bare = page.replace("http-equiv", "")
    assert not re.search(r"http|//|url\(|@import", re.sub(r"base64,[\w+/=]+", "", bare))
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in (
        tags.attributes
    )


def test_another_process_writes_the_same_bytes():
    code = (
        "import sys; sys.path.insert(0, 'tests'); from test_ledger import books;"
        "sys.stdout.buffer.write(books(20, out=(3, 4)).html().encode())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    assert done.stdout == books(20, out=(3, 4)).html().encode()


def test_many_names_are_thinned_and_few_pairs_are_written_out():
    few, many = (Tags(books(n).html()) for n in (10, 300))
    assert few.seen.count("rect") == 100
    assert many.seen.count("rect") == 0
    assert many.seen.count("text") == 2 * 75  # one in four, on two sides


def test_a_rule_that_compares_nobody_has_no_heat_map():
    page = Ledger.open(infos(3), verdict(3)).html()
    assert "did not compare" in page
    assert "<svg" not in page
    assert "p-value" not in page
    assert "Nobody: every source takes part" in page


def test_words_of_errors_stay_off_the_page_and_the_table():
    said = "could not convert 'Jane Doe'"
    ledger = books(3).heard(report(1, (0, 1), (0.5, 0.5), {2: said}))
    assert ledger.dropped[2].why == said
    assert "Jane" not in ledger.html() + str(ledger.columns())
    assert "last in 1" in ledger.html()


def test_blocks_stand_together():
    draw, n = np.random.default_rng(2), 12
    block = draw.permutation(np.arange(n) % 3)
    matrix = np.where(block[:, None] == block, 0.1, 0.5) + draw.uniform(0, 0.05, (n, n))
    matrix = np.triu(matrix, 1) + np.triu(matrix, 1).T
    order = clustered(matrix)
    assert sorted(order) == list(range(n))
    assert np.count_nonzero(np.diff(block[order])) == 2


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_sources_keep_their_order(n):
    assert clustered(np.zeros((n, n))) == list(range(n))
