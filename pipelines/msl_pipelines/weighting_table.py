"""Sources weighed against 50 believed rows: ``python -m msl_pipelines.weighting_table``.

A small version of the experiments of Konstantinov and Lampert (ICML 2019): sklearn's digits, odd
against even, 20 principal components, a reference of 50 rows and 20 sources of 50 rows, of which
some lie; the other rows judge. Learner: logistic regression on weighted rows.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated, Any, TypeAlias

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from msl.random import derive, generator
from msl.trust.reference import discrepancies_to_reference
from msl.trust.weighting import Predict, cross_validated_lambda, fit_weighted, source_weights

__all__ = ["main", "measure"]

SOURCES, ROWS, COMPONENTS = 20, 50, 20
WAYS = ("ours", "reference only", "all data", "mass on bad")

EXPECTED: Mapping[tuple[str, int], tuple[float, float, float, float]] = {
    ("flip", 0): (0.112, 0.156, 0.099, 0.00),
    ("flip", 10): (0.107, 0.156, 0.391, 0.01),
    ("flip", 15): (0.116, 0.156, 0.866, 0.00),
    ("flip", 20): (0.160, 0.156, 0.901, 0.00),
    ("shuffle", 10): (0.119, 0.156, 0.122, 0.20),
    ("shuffle", 15): (0.139, 0.156, 0.172, 0.26),
    ("ones", 10): (0.117, 0.156, 0.313, 0.00),
    ("ones", 20): (0.162, 0.156, 0.500, 0.01),
}
"""What the lie and number of liars gave in an earlier run of this task: `WAYS` in order."""

Set: TypeAlias = tuple[NDArray[Any], NDArray[Any]]


def lie(name: str, y: NDArray[Any], key: int) -> NDArray[Any]:
    """Return the labels of a source that lies."""
    if name == "flip":
        return 1 - y
    if name == "shuffle":
        return generator(key).permutation(y)
    return np.ones_like(y)


def deal(seed: int, name: str, n_bad: int) -> tuple[Set, list[Set], Set]:
    """Return reference, sources (the first ones lie) and the rows that judge."""
    X, digit = load_digits(return_X_y=True)
    X, y = PCA(COMPONENTS, random_state=0).fit_transform(X), (digit % 2).astype(np.int64)
    order = generator(derive(seed, "deal")).permutation(len(y))
    parts = [order[i * ROWS : (i + 1) * ROWS] for i in range(SOURCES + 1)]
    sources = [(X[rows], y[rows]) for rows in parts[1:]]
    for bad in range(n_bad):
        rows, labels = sources[bad]
        sources[bad] = (rows, lie(name, labels, derive(seed, bad, "lie")))
    rest = order[(SOURCES + 1) * ROWS :]
    return (X[parts[0]], y[parts[0]]), sources, (X[rest], y[rest])


def logistic(X: NDArray[Any], y: NDArray[Any], weight: NDArray[np.float64]) -> Predict:
    """Fit a logistic regression."""
    found: Predict = LogisticRegression(max_iter=1000).fit(X, y, weight).predict
    return found


def measure(cell: tuple[int, str, int]) -> tuple[float, float, float, float]:
    """Return test errors and the weight on those who lie, as `WAYS`."""
    seed, name, n_bad = cell
    reference, sources, (X, y) = deal(seed, name, n_bad)
    sets = [reference, *sources]
    sizes = [len(labels) for _, labels in sets]
    choice = cross_validated_lambda(reference, sources, logistic, key=derive(seed, "folds"))
    d = np.append(0.0, discrepancies_to_reference(reference, sources))
    ours = source_weights(d, sizes, choice.lam)
    alone = np.eye(len(sets))[0]

    def error(weights: NDArray[np.float64]) -> float:
        return float((fit_weighted(sets, weights, logistic)(X) != y).mean())

    everybody = np.array(sizes) / sum(sizes)
    return error(ours), error(alone), error(everybody), float(ours[1 : 1 + n_bad].sum())


def main(seeds: Annotated[int, typer.Option(min=2, help="How many to average over.")] = 10) -> None:
    """Print errors beside what was expected, and which claims hold."""
    cells = [(seed, *setting) for setting in EXPECTED for seed in range(seeds)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        measured = np.array(list(pool.map(measure, cells, chunksize=4)))
    found = dict(zip(EXPECTED, measured.reshape(len(EXPECTED), seeds, len(WAYS)), strict=True))
    table = Table(title=f"test error, digits odd/even, {seeds} seeds: measured (expected)")
    for column in ("lie", f"liars of {SOURCES}", *WAYS):
        table.add_column(column, justify="right")
    for (name, n_bad), runs in found.items():
        pairs = zip(runs.mean(axis=0), EXPECTED[name, n_bad], strict=True)
        table.add_row(name, str(n_bad), *(f"{got:.3f} ({want:.3f})" for got, want in pairs))
    console = Console(width=120)
    console.print(table)
    for claim, failures in claims(found):
        console.print(f"{'holds' if not failures else 'FAILS: ' + '; '.join(failures)}: {claim}")


def claims(found: Mapping[tuple[str, int], NDArray[Any]]) -> Iterator[tuple[str, list[str]]]:
    """Yield what the paper makes one expect, and where it did not come."""
    worse = []
    for (name, n_bad), runs in found.items():
        gaps = runs[:, 0] - runs[:, 1]
        noise = 2 * gaps.std(ddof=1) / len(gaps) ** 0.5
        if gaps.mean() > noise:
            worse.append(f"{name} {n_bad}: {gaps.mean():+.3f}, noise {noise:.3f}")
    yield "never worse than the reference alone by more than two standard errors", worse
    ours, _, everybody, _ = found["flip", 0].mean(axis=0)
    late = [] if ours <= everybody + 0.02 else [f"{ours:.3f} and {everybody:.3f}"]
    yield "within 0.02 of all data when nobody lies", late


if __name__ == "__main__":
    typer.run(main)
