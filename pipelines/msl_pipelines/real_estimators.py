"""Estimators on real data: ``python -m msl_pipelines.real_estimators --data FOLDER``.

Each hospital (heart disease, UCI), writer (FEMNIST, LEAF) or kind of goods (Amazon, Blitzer et al.
2007) is a source, nobody lies, and `MultiSourceClassifier` shall learn what scikit-learn's
LogisticRegression learns from the pooled rows. Hospitals agree on scales by `FederatedScaler`;
reviews stay sparse. FOLDER holds heart_disease/, femnist_leaf/ and amazon_mda_svmlight/.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, TypeAlias

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from msl.estimators import FederatedScaler, MultiSourceClassifier
from msl_pipelines.real_data import HOSPITALS, hospital
from msl_pipelines.real_sources import GOODS, amazon, femnist

__all__ = ["main", "measure"]

Rows: TypeAlias = tuple[Any, Any]


@dataclass(frozen=True)
class Task:
    """Sources to learn from and rows to judge by, pooled.

    Parameters
    ----------
    C : float
        Inverse of the penalty.
    scaled : bool
        Whether features get mean 0 and variance 1 first.
    known : float
        Accuracy of a pooled logistic regression in earlier work on these data.
    """

    learn: Mapping[str, Rows]
    judge: Rows
    C: float
    scaled: bool
    known: float


class Name(StrEnum):
    """Data sets."""

    heart = "heart"
    femnist = "femnist"
    amazon = "amazon"


def read_heart(folder: Path, _: int) -> Task:
    """Return four hospitals, 66 % of each to learn from, split as FLamby does."""
    learn, judge = {}, []
    for name in HOSPITALS:
        X, y = hospital(folder, name)
        strata = y if np.bincount(y).min() > 2 else None
        own_X, test_X, own_y, test_y = train_test_split(
            X, y, train_size=0.66, test_size=0.34, random_state=43, stratify=strata
        )
        learn[name] = own_X, own_y
        judge.append((test_X, test_y))
    return Task(learn, pooled(judge), 1.0, True, 0.795)


def read_femnist(folder: Path, seed: int) -> Task:
    """Return the writers of 62 characters."""
    learn, judge = femnist(folder, seed)
    named = {f"writer {i}": rows for i, rows in enumerate(learn)}
    return Task(named, pooled(judge), 0.1, False, 0.725)


def read_amazon(folder: Path, seed: int) -> Task:
    """Return reviews of four kinds of goods, as sparse rows of word counts."""
    learn, judge = amazon(folder, seed)
    parts = len(learn) // len(GOODS)
    named = {}
    for i, goods in enumerate(GOODS):
        X, y = pooled(learn[i * parts : (i + 1) * parts])
        named[goods] = sparse.csr_array(X), y
    X, y = pooled(judge)
    return Task(named, (sparse.csr_array(X), y), 0.1, False, 0.845)


READ: Mapping[Name, Callable[[Path, int], Task]] = {
    Name.heart: read_heart,
    Name.femnist: read_femnist,
    Name.amazon: read_amazon,
}


def pooled(sources: Sequence[Rows]) -> Rows:
    """Return all rows in one place."""
    Xs, ys = zip(*sources, strict=True)
    return (sparse.vstack if sparse.issparse(Xs[0]) else np.concatenate)(Xs), np.concatenate(ys)


@dataclass(frozen=True)
class Found:
    """What came out: accuracy, log loss and seconds of both, and what the rounds took."""

    accuracy: float
    pooled_accuracy: float
    loss: float
    pooled_loss: float
    seconds: float
    pooled_seconds: float
    rounds: int
    bytes_up: int


def measure(task: Task, codec: str = "none") -> Found:
    """Learn from the sources, and from the pooled rows."""
    start = perf_counter()
    sources, (X, y) = dict(task.learn), task.judge
    scale = FederatedScaler().fit(sources).transform if task.scaled else lambda rows: rows
    sources = {name: (scale(own), labels) for name, (own, labels) in sources.items()}
    ours = MultiSourceClassifier(C=task.C, codec=codec).fit(sources)
    middle = perf_counter()
    all_X, all_y = pooled(list(task.learn.values()))
    scale_all = StandardScaler().fit(all_X).transform if task.scaled else lambda rows: rows
    theirs = LogisticRegression(C=task.C).fit(scale_all(all_X), all_y)
    end = perf_counter()
    return Found(
        float(ours.score(scale(X), y)),
        float(theirs.score(scale_all(X), y)),
        float(log_loss(y, ours.predict_proba(scale(X)), labels=ours.classes_)),
        float(log_loss(y, theirs.predict_proba(scale_all(X)), labels=theirs.classes_)),
        middle - start,
        end - middle,
        ours.n_iter_,
        ours.bytes_up_,
    )


def table_of(tasks: Mapping[Name, Task], found: Mapping[Name, Found]) -> Table:
    """Return a row per data set: ours / pooled."""
    table = Table(title="MultiSourceClassifier / LogisticRegression on the pooled rows")
    for column in ("data", "sources", "rows", "features", "accuracy", "known", "log loss",
                   "seconds", "rounds", "MB up"):  # fmt: skip
        table.add_column(column, justify="right")
    for name, one in found.items():
        task = tasks[name]
        rows = [X.shape for X, _ in task.learn.values()]
        table.add_row(
            *(name, str(len(rows)), str(sum(m for m, _ in rows)), str(rows[0][1])),
            f"{one.accuracy:.4f} / {one.pooled_accuracy:.4f}",
            f"{task.known:.3f}",
            f"{one.loss:.4f} / {one.pooled_loss:.4f}",
            f"{one.seconds:.1f} / {one.pooled_seconds:.1f}",
            *(str(one.rounds), f"{one.bytes_up / 1e6:.1f}"),
        )
    return table


def claims(
    tasks: Mapping[Name, Task], found: Mapping[Name, Found]
) -> Iterator[tuple[str, list[str]]]:
    """Yield what is claimed, and where it did not come."""
    yield (
        "accuracy within 1 point of the known one, where the split is known",
        [
            f"{name}: {one.accuracy:.4f}, known {tasks[name].known}"
            for name, one in found.items()
            if name is not Name.amazon and abs(one.accuracy - tasks[name].known) > 0.01
        ],
    )
    yield (
        "accuracy within 0.5 point of scikit-learn's on the pooled rows, in this run",
        [
            f"{name}: {one.accuracy:.4f}, pooled {one.pooled_accuracy:.4f}"
            for name, one in found.items()
            if abs(one.accuracy - one.pooled_accuracy) > 0.005
        ],
    )
    yield (
        "log loss at most 1 % above it",
        [
            f"{name}: {one.loss:.4f}, pooled {one.pooled_loss:.4f}"
            for name, one in found.items()
            if one.loss > 1.01 * one.pooled_loss
        ],
    )


def main(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the files.")],
    only: Annotated[Name | None, typer.Option(help="One of the data sets.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="How reviews are split.")] = 0,
    codec: Annotated[str, typer.Option(help="How updates are compressed.")] = "none",
) -> None:
    """Print accuracies and losses beside those of the pooled rows, and which claims hold."""
    tasks = {name: READ[name](data, seed) for name in ([only] if only else Name)}
    found = {name: measure(task, codec) for name, task in tasks.items()}
    console = Console(width=130)
    console.print(table_of(tasks, found))
    for claim, failures in claims(tasks, found):
        console.print(f"{'holds' if not failures else 'FAILS: ' + '; '.join(failures)}: {claim}")


if __name__ == "__main__":
    typer.run(main)
