"""Whom to believe on real data: ``python -m msl_pipelines.real_sources --data FOLDER``.

Sources that are honest but not alike: four hospitals (heart disease, UCI), the writers of
characters (FEMNIST, LEAF), reviews of four kinds of goods (Amazon, Blitzer et al. 2007; five
sources a kind). Some flip their labels or shift them by one class. One rule finds them, and a
logistic regression is fitted on whom it believes; beside it one on all rows, and one on those of
the honest sources. FOLDER holds heart_disease/, femnist_leaf/ and amazon_mda_svmlight/.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from enum import StrEnum
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from warnings import catch_warnings, filterwarnings

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.base import clone
from sklearn.datasets import load_svmlight_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from msl.estimators import SourceFilter
from msl.random import derive, generator
from msl.trust.learners import fitted
from msl.trust.pac_filter import PacFilter
from msl_pipelines.real_data import HOSPITALS, hospital

__all__ = ["LEARNER", "RULE", "main", "measure"]

LEARNER = LogisticRegression(C=0.1, max_iter=200)
RULE = PacFilter(
    policy="outlier",
    protocol="losses",
    learner=fitted(LogisticRegression(C=0.1, max_iter=100, tol=1e-2)),
    by_class=True,
    splits=5,
)
BAD = 0.3
"""Share of the writers, and of the sources of reviews, that lie."""
GOODS = ("books", "dvd", "electronics", "kitchen")

Rows: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
Sources: TypeAlias = list[Rows]
Found: TypeAlias = Mapping[tuple[str, str], NDArray[np.float64]]
"""By data and corruption, (seeds, 5): accuracies on all rows, on those of believed and of honest
sources; honest sources lost, and bad ones kept."""


class Name(StrEnum):
    """Data sets."""

    heart = "heart"
    femnist = "femnist"
    amazon = "amazon"


SEEDS: Mapping[Name, int] = {Name.heart: 10, Name.femnist: 5, Name.amazon: 5}
LIES: Mapping[Name, tuple[str, ...]] = {
    Name.heart: ("none", *HOSPITALS),
    Name.femnist: ("none", "shifted"),
    Name.amazon: ("none", "flipped"),
}


def heart(folder: Path, seed: int) -> tuple[Sources, Sources]:
    """Return rows of hospitals to learn from, 66 %, and to judge by."""
    learn, judge = [], []
    for rank, name in enumerate(HOSPITALS):
        rows = _dealt(hospital(folder, name), seed, rank)
        cut = len(rows[1]) * 66 // 100
        learn.append((rows[0][:cut], rows[1][:cut]))
        judge.append((rows[0][cut:], rows[1][cut:]))
    scale = StandardScaler().fit(_pooled(learn)[0]).transform
    return [(scale(X), y) for X, y in learn], [(scale(X), y) for X, y in judge]


def femnist(folder: Path, _: int) -> tuple[Sources, Sources]:
    """Return rows of writers to learn from, and to judge by; there is one split."""
    parts = []
    for part in ("train", "test"):
        writers: dict[str, Rows] = {}
        for path in (folder / "femnist_leaf" / part).glob("*.json.gz"):
            with gzip.open(path) as file:
                for writer, own in json.load(file)["user_data"].items():
                    writers[writer] = 1 - np.array(own["x"], np.float32), np.array(own["y"])
        parts.append([writers[writer] for writer in sorted(writers)])
    return parts[0], parts[1]


def amazon(folder: Path, seed: int) -> tuple[Sources, Sources]:
    """Return rows of five sources for each kind of goods, 80 %, and to judge by."""
    learn, judge = [], []
    for rank, goods in enumerate(GOODS):
        path = folder / "amazon_mda_svmlight" / f"{goods}_train.svmlight.gz"
        counts, sign = load_svmlight_file(str(path), n_features=5000, dtype=np.float32)
        X, y = _dealt((np.log1p(counts.toarray()), (sign > 0).astype(np.int64)), seed, rank)
        cut = len(y) * 80 // 100
        learn += [(X[start:cut:5], y[start:cut:5]) for start in range(5)]
        judge.append((X[cut:], y[cut:]))
    return learn, judge


READ: Mapping[Name, Callable[[Path, int], tuple[Sources, Sources]]] = {
    Name.heart: heart,
    Name.femnist: femnist,
    Name.amazon: amazon,
}


def _dealt(rows: Rows, seed: int, rank: int) -> Rows:
    order = generator(derive(seed, "deal", rank)).permutation(len(rows[1]))
    return rows[0][order], rows[1][order]


def _pooled(sources: Sources) -> Rows:
    return np.concatenate([X for X, _ in sources]), np.concatenate([y for _, y in sources])


def liars(name: Name, lie: str, n: int, seed: int) -> list[int]:
    """Return which of n sources lie."""
    if lie == "none":
        return []
    if name is Name.heart:
        return [HOSPITALS.index(lie)]
    return sorted(generator(derive(seed, "liars")).permutation(n)[: int(BAD * n)].tolist())


def measure(cell: tuple[Path, Name, str, int]) -> list[float]:
    """Return what `Found` holds, for one seed."""
    folder, name, lie, seed = cell
    learn, judge = READ[name](folder, seed)
    bad, classes = liars(name, lie, len(learn), seed), 62 if name is Name.femnist else 2
    told = [(X, (y + 1) % classes if i in bad else y) for i, (X, y) in enumerate(learn)]
    honest = [rows for i, rows in enumerate(told) if i not in bad]
    owner = np.repeat(np.arange(len(told)), [len(y) for _, y in told])
    # Processes share the cores. Half of a writer's few rows may have nearly as many classes.
    with threadpool_limits(1), catch_warnings():
        filterwarnings("ignore", "The number of unique classes")
        sifted = SourceFilter(LEARNER, RULE).fit(*_pooled(told), sources=owner)
        everybody, oracle = (clone(LEARNER).fit(*_pooled(some)) for some in (told, honest))
        accuracies = [float(m.score(*_pooled(judge))) for m in (everybody, sifted, oracle)]
    kept = set(sifted.trusted_sources_.tolist())
    return [*accuracies, len(told) - len(bad) - len(kept - set(bad)), len(kept & set(bad))]


def table_of(found: Found) -> Table:
    """Return means over seeds."""
    table = Table(title="accuracy, mean of seeds")
    for column in ("data", "lie", "seeds", "all", "filter", "oracle", "honest lost", "bad kept"):
        table.add_column(column, justify="right")
    for (name, lie), runs in found.items():
        *accuracies, lost, kept = runs.mean(axis=0)
        table.add_row(
            *(name, lie, str(len(runs))),
            *(f"{accuracy:.3f}" for accuracy in accuracies),
            *(f"{lost:.1f}", f"{kept:.1f}"),
        )
    return table


def claims(found: Found) -> Iterator[tuple[str, list[str]]]:
    """Yield what is claimed, and where it did not come."""
    mean = {key: runs.mean(axis=0) for key, runs in found.items()}
    yield (
        "within 2 points of the oracle that leaves out the bad sources",
        [
            f"{name} {lie}: {filtered:.3f}, oracle {oracle:.3f}"
            for (name, lie), (_, filtered, oracle, *_) in mean.items()
            if lie != "none" and filtered < oracle - 0.02
        ],
    )
    yield (
        "where nobody lies, no more than 1 point below all sources",
        [
            f"{name}: {filtered:.3f}, all {everybody:.3f}"
            for (name, lie), (everybody, filtered, *_) in mean.items()
            if lie == "none" and filtered < everybody - 0.01
        ],
    )


def main(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the files.")],
    only: Annotated[Name | None, typer.Option(help="One of the data sets.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many; 10 for heart, 5 for others by default.")
    ] = None,
) -> None:
    """Print accuracies with and without the filter, and which claims hold."""
    settings = [(name, lie) for name in ([only] if only else Name) for lie in LIES[name]]
    cells = {
        (name.value, lie): [(data, name, lie, seed) for seed in range(seeds or SEEDS[name])]
        for name, lie in settings
    }
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        measured = iter(list(pool.map(measure, chain(*cells.values()))))
    found = {key: np.array([next(measured) for _ in some]) for key, some in cells.items()}
    console = Console(width=110)
    console.print(table_of(found))
    for claim, failures in claims(found):
        console.print(f"{'holds' if not failures else 'FAILS: ' + '; '.join(failures)}: {claim}")


if __name__ == "__main__":
    typer.run(main)
