"""The path of a run: the same bits anywhere, exact bytes, nothing of the rows outside."""

import os
import signal
from dataclasses import replace

import mlflow
import numpy as np
import pytest
from rule_samples import NEEDED
from tasks import (
    CLASSES,
    FEATURES,
    blob,
    blobs,
    broken,
    fails_once_loaded,
    held_out,
    killed_once,
    pid,
    plan,
)

from msl import codecs
from msl.aggregators import (
    CenteredClipping,
    Krum,
    Mean,
    Median,
    Safeguard,
    TrimmedMean,
    Zeno,
)
from msl.algorithms import FedAvg, FedSgd, Lbfgs
from msl.attacks import ATTACKS, Gaussian, LabelFlip, Nan, SignFlip
from msl.attacks import make as make_attack
from msl.cluster import DaskExecutor, LocalExecutor, open_executor
from msl.cluster.lane import run_program
from msl.codecs import ErrorFeedback, MaxMin
from msl.errors import DataError, PlanError, SourceError
from msl.models import Softmax
from msl.random import derive
from msl.rounds import run_round, set_stage, train
from msl.samplers import SAMPLERS
from msl.samplers import make as make_sampler
from msl.sources import ArraySource, LoaderSource
from msl.stage import first_standing
from msl.tracking import autolog
from msl.tracking.base import NullTracker
from msl.types import Data


def bits(result):
    return result.params.view(np.uint32).tolist()


def local(a_plan, sources=None):
    with LocalExecutor() as executor:
        return train(a_plan, sources or blobs(), executor, held_out=held_out())


def test_same_seed_same_bits_other_seed_other_bits():
    assert bits(local(plan())) == bits(local(plan()))
    assert bits(local(plan())) != bits(local(plan(seed=6)))


def test_partial_participation_is_the_same_anywhere_and_draws_all(cluster):
    a_plan = plan(per_round=3, rounds=12)
    alone = local(a_plan)
    with DaskExecutor(cluster) as executor:
        two = train(a_plan, blobs(), executor, held_out=held_out())
    assert bits(alone) == bits(two)
    drawn = [report.participants for report in alone.reports]
    assert all(len(ranks) == 3 == len(set(ranks)) for ranks in drawn)
    assert {rank for ranks in drawn for rank in ranks} == set(range(7))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_chooses_the_same_anywhere(cluster, sampler):
    a_plan = plan(per_round=3, rounds=9, sampler=make_sampler(sampler), on_failure="drop")
    alone = local(a_plan)
    with DaskExecutor(cluster) as executor:
        two = train(a_plan, blobs(), executor, held_out=held_out())
    assert bits(alone) == bits(two)
    assert {rank for report in alone.reports for rank in report.participants} == set(range(7))


def test_what_is_in_the_draw_is_not_in_the_weight():
    sources = [blobs(3, rows=rows)[rank] for rank, rows in enumerate((40, 80, 120))]
    calm = plan(aggregator=Mean(), attack=None, corrupted=(), per_round=2, rounds=4)
    by_rows = local(replace(calm, sampler=make_sampler("weighted")), sources)
    for report in by_rows.reports:
        # The third has half of all rows: it is in every round.
        np.testing.assert_allclose(report.given, [0.5, 0.5])
        assert 2 in report.participants
    for report in local(calm, sources).reports:
        rows = np.array([(40, 80, 120)[rank] for rank in report.participants])
        np.testing.assert_allclose(report.given, rows / rows.sum())


def test_training_learns_and_reports_what_happened():
    result = local(plan(attack=None, corrupted=(), rounds=20))
    first, last = result.reports[0], result.reports[-1]
    assert last.accuracy > 0.85
    assert last.loss < first.loss
    assert [r.round for r in result.reports] == list(range(20))
    assert all(r.participants == tuple(range(7)) and not r.dropped for r in result.reports)
    assert all(abs(sum(r.given) - 1) < 1e-9 for r in result.reports)
    assert {"solve", "meet", "evaluate", "round"} <= set(last.seconds)


def test_bytes_are_those_of_the_formula():
    a_plan, n = plan(), 7
    d = FEATURES * CLASSES + CLASSES
    up = n * codecs.make("maxmin", bits=4, bucket=8).nbytes(d)
    down = n * codecs.make("none").nbytes(d)
    assert up == n * (32 + 8 * 3 + 16)
    reports = local(a_plan).reports
    assert all((r.bytes_up, r.bytes_down) == (up, down) for r in reports)
    assert [r.bytes_total for r in reports] == [(r + 1) * (up + down) for r in range(6)]
    assert all(r.bytes_up_dense == n * 4 * d for r in reports)


