"""YAML -> checked configuration -> plan and sources; every mistake named with file and key."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from secrets import token_hex
from time import strftime
from typing import Any, Literal

from dask.utils import parse_bytes
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from msl import (
    aggregators,
    algorithms,
    attacks,
    bounds,
    codecs,
    collectives,
    models,
    samplers,
    trust,
    waiting,
)
from msl import sources as sources_family
from msl.bounds.guarantee import Guarantee
from msl.checkpoints.base import Checkpoints
from msl.cluster.base import PATIENCE
from msl.cluster.tls import Tls
from msl.errors import PlanError
from msl.plan import Plan
from msl.random import derive, generator
from msl.settings import as_part, read_yaml, with_changes, with_value
from msl.sources import DATASETS, FileSource, HeldOut, LoaderSource, PartitionSource, Pinned, Source

__all__ = ["Config", "load_config"]

Part = dict[str, Any]
"""A part as YAML has it: ``median``, or ``{name: trimmed_mean, f: 6}``."""


Baseline = Literal["pooled", "pooled_clean", "local_only", "oracle"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Strict):
    """Where the rows are: a named data set dealt to n sources, files, or a loader function.

    A file may say on which `machine` it lies; `machines` says it of each source of a loader.
    """

    dataset: str | None = None
    files: list[dict[str, Any]] = Field(default_factory=list)
    loader: str | None = None
    machines: list[str] = Field(default_factory=list)
    held_out_file: dict[str, Any] | None = None
    sources: int | None = Field(default=None, ge=1)
    partition: Part = Field(default_factory=lambda: {"name": "iid"})
    held_out: float = Field(default=0.25, gt=0, lt=1)

    normalise = field_validator("partition", mode="before")(as_part)

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in DATASETS:
            raise ValueError(f"unknown data set {name!r}; choose from: {', '.join(DATASETS)}")
        return name


class TlsConfig(_Strict):
    """Files in PEM: the authority of the cluster, our certificate, and its key."""

    ca: str
    cert: str
    key: str | None = None

    def made(self) -> Tls:
        """Return it checked."""
        return Tls(self.ca, self.cert, self.key)


class ClusterConfig(_Strict):
    """Where to run: a scheduler's address, or how many local workers (0: in this process).

    A run on a scheduler begins with `at_least` workers, and waits `patience` seconds for those
    without which it cannot go on. `cells` of a comparison run at a time, each on workers of its
    own. `cache`: rows that each worker keeps loaded, such as 4GB; half of its memory if left out.
    """

    scheduler: str | None = None
    tls: TlsConfig | None = None
    workers: int = Field(default=2, ge=0)
    at_least: int = Field(default=1, ge=1)
    patience: float = Field(default=PATIENCE, ge=0)
    cells: int = Field(default=1, ge=1)
    cache: int | None = Field(default=None, ge=1)

    @field_validator("cache", mode="before")
    @classmethod
    def _bytes(cls, size: Any) -> Any:
        return parse_bytes(size) if isinstance(size, str) else size


class TrackingConfig(_Strict):
    """Where rounds are tracked, and what else is kept.

    `uri`: an MLflow store, ``jsonl:FOLDER`` for plain files, or ``none``. `spool`: where rounds
    wait for a server that is away. `log_model_every`: rounds between two models that are kept.
    `registered_name`: a name in MLflow's registry for the final model. `system_metrics`: MLflow's
    own, of the driver.
    """

    uri: str = "sqlite:///runs/mlflow.db"
    experiment: str = "msl"
    spool: str | None = None
    log_model_every: int | None = Field(default=None, ge=1)
    registered_name: str | None = None
    system_metrics: bool = False


class CheckpointConfig(_Strict):
    """Where runs can be resumed from: every so many rounds, nowhere if left out.

    A run gets a folder of its own below `folder`, which all workers must reach; `keep` checkpoints
    of it are kept.
    """

    folder: str = "runs/checkpoints"
    every: int | None = Field(default=None, ge=1)
    keep: int = Field(default=2, ge=1)

    def of(self, run: str | None) -> Checkpoints | None:
        """Return the checkpoints of a run; of one without a name in a folder named by the time."""
        if self.every is None:
            return None
        name = run or f"{strftime('%Y%m%dT%H%M%S')}-{token_hex(4)}"
        return Checkpoints(f"{self.folder.rstrip('/')}/{name}", self.every, self.keep)

    def left_by(self, run: str | None) -> Checkpoints | None:
        """Return the checkpoints of a run that broke off, if it came to keep any."""
        kept = self.of(run) if run else None
        return kept if kept and kept.begun else None


class Config(_Strict):
    """A whole file."""

    name: str = "run"
    seed: int = Field(default=0, ge=0, lt=2**64)
    rounds: int = Field(default=20, ge=1)
    per_round: int | None = Field(default=None, ge=1)
    sampler: Part = Field(default_factory=lambda: {"name": "uniform"})
    evaluate_every: int = Field(default=1, ge=1)
    on_failure: Literal["raise", "drop"] = "raise"
    weights: Literal["auto", "rows", "equal"] = "auto"
    trusted: int = Field(default=0, ge=0)
    trust_every: int | None = Field(default=None, ge=1)
    guarantee: dict[str, Any] | None = Field(default_factory=dict)
    data: DataConfig
    model: Part = Field(default_factory=lambda: {"name": "softmax"})
    algorithm: Part = Field(default_factory=lambda: {"name": "fedavg"})
    aggregator: Part = Field(default_factory=lambda: {"name": "mean"})
    codec: Part = Field(default_factory=lambda: {"name": "none"})
    attack: Part | None = None
    corrupted: int = Field(default=0, ge=0)
    trust: Part = Field(default_factory=lambda: {"name": "all"})
    collective: Part = Field(default_factory=lambda: {"name": "star"})
    waiting: Part = Field(default_factory=lambda: {"name": "everyone"})
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    compare: dict[str, list[Any]] = Field(default_factory=dict)
    baselines: list[Baseline] = Field(default_factory=list)

    normalise = field_validator(
        "model",
        "algorithm",
        "aggregator",
        "codec",
        "attack",
        "trust",
        "collective",
        "sampler",
        "waiting",
        mode="before",
    )(as_part)

    def sources(self) -> list[Source]:
        """Return the recipes of the sources, honest ones."""
        data = self.data
        if data.machines and data.loader is None:
            raise PlanError("data.machines: of a loader's sources; a file has its own machine")
        if data.dataset is not None:
            n = data.sources or 1
            dealer = _make("data.partition", sources_family.make, data.partition)
            key = derive(self.seed, "data")
            return [
                PartitionSource(f"source-{i:02d}", data.dataset, dealer, i, n, key, data.held_out)
                for i in range(n)
            ]
        if data.files:
            return [_file(f"data.files.{i}", f) for i, f in enumerate(data.files)]
        if data.loader is None:
            raise PlanError("data: give one of dataset, files or loader")
        load = _function(data.loader)
        n, machines = data.sources or 1, data.machines
        if machines and len(machines) != n:
            raise PlanError(f"data.machines: one for each of {n} sources, got {len(machines)}")
        loaded: list[Source] = [LoaderSource(f"source-{i:02d}", load, (i,)) for i in range(n)]
        return [Pinned(s, m) for s, m in zip(loaded, machines, strict=True)] if machines else loaded

    def held_out(self) -> Source | None:
        """Return the recipe of the rows on which models are judged."""
        if self.data.dataset is not None:
            return HeldOut(self.data.dataset, self.data.held_out, derive(self.seed, "data"))
        if self.data.held_out_file is not None:
            file: Source = _make("data.held_out_file", FileSource, self.data.held_out_file)
            return file
        return None

    def plan(self) -> Plan:
        """Return the checked plan.

        Raises
        ------
        PlanError
            Names the key of the part that cannot be made.
        """
        n = len(self.sources())
        features, n_classes = self._shape()
        shape = {"n_features": features, "n_classes": n_classes}
        model = _make("model", models.make, shape | self.model)
        horizon = {"rounds": self.rounds} if self.algorithm.get("schedule") == "cosine" else {}
        plan = Plan(
            model=model,
            algorithm=_make("algorithm", algorithms.make, horizon | self.algorithm),
            aggregator=_make(
                "aggregator", aggregators.make, _counted(self.aggregator, self.corrupted)
            ),
            codec=_make("codec", codecs.make, self.codec),
            attack=_make("attack", attacks.make, self.attack) if self.attack else None,
            corrupted=self._corrupted(n),
            n_classes=n_classes,
            trust=_make("trust", trust.make, self.trust),
            collective=_make("collective", collectives.make, self.collective),
            rounds=self.rounds,
            per_round=self.per_round,
            sampler=_make("sampler", samplers.make, self.sampler),
            waiting=_make("waiting", waiting.make, self.waiting),
            seed=self.seed,
            evaluate_every=self.evaluate_every,
            on_failure=self.on_failure,
            weights=self.weights,
            trusted=self.trusted,
            trust_every=self.trust_every,
            guarantee=None if self.guarantee is None else self._guarantee(self.guarantee),
        )
        _at("aggregator", plan.aggregator.check, self.per_round or n)
        plan.check(n)
        return plan

    @staticmethod
    def _guarantee(asked: Mapping[str, Any]) -> Guarantee:
        """Return what is to be promised; a capacity with a name of its own is made from it."""
        capacity = asked.get("capacity", "auto")
        if isinstance(capacity, Mapping):
            capacity = _make("guarantee.capacity", bounds.make, capacity)
        guarantee: Guarantee = _at("guarantee", Guarantee, **{**asked, "capacity": capacity})
        return guarantee

    def _corrupted(self, n: int) -> tuple[int, ...]:
        if not self.corrupted:
            return ()
        if self.corrupted >= n:
            raise PlanError(f"corrupted: at least one of {n} sources must be honest")
        draw = generator(derive(self.seed, "corrupted"))
        return tuple(sorted(draw.choice(n, self.corrupted, replace=False).tolist()))

    def _shape(self) -> tuple[int, int]:
        """Return features and classes: from the data set's table, or as the model part says."""
        if self.data.dataset is not None:
            X, y = sources_family.dataset(self.data.dataset)
            return X.shape[1], int(y.max()) + 1
        try:
            return int(self.model["n_features"]), int(self.model["n_classes"])
        except KeyError as error:
            raise PlanError(
                f"model.{error.args[0]}: say it for files and loaders, for example "
                "{name: softmax, n_features: 13, n_classes: 2}"
            ) from error


