"""Names become parts and parts say what they are, in every family."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from rule_samples import NEEDED as RULES
from torch import nn

from msl import (
    aggregators,
    algorithms,
    attacks,
    codecs,
    collectives,
    models,
    samplers,
    sources,
    trust,
    waiting,
)
from msl.errors import PlanError, UnknownNameError
from msl.parts import LazyTable, accepted, describe, summary

FAMILIES: dict[str, tuple[Mapping[str, Any], Callable[..., Any]]] = {
    "aggregator": (aggregators.AGGREGATORS, aggregators.make),
    "algorithm": (algorithms.ALGORITHMS, algorithms.make),
    "attack": (attacks.ATTACKS, attacks.make),
    "codec": (codecs.CODECS, codecs.make),
    "collective": (collectives.COLLECTIVES, collectives.make),
    "model": (models.MODELS, models.make),
    "partitioner": (sources.PARTITIONERS, sources.make),
    "sampler": (samplers.SAMPLERS, samplers.make),
    "trust rule": (trust.TRUST, trust.make),
    "waiting": (waiting.WAITING, waiting.make),
}
# What a member needs, where it cannot be made from its name alone.
NEEDED: dict[str, dict[str, Any]] = {
    "buffered": {"updates": 2},
    "deadline": {"seconds": 30.0},
    "flea": {"protected": 0},
    "linear": {"n_features": 4},
    **RULES,
    "error_feedback": {"codec": {"name": "maxmin", "bits": 2}},
    "pass_through": {"codec": {"name": "maxmin", "bits": 2}},
    "softmax": {"n_features": 4, "n_classes": 3},
    "torch": {"module": nn.Linear, "arguments": (4, 3)},
    "mlp": {"n_features": 4, "hidden": [5, 6]},
    "by_column": {"column": 0},
}
MEMBERS = [(family, name) for family, (table, _) in FAMILIES.items() for name in table]
every = pytest.mark.parametrize(("family", "name"), MEMBERS)


@every
def test_description_makes_the_same_part(family: str, name: str) -> None:
    table, make = FAMILIES[family]
    part = make(name, **NEEDED.get(name, {}))
    described = describe(part)
    assert list(described) == ["name", *accepted(table[name])]
    assert make(**described) == part


@every
def test_every_part_says_what_it_is(family: str, name: str) -> None:
    said = summary(FAMILIES[family][0][name])
    assert said.endswith(".")
    # A dataclass without a docstring would say its signature.
    assert not said.startswith(f"{FAMILIES[family][0][name].__name__}(")


@every
def test_unknown_argument_lists_the_known_ones(family: str, name: str) -> None:
    table, make = FAMILIES[family]
    with pytest.raises(PlanError, match="takes no nonsense, zeal") as caught:
        make(name, zeal=1, nonsense=2)
    assert f"{family} {name!r}" in str(caught.value)
    takes = ", ".join(accepted(table[name])) or "no arguments"
    assert str(caught.value).endswith(f"it takes: {takes}")


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_name_lists_the_known_ones(family: str) -> None:
    table, make = FAMILIES[family]
    with pytest.raises(UnknownNameError) as caught:
        make("nonsense")
    known = ", ".join(table)
    assert str(caught.value) == f"unknown {family} 'nonsense'; choose from: {known}"


def test_nested_parts() -> None:
    made = codecs.make("error_feedback", codec={"name": "maxmin", "bits": 2})
    assert made == codecs.ErrorFeedback(codecs.MaxMin(bits=2))
    assert describe(made)["codec"] == {
        "name": "maxmin",
        "bits": 2,
        "bucket": 512,
        "rounding": "nearest",
    }
    with pytest.raises(UnknownNameError, match="unknown codec 'nonsense'"):
        codecs.make("error_feedback", codec={"name": "nonsense"})
    with pytest.raises(PlanError, match="'maxmin' takes no zeal"):
        codecs.make("error_feedback", codec={"name": "maxmin", "zeal": 1})


def test_missing_argument_is_named() -> None:
    with pytest.raises(PlanError, match=r"model 'softmax': .*'n_classes'"):
        models.make("softmax", n_features=4)


def test_refused_value_keeps_its_words() -> None:
    with pytest.raises(PlanError, match="lr must be > 0, got -1"):
        algorithms.make("fedsgd", lr=-1)


def test_lazy_table_imports_when_asked() -> None:
    table = LazyTable({"here": "msl.types:Layout", "gone": "msl.no_such_module:Part"})
    assert list(table) == ["here", "gone"]
    assert len(table) == 2
    assert "nonsense" not in table
    assert table["here"].__name__ == "Layout"
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        table["gone"]