def test_one_full_gradient_per_round_is_gradient_descent_on_the_pool():
    model = Softmax(FEATURES, CLASSES)
    a_plan = plan(
        model=model,
        algorithm=FedSgd(lr=0.5),
        aggregator=Mean(),
        codec=codecs.make("none"),
        attack=None,
        corrupted=(),
    )
    result = local(a_plan)
    X, y = (np.concatenate(parts) for parts in zip(*(blob(r) for r in range(7)), strict=True))
    params = model.init(0)
    for _ in range(6):
        params = params - np.float32(0.5) * model.gradient(params, X, y)
    np.testing.assert_allclose(result.params, params, rtol=2e-5, atol=1e-6)


def test_weights_are_the_rows_of_the_sources():
    one_big = [*blobs(1, rows=400), *blobs(2)[1:]]
    result = local(plan(aggregator=Mean(), attack=None, corrupted=(), rounds=1), one_big)
    np.testing.assert_allclose(result.reports[0].given, [400 / 440, 40 / 440])


def test_attacks_on_updates_replace_the_corrupted_rows_only():
    calm = local(plan(attack=None, corrupted=(), aggregator=Mean(), rounds=3))
    noisy = local(plan(attack=Gaussian(50.0), aggregator=Mean(), rounds=3))
    robust = local(plan(attack=Gaussian(50.0), aggregator=TrimmedMean(f=2), rounds=3))
    assert noisy.reports[-1].loss > calm.reports[-1].loss + 0.5
    assert robust.reports[-1].loss < noisy.reports[-1].loss - 0.5


def test_attacks_on_labels_change_what_the_source_learns_from():
    a_plan = plan(attack=LabelFlip(shift=1), corrupted=(2,))
    with LocalExecutor() as executor:
        stage = set_stage(a_plan, blobs(), None, executor)
    host = stage.hosts["local"]
    np.testing.assert_array_equal(host.data[2].y, (blob(2)[1] + 1) % CLASSES)
    np.testing.assert_array_equal(host.data[3].y, blob(3)[1])


def test_the_last_round_is_evaluated_and_every_kth():
    seen = [r.loss is not None for r in local(plan(evaluate_every=4)).reports]
    assert seen == [True, False, False, False, True, True]


def test_rows_and_model_never_reach_the_client_or_the_scheduler(cluster):
    small, large = (_client_bytes(cluster, rows, wide) for rows, wide in ((30, 8), (3000, 800)))
    # A report has the same size; a hundred times the rows and the model change nothing.
    assert large < small + 2000


def _client_bytes(client, rows, features):
    """Bytes that a round moves through client and scheduler, both ways, as pickles."""
    from distributed.protocol.pickle import dumps

    moved = []
    with DaskExecutor(client) as executor:
        send = executor._send_one

        async def measured(place, program):
            values = await send(place, program)
            moved.append(len(dumps((run_program, program))) + len(dumps(values)))
            return values

        sources = [LoaderSource(f"w{r}", wide_blob, (r, rows, features)) for r in range(4)]
        a_plan = plan(
            model=Softmax(features, CLASSES), aggregator=Mean(), attack=None, corrupted=()
        )
        stage = set_stage(a_plan, sources, None, executor)
        standing = first_standing(stage)
        executor._send_one = measured
        for round in range(3):
            _, standing = run_round(stage, standing, round)
    return sum(moved)


def wide_blob(rank, rows, features):
    draw = np.random.default_rng(rank)
    X = draw.standard_normal((rows, features)).astype(np.float32)
    return X, draw.integers(0, CLASSES, rows)


def test_a_worker_that_dies_while_training_changes_no_bit():
    a_plan, calm = plan(rounds=40), local(plan(rounds=40))
    with open_executor(workers=2) as executor:
        (victim,) = executor.gather([executor.submit(pid, at=executor.places[-1])])
        heard = []

        def on_report(report):
            heard.append(report.round)
            if report.round == 20:
                os.kill(victim, signal.SIGKILL)

        result = train(a_plan, blobs(), executor, held_out=held_out(), on_report=on_report)
    assert bits(result) == bits(calm)
    assert heard == list(range(40))


def test_a_worker_that_dies_while_loading_is_replaced(tmp_path):
    flag = str(tmp_path / "killed")
    sources = [LoaderSource(f"site-{r}", killed_once, (r, flag, 5)) for r in range(7)]
    with open_executor(workers=2) as executor:
        result = train(plan(), sources, executor, held_out=held_out())
    assert bits(result) == bits(local(plan()))


def test_a_loader_that_raises_names_source_and_worker(cluster):
    sources = [*blobs(3), LoaderSource("clinic", broken, (3,))]
    with DaskExecutor(cluster) as executor, pytest.raises(SourceError) as caught:
        train(plan(attack=None, corrupted=()), sources, executor)
    assert caught.value.source == "clinic"
    assert caught.value.worker in executor.places
    assert "on fire" in str(caught.value)