def load_config(path: str | Path | Mapping[str, Any], changes: Iterable[str] = ()) -> Config:
    """Read, change and check a file.

    Parameters
    ----------
    path : path or mapping
        A YAML file, or what it would hold.
    changes : iterable of str
        ``a.b=c`` overrides, c in YAML.

    Raises
    ------
    PlanError
        One line per mistake: file, key, what is allowed.
    """
    raw = with_changes(path if isinstance(path, Mapping) else read_yaml(path), changes)
    path = "configuration" if isinstance(path, Mapping) else path
    try:
        config = Config.model_validate(raw)
        config.plan()
        _check_grid(config)
    except ValidationError as error:
        raise PlanError("\n".join(f"{path}: {_line(e)}" for e in error.errors())) from error
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error
    return config


def _check_grid(config: Config) -> None:
    """Try every value of every axis by itself, so that the last cell does not fail after hours."""
    first = {axis.partition(".")[0] for axis in config.compare}
    if unknown := sorted(first - set(Config.model_fields)):
        raise PlanError(
            f"compare: unknown key(s) {', '.join(unknown)}; "
            f"allowed: {', '.join(Config.model_fields)}"
        )
    for axis, values in config.compare.items():
        for i, value in enumerate(values):
            try:
                Config.model_validate(with_value(config.model_dump(), axis, value)).plan()
            except ValidationError as error:
                raise PlanError(f"compare.{axis}[{i}]: {_line(error.errors()[0])}") from error
            except PlanError as error:
                raise PlanError(f"compare.{axis}[{i}]: {error}") from error


