"""A classifier on a million rows of 50 sources, beside scikit-learn's on one array of them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from resource import getpagesize
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import log_loss

from msl.cluster import open_executor
from msl.estimators import MultiSourceClassifier

__all__ = ["main"]

ROWS, FEATURES, SOURCES, WORKERS = 1_000_000, 100, 50, 2
MOST_EPOCHS = 30
Array = NDArray[Any]


def write(folder: Path, number: int) -> None:
    """Leave the rows of a source in a folder: a noisy linear rule."""
    draw = np.random.default_rng(number)
    X = draw.standard_normal((ROWS // SOURCES, FEATURES), np.float32)
    chance = 1 / (1 + np.exp(-X @ np.linspace(-0.3, 0.3, FEATURES)))
    np.save(folder / f"X{number}.npy", X)
    np.save(folder / f"y{number}.npy", (draw.random(len(X)) < chance).astype(np.int64))


def load(folder: Path, number: int) -> tuple[Array, Array]:
    """Return the rows of a source, where it lies."""
    return np.load(folder / f"X{number}.npy"), np.load(folder / f"y{number}.npy")


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and its seconds."""
    start = perf_counter()
    return call(), perf_counter() - start


def pooled(folder: Path) -> tuple[Array, Array]:
    """Return all rows in one array."""
    parts = [load(folder, number) for number in range(SOURCES)]
    return np.concatenate([X for X, _ in parts]), np.concatenate([y for _, y in parts])


def until(goal: float, X: Array, y: Array, **settings: Any) -> tuple[float, float, int]:
    """Return loss, seconds and epochs of SGD until it has the goal, or gives up."""
    model = SGDClassifier(loss="log_loss", alpha=1 / len(y), random_state=0, **settings)
    seconds, loss, epochs = 0.0, np.inf, 0
    while loss > goal and epochs < MOST_EPOCHS:
        _, spent = timed(partial(model.partial_fit, X, y, classes=[0, 1]))
        seconds, epochs = seconds + spent, epochs + 1
        loss = log_loss(y, model.predict_proba(X))
    return loss, seconds, epochs


def main() -> None:
    """Print the table."""
    table = Table(title=f"{ROWS:,} rows x {FEATURES}, {SOURCES} sources, loss of all rows")
    for column in ("who", "seconds", "log loss", "passes over the rows"):
        table.add_column(column, justify="left" if column == "who" else "right")
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(SOURCES):
            write(folder, number)
        sources = {f"source-{i:02d}": partial(load, folder, i) for i in range(SOURCES)}
        X, y = pooled(folder)
        with open_executor(workers=WORKERS) as executor:
            client: Any = vars(executor)["client"]
            before = client.run(_memory)
            model, ours = timed(lambda: MultiSourceClassifier(client=client).fit(sources))
            grown = [after - before[who] for who, after in client.run(_memory).items()]
        goal = log_loss(y, model.predict_proba(X))
        table.add_row(f"msl, {WORKERS} workers", f"{ours:.1f}", f"{goal:.4f}", f"{model.n_iter_}")
        ways: dict[str, dict[str, Any]] = {
            "SGDClassifier": {},
            "SGDClassifier, invscaling": {"learning_rate": "invscaling", "eta0": 0.01},
        }
        for who, settings in ways.items():
            loss, seconds, epochs = until(goal * 1.001, X, y, **settings)
            told = f"{seconds:.1f}" if loss <= goal * 1.001 else f"not in {seconds:.1f}"
            table.add_row(who, told, f"{loss:.4f}", f"{epochs}")
        _, seconds = timed(partial(LogisticRegression().fit, X, y))
        table.add_row("LogisticRegression", f"{seconds:.1f}", "", "")
    Console().print(table)
    share = ROWS * FEATURES * 4 / WORKERS / 1e6
    Console().print(
        f"workers grew by {max(grown) / 1e6:.0f} MB at most; their rows are {share:.0f} MB each"
    )


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * getpagesize()


if __name__ == "__main__":
    main()