def test_a_diverging_source_ends_the_run_or_is_left_out_of_the_round():
    sources = [*blobs(3), LoaderSource("wild", fails_once_loaded, (3,))]
    a_plan = plan(attack=None, corrupted=(), algorithm=FedAvg(lr=1e30, batch=8))
    wild = replace(a_plan, algorithm=FedAvg(lr=1e22, batch=8))
    with pytest.raises(SourceError, match=r"'wild' failed in round 0.*diverged"):
        local(wild, sources)
    dropped = local(replace(wild, on_failure="drop", rounds=1), sources).reports[0]
    assert dropped.participants == (0, 1, 2)
    assert "diverged" in dropped.dropped[3]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 0}, "at least 1"),
        ({"per_round": 8}, r"1\.\.7"),
        ({"corrupted": (9,)}, r"0\.\.6"),
        ({"attack": None}, "need an attack"),
        ({"corrupted": tuple(range(7))}, "honest"),
        ({"attack": LabelFlip(), "n_classes": None}, "n_classes"),
        ({"aggregator": TrimmedMean(f=4)}, "f"),
        ({"seed": -1}, "seed"),
        ({"on_failure": "shrug"}, "raise or drop"),
    ],
)
def test_an_impossible_plan_is_refused_before_anything_runs(changes, words):
    with pytest.raises(PlanError, match=words):
        local(plan(**changes))


def test_the_plan_says_all_of_itself():
    told = plan().describe()
    assert told["codec"]["codec"]["rounding"] == "stochastic"
    assert told["aggregator"]["name"] == "geometric_median"
    assert told["attack"] == {"name": "sign_flip", "scale": 3.0, "own": False}


def test_in_memory_sources_give_the_same_bits_as_their_loaders(cluster):
    arrays = [ArraySource(f"site-{r}", *blob(r)) for r in range(7)]
    with DaskExecutor(cluster) as executor:
        result = train(plan(), arrays, executor, held_out=held_out())
    assert bits(result) == bits(local(plan()))


def test_one_solve_is_what_the_solver_alone_would_do():
    a_plan = plan(aggregator=Mean(), codec=codecs.make("none"), attack=None, corrupted=(), rounds=1)
    result = local(a_plan, blobs(1))
    params = a_plan.model.init(derive(5, "init"))
    X, y = blob(0)
    update, _ = a_plan.algorithm.solver(a_plan.model).solve(
        params, Data(X, y), None, derive(5, 0, 0, "solve"), 0
    )
    np.testing.assert_array_equal(result.params, params + update.vector)


def test_a_source_with_other_columns_or_classes_is_named_before_the_first_round():
    odd = [*blobs(2), LoaderSource("odd", wide_blob, (2, 30, 9))]
    calm = plan(attack=None, corrupted=())
    with pytest.raises(DataError, match="'odd' has 9 features, the model takes 6"):
        local(calm, odd)
    with pytest.raises(DataError, match=r"'site-0' has class 2, the run has classes 0\.\.1"):
        local(replace(calm, n_classes=2), blobs(2))


@pytest.mark.parametrize("name", list(ATTACKS))
def test_every_attack_runs_and_honest_sources_go_on(name):
    needed = {"optimal": {"family": "inner_product"}}.get(name, {})
    attack = make_attack(name, **needed)
    a_plan = plan(attack=attack, aggregator=Median(), corrupted=(0, 3), codec=MaxMin(8, 8))
    last = local(a_plan).reports[-1]
    assert last.accuracy > 0.8
    assert (last.attack_success is not None) == (name == "backdoor")


def test_rows_that_are_no_numbers_are_left_out_and_said():
    a_plan = plan(attack=Nan(), aggregator=TrimmedMean(f=1), corrupted=(2, 5))
    honest = local(replace(a_plan, attack=None, corrupted=())).reports[0]
    for report in local(a_plan).reports:
        assert report.participants == (0, 1, 3, 4, 6)
        assert dict(report.dropped) == {2: "sent NaN or Inf", 5: "sent NaN or Inf"}
        # They are not used, but they were sent.
        assert report.bytes_up == honest.bytes_up
        assert report.bytes_up_dense == honest.bytes_up_dense
    with pytest.raises(PlanError, match="at least 7 rows, got 5"):
        local(replace(a_plan, aggregator=TrimmedMean(f=3)))


def test_a_rule_that_remembers_sources_needs_all_of_them():
    guarded = plan(attack=Nan(), aggregator=Safeguard(**NEEDED["safeguard"]), corrupted=(2,))
    assert local(guarded).reports[-1].given[2] == 0
    with pytest.raises(PlanError, match="safeguard remembers each source: leave per_round out"):
        local(replace(guarded, per_round=5))