def _counted(part: Part, corrupted: int) -> Part:
    """Return an aggregator with ``f: corrupted`` replaced by that number, at any depth."""
    return {
        key: corrupted
        if key == "f" and value == "corrupted"
        else _counted(value, corrupted)
        if isinstance(value, dict)
        else value
        for key, value in part.items()
    }


def _line(error: Any) -> str:
    key = ".".join(str(step) for step in error["loc"]) or "(file)"
    if error["type"] == "extra_forbidden":
        sections: dict[str, type[BaseModel]] = {
            "data": DataConfig,
            "cluster": ClusterConfig,
            "tracking": TrackingConfig,
            "checkpoint": CheckpointConfig,
        }
        model = sections.get(key.partition(".")[0], Config)
        allowed = model.model_fields if "." in key else Config.model_fields
        return f"{key}: unknown key; allowed: {', '.join(allowed)}"
    return f"{key}: {error['msg']}, got {error['input']!r}"


def _make(key: str, make: Any, part: Mapping[str, Any]) -> Any:
    if "name" not in part:
        raise PlanError(f"{key}: needs a name")
    return _at(key, make, **part)


def _file(key: str, part: Mapping[str, Any]) -> Source:
    """Return a file's source, pinned to its machine if it has one."""
    source: Source = _make(key, FileSource, {k: v for k, v in part.items() if k != "machine"})
    return _at(key, Pinned, source, part["machine"]) if "machine" in part else source


def _at(key: str, fn: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except (TypeError, PlanError) as error:
        raise PlanError(f"{key}: {error}") from error


def _function(address: str) -> Any:
    module, _, name = address.partition(":")
    try:
        return vars(import_module(module))[name]
    except (ImportError, KeyError) as error:
        raise PlanError(f"data.loader: cannot find {address!r}; write module:function") from error
