"""What a run can be asked for: to begin elsewhere, to be watched, and to change its mind."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from tasks import CLASSES, FEATURES, blob, blobs, held_out, plan

from msl import rounds
from msl.aggregators import Mean
from msl.algorithms import Lbfgs
from msl.checkpoints import Checkpoints
from msl.cluster import LocalExecutor
from msl.codecs import ErrorFeedback, Identity, MaxMin
from msl.errors import PlanError, WorkerLostError
from msl.models import Softmax
from msl.rounds import Start, train
from msl.sources import LoaderSource
from msl.trust import TrustReport, TrustRule

CALM = {"attack": None, "corrupted": (), "codec": Identity(), "aggregator": Mean()}
SMOOTH = CALM | {
    "algorithm": Lbfgs(tolerance=1e-4),
    "model": Softmax(FEATURES, CLASSES, l2=0.1),
    "rounds": 200,
}


def local(a_plan, sources=None, executor=None, **settings):
    with executor or LocalExecutor() as at:
        return train(a_plan, sources or blobs(), at, held_out=held_out(), **settings)


def heard(result):
    """All that was reported but the time it took."""
    return [replace(report, seconds={}) for report in result.reports]


class Failing(LocalExecutor):
    """Loses its worker at some gathers."""

    def __init__(self, at):
        super().__init__()
        self.at, self.calls = at, 0

    def gather(self, handles):
        self.calls += 1
        if self.calls in self.at:
            raise WorkerLostError(("local",), "pulled the plug")
        return super().gather(handles)

    def refresh(self): ...


@dataclass(frozen=True)
class ByFile(TrustRule):
    """Believes all sources but those named in a file, as long as it is there."""

    path: str
    name: ClassVar[str] = "by_file"

    def weigh(self, sources, executor):
        try:
            with open(self.path) as file:
                out = file.read().split()
        except FileNotFoundError:
            out = []
        weights = [float(held.info.name not in out) for held in sources]
        return TrustReport(tuple(weights), ("",) * len(weights))


def grown(rank, flag):
    """A source that has twice the rows after it was loaded once."""
    rows = 80 if flag.exists() else 40
    flag.touch()
    return blob(rank, rows)


def changes_its_mind(path, **changes):
    """A plan whose rule learns of two liars by the time it is asked again."""
    return plan(**SMOOTH | {"trust": ByFile(str(path)), "trust_every": 100} | changes)


def tells(path):
    def on_report(report):
        if report.round == 3:
            path.write_text("site-1 site-4")

    return on_report


# -- another verdict is another task ---------------------------------------------------------------


def test_a_server_that_has_converged_goes_on_when_other_sources_are_believed(tmp_path):
    path = tmp_path / "liars"
    result = local(changes_its_mind(path), on_report=tells(path))
    ends = [report.round for report in result.reports if report.converged]
    first, last = ends
    assert 5 < first < last == len(result.reports) - 1 < 100
    assert [round for round, _ in result.ledger.verdicts] == [0, last + 1]
    assert {report.believed for report in result.reports[first + 1 :]} == {5}
    honest = [blobs()[rank] for rank in (0, 2, 3, 5, 6)]
    np.testing.assert_allclose(result.params, local(plan(**SMOOTH), honest).params, atol=2e-3)


@pytest.mark.parametrize("every", [5, 1000])
def test_a_server_begins_anew_from_the_parameters_as_they_are(tmp_path, every):
    path = tmp_path / "liars"
    result = local(changes_its_mind(path, trust_every=every), on_report=tells(path))
    ends = [report.round for report in result.reports if report.converged]
    asked = 5 if every == 5 else ends[0] + 1
    before = local(replace(plan(**SMOOTH), rounds=asked))
    honest = [blobs()[rank] for rank in (0, 2, 3, 5, 6)]
    alone = local(plan(**SMOOTH), honest, start=Start(before.params, None, asked))
    np.testing.assert_array_equal(result.params, alone.params)
    assert [r.round for r in result.reports[asked:]] == [r.round for r in alone.reports]


def test_a_server_that_has_converged_is_done_when_the_verdict_stays(tmp_path):
    once = local(plan(**SMOOTH))
    often = local(changes_its_mind(tmp_path / "liars"))
    assert heard(often) == heard(once)
    assert often.params.tobytes() == once.params.tobytes()


def test_other_rows_are_another_task_too(tmp_path):
    sources = [LoaderSource(f"site-{r}", grown, (r, tmp_path / f"{r}")) for r in range(3)]
    result = local(changes_its_mind(tmp_path / "liars"), sources)
    pooled = local(plan(**SMOOTH), [LoaderSource(f"site-{r}", blob, (r, 80)) for r in range(3)])
    np.testing.assert_allclose(result.params, pooled.params, atol=2e-3)


def test_rounds_queued_beyond_the_end_leave_no_trace(tmp_path, monkeypatch):
    parts = {"codec": ErrorFeedback(MaxMin(8, 8)), "algorithm": Lbfgs(tolerance=1e-3), "rounds": 60}
    found = []
    for ahead in (1, 16):
        path = tmp_path / f"{ahead}"
        monkeypatch.setattr(rounds, "ahead_of", lambda _, ahead=ahead: ahead)
        found.append(local(changes_its_mind(path, **parts), on_report=tells(path)))
    first = next(report.round for report in found[0].reports if report.converged)
    assert first + 1 < len(found[0].reports)
    assert heard(found[0]) == heard(found[1])
    assert found[0].params.tobytes() == found[1].params.tobytes()


def test_a_change_of_mind_is_replayed_and_resumed(tmp_path):
    path = tmp_path / "liars"
    once = local(changes_its_mind(path), on_report=tells(path))
    path.unlink()
    checkpoints = Checkpoints(str(tmp_path / "kept"), every=4)

    def stop(report):
        tells(path)(report)
        if report.round == len(once.reports) - 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local(changes_its_mind(path), on_report=stop, checkpoints=checkpoints)
    failing = Failing((9, 12))
    again = local(changes_its_mind(path), executor=failing, checkpoints=checkpoints, resume=True)
    assert heard(again) == heard(once)
    assert again.params.tobytes() == once.params.tobytes()


# -- start and watch -------------------------------------------------------------------------------


def test_a_start_goes_on_where_a_run_ended():
    whole = local(plan(**SMOOTH | {"rounds": 12}))
    half = local(plan(**SMOOTH | {"rounds": 5}), keep_server=True)
    assert half.server is not None
    assert whole.server is None
    start = Start(half.params, half.server, 5)
    rest = local(plan(**SMOOTH | {"rounds": 12}), start=start)
    assert rest.params.tobytes() == whole.params.tobytes()
    assert [report.round for report in rest.reports] == list(range(5, 12))
    assert [r.step_norm for r in rest.reports] == [r.step_norm for r in whole.reports[5:]]


@pytest.mark.parametrize("lost", [(), (3,), (4, 9, 15), range(4, 40, 6), (23, 24)])
def test_a_watch_is_told_every_report_once_and_ends_the_run(lost):
    watched, told = [], []

    def watch(report, params):
        watched.append((report.round, params().tobytes()))
        return report.round == 4

    on_report = lambda report: told.append(report.round)  # noqa: E731
    result = local(plan(), executor=Failing(lost), watch=watch, on_report=on_report)
    assert [round for round, _ in watched] == told == [0, 1, 2, 3, 4]
    for round, params in watched:
        assert params == local(replace(plan(), rounds=round + 1)).params.tobytes()
    assert result.params.tobytes() == watched[-1][1]
    assert result.ledger.rounds == 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"start": Start(np.zeros(20, np.float32))}, r"shape \(21,\) and a round in 0..5, got"),
        ({"start": Start(np.zeros(21, np.float32), None, 6)}, "a round in 0..5, got .* and 6"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(settings, words):
    with pytest.raises(PlanError, match=words):
        local(plan(), **settings)


def test_a_start_has_no_checkpoints(tmp_path):
    start = Start(np.zeros(21, np.float32))
    with pytest.raises(PlanError, match="leave them or the start out"):
        local(plan(), start=start, checkpoints=Checkpoints(str(tmp_path / "kept")))
    assert not (tmp_path / "kept").exists()