def test_a_source_that_fails_keeps_its_place_in_a_memory_of_sources():
    X, y = blob(6)
    sources = [*blobs(6), ArraySource("mad", X * np.float32(1e37), y)]
    guarded = plan(
        attack=None, corrupted=(), aggregator=Safeguard(**NEEDED["safeguard"]), on_failure="drop"
    )
    for report in local(guarded, sources).reports:
        assert report.participants == (0, 1, 2, 3, 4, 5)
        assert report.given == pytest.approx([1 / 6] * 6)
        assert "source 'mad'" in report.dropped[6]


def test_a_run_ends_when_the_server_has_come_to_its_end(cluster):
    a_plan = plan(
        attack=None, corrupted=(), codec=codecs.make("none"), aggregator=Mean(), rounds=200,
        algorithm=Lbfgs(tolerance=1e-3), model=Softmax(FEATURES, CLASSES, l2=0.1),
        evaluate_every=1000,
    )  # fmt: skip
    result = local(a_plan)
    assert 5 < len(result.reports) < 60
    assert [r.converged for r in result.reports] == [False] * (len(result.reports) - 1) + [True]
    assert result.reports[-1].accuracy > 0.8
    assert [r.round for r in result.reports] == list(range(len(result.reports)))
    with DaskExecutor(cluster) as executor:
        assert bits(train(a_plan, blobs(), executor, held_out=held_out())) == bits(result)


def test_zeno_judges_on_rows_that_do_not_evaluate():
    liars = plan(attack=SignFlip(9.0), corrupted=(0, 1, 2, 3), aggregator=Zeno(f=4), trusted=30)
    result = local(liars)
    assert result.reports[-1].accuracy > 0.8
    assert {report.given[0] for report in result.reports} == {0.0}
    with pytest.raises(PlanError, match="zeno judges updates on trusted rows"):
        local(replace(liars, trusted=0))
    with pytest.raises(PlanError, match="200 trusted rows need more held-out rows"):
        local(replace(liars, trusted=200))


def test_sizes_weigh_where_the_rule_or_the_plan_says():
    honest = plan(attack=None, corrupted=(), codec=MaxMin(8, 8))
    sizes = [LoaderSource(f"site-{r}", blob, (r, 20 * (r + 1))) for r in range(7)]
    by_rows = np.arange(1, 8) / 28
    for rule, weights, expected in (
        (Mean(), "auto", by_rows),
        (Mean(), "equal", np.full(7, 1 / 7)),
        (CenteredClipping(tau=1e9), "auto", np.full(7, 1 / 7)),
        (CenteredClipping(tau=1e9), "rows", by_rows),
    ):
        result = local(replace(honest, aggregator=rule, weights=weights), sizes)
        np.testing.assert_allclose(result.reports[0].given, expected)
    with pytest.raises(PlanError, match="krum has no use for weights"):
        local(replace(honest, aggregator=Krum(f=1), weights="rows"))


def test_old_memories_fade_when_sources_are_drawn_seldom():
    fading = ErrorFeedback(MaxMin(2, 8), decay=0.5)
    both = [
        local(plan(codec=c, per_round=3, rounds=12)) for c in (fading, replace(fading, decay=1))
    ]
    assert bits(both[0]) != bits(both[1])
    always = [local(plan(codec=c)) for c in (fading, replace(fading, decay=1))]
    assert bits(always[0]) == bits(always[1])


class Hearing(NullTracker):
    """Remembers the checkpoints it was given."""

    def __init__(self):
        self.kept = []

    def log_checkpoint(self, round, model, params, *, example=None, dataset=None):
        self.kept.append((round, params.copy(), dataset.rows))


def test_checkpoints_are_the_model_as_it_is_then():
    tracker, a_plan = Hearing(), plan()
    with LocalExecutor() as executor:
        train(a_plan, blobs(), executor, held_out=held_out(), tracker=tracker, log_model_every=2)
    assert [(round, rows) for round, _, rows in tracker.kept] == [(1, 200), (3, 200), (5, 200)]
    for round, params, _ in tracker.kept:
        np.testing.assert_array_equal(params, local(replace(a_plan, rounds=round + 1)).params)


def test_autolog_tracks_runs_that_were_given_no_tracker(tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/own.db")
    autolog()
    try:
        with mlflow.start_run(experiment_id=mlflow.create_experiment("mine")) as mine:
            local(plan(rounds=3))
        autolog(disable=True)
        local(plan(rounds=3))
        child, parent = mlflow.search_runs(experiment_names=["mine"], output_format="list")
    finally:
        autolog(disable=True)
        mlflow.set_tracking_uri(None)
    assert parent.info.run_id == mine.info.run_id
    assert child.data.tags["mlflow.parentRunId"] == mine.info.run_id
    assert child.data.params["rounds"] == "3"
    assert child.data.metrics["eval/accuracy"] > 0.8
