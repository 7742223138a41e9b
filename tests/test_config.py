"""YAML: every mistake is one clear line that names file and key."""

import pytest

from msl.config import load_config
from msl.errors import PlanError
from msl.settings import with_changes
from msl.sources import FileSource, LoaderSource, PartitionSource

QUICKSTART = "configs/quickstart.yaml"


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return written


def test_the_quick_start_is_what_it_promises():
    config = load_config(QUICKSTART)
    plan = config.plan()
    assert config.rounds == 60
    assert len(config.sources()) == 20
    assert len(plan.corrupted) == 6
    assert plan.attack.name == "label_flip"
    assert plan.codec.codec.bits == 4
    assert config.data.partition == {"name": "dirichlet", "alpha": 0.5}
    assert [c if isinstance(c, str) else c["name"] for c in config.compare["aggregator"]] == [
        "mean",
        "median",
        "trimmed_mean",
        "geometric_median",
    ]
    assert config.baselines == ["pooled_clean", "local_only"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("roundz=3", r"roundz: unknown key; allowed: name, seed, rounds"),
        ("data.sorces=3", r"data\.sorces: unknown key; allowed: dataset"),
        ("cluster.wrkers=3", r"cluster\.wrkers: unknown key; allowed: scheduler, tls, workers"),
        ("rounds=many", r"rounds: .*integer.*'many'"),
        ("rounds=0", r"rounds: .*greater than or equal to 1.*0"),
        ("data.dataset=mnist", r"data\.dataset: .*unknown data set 'mnist'.*digits"),
        ("aggregator=krumm", r"aggregator: unknown aggregator 'krumm'; choose from: mean"),
        ("aggregator={name: trimmed_mean, f: 10}", r"aggregator: .*10"),
        ("aggregator={name: trimmed_mean, g: 1}", r"aggregator: .*takes no g; it takes: f"),
        ("codec={name: maxmin, bits: 9}", r"codec: .*9"),
        ("codec={bits: 4}", r"codec: needs a name"),
        ("attack=lies", r"attack: unknown attack 'lies'"),
        ("corrupted=20", r"corrupted: at least one of 20"),
        ("per_round=21", r"per_round"),
        ("sampler=oort", r"sampler: unknown sampler 'oort'; choose from: uniform, weighted"),
        ("sampler={name: weighted, by: size}", r"sampler: .*rows or belief, got 'size'"),
        ("algorithm.lr=-1", r"algorithm: lr.*> 0.*-1"),
        ("data.partition.alpha=-1", r"data\.partition: .*alpha"),
        ("baselines=[best]", r"baselines\.0: .*pooled_clean"),
        ("on_failure=ignore", r"on_failure: .*raise.*drop"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_what_is_allowed(change, words):
    with pytest.raises(PlanError, match=rf"^{QUICKSTART}: {words}"):
        load_config(QUICKSTART, [change]).plan()


def test_a_mistake_in_the_grid_is_found_before_anything_runs():
    with pytest.raises(PlanError, match=r"compare\.aggregator\[1\].*krumm"):
        load_config(QUICKSTART, ["compare={aggregator: [mean, krumm]}"])
    with pytest.raises(PlanError, match=r"compare: unknown key\(s\) agregator"):
        load_config(QUICKSTART, ["compare={agregator: [mean]}"])


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [", "not YAML"), ("- 1", "needs a mapping"), ("rounds: 3", "data: Field required")],
)
def test_a_file_that_is_no_configuration_is_said_so(write, text, words):
    path = write(text)
    with pytest.raises(PlanError, match=f"{path}: {words}"):
        load_config(path)


def test_a_missing_file_is_said_so():
    with pytest.raises(PlanError, match=r"nowhere\.yaml: cannot be read"):
        load_config("nowhere.yaml")


def test_changes_reach_into_parts_given_by_name():
    raw = {"codec": "maxmin", "rounds": 3}
    changed = with_changes(raw, ["codec.bits=2", "rounds=7", "data.held_out=0.5"])
    assert changed == {
        "codec": {"name": "maxmin", "bits": 2},
        "rounds": 7,
        "data": {"held_out": 0.5},
    }
    assert raw == {"codec": "maxmin", "rounds": 3}


@pytest.mark.parametrize("change", ["rounds", "=3", "rounds.deep=3"])
def test_a_change_that_is_none_is_refused(change):
    with pytest.raises(PlanError, match="--set"):
        with_changes({"rounds": 3}, [change])


def test_files_and_loaders_are_sources_too(write):
    model = "model: {name: softmax, n_features: 2, n_classes: 2}\n"
    files = write(model + "data: {files: [{name: a, path: a.csv}, {name: b, path: b.npz}]}")
    assert [type(s) for s in load_config(files).sources()] == [FileSource, FileSource]
    loader = write(model + "data: {loader: 'tasks:blob', sources: 3}")
    sources = load_config(loader).sources()
    assert [type(s) for s in sources] == [LoaderSource] * 3
    assert sources[2].load().X.shape == (40, 6)
    assert type(load_config(QUICKSTART).sources()[0]) is PartitionSource


def test_files_need_the_shape_of_the_model(write):
    with pytest.raises(PlanError, match=r"model\.n_features: say it"):
        load_config(write("data: {files: [{name: a, path: a.csv}]}"))
