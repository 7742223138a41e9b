"""Every aggregator at d = 1e6, in multiples of one read of the rows; ByzFL beside, if there."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from msl.aggregators import Aggregator, make
from msl_pipelines.bench.kernels import read
from msl_pipelines.bench.timing import median_of

__all__ = ["main"]

COLUMNS, COUNTS = 1_000_000, (20, 50, 100)


def rules(n: int) -> Iterator[tuple[str, Aggregator, bool]]:
    """Yield label, rule, and whether to weigh the rows unequally, for f = n / 5."""
    f = n // 5
    yield "mean", make("mean"), True
    yield "median", make("median"), False
    yield "median, weighted", make("median"), True
    yield "trimmed_mean", make("trimmed_mean", f=f), False
    yield "trimmed_mean, weighted", make("trimmed_mean", f=f), True
    yield "meamed", make("meamed", f=f), False
    yield "krum", make("krum", f=f), False
    yield "multi_krum", make("multi_krum", f=f), True
    yield "geometric_median, 3 steps", make("geometric_median", iterations=3), True
    yield "geometric_median", make("geometric_median"), True
    yield "centered_clipping", make("centered_clipping"), False
    yield "mda", make("mda", f=f), True
    yield "smea", make("smea", f=f), True
    yield "caf", make("caf", f=f), True
    yield "monna", make("monna", f=f), True
    yield "bulyan", make("bulyan", f=(n - 3) // 4), False
    yield "sign_majority", make("sign_majority"), True
    yield "nnm + mean", make("nnm", f=f), True
    yield "nnm + median", make("nnm", f=f, then="median"), False
    yield "arc + median", make("arc", f=f, then="median"), False
    yield "bucketing + median", make("bucketing", s=2, then="median"), False


def reads(n: int, rows: NDArray[np.float32], threads: int) -> dict[str, float]:
    """Return the time of every rule over that of one read, both on so many threads."""
    numba.set_num_threads(threads)
    repeats = 9 if n <= 20 else 3
    unit = median_of(read, rows.reshape(-1), repeats=repeats)
    found = {}
    for name, rule, unequal in rules(n):
        weights = np.linspace(1, 3, n) if unequal and rule.weighted else np.ones(n)
        memory = rule.init(*rows.shape)
        taken = median_of(rule.aggregate, rows, weights, memory, repeats=repeats)
        found[name] = taken / unit
    return found


def byzfl(n: int, rows: NDArray[np.float32]) -> dict[str, float]:
    """Return the same for ByzFL's rules on NumPy arrays; empty when it is not installed."""
    try:
        peer: Any = import_module("byzfl.aggregators.aggregators")
        mixing: Any = import_module("byzfl.aggregators.preaggregators")
    except ImportError:
        return {}
    f = n // 5
    theirs: dict[str, Callable[[Any], Any]] = {
        "median": peer.Median(),
        "trimmed_mean": peer.TrMean(f=f),
        "meamed": peer.Meamed(f=f),
        "krum": peer.Krum(f=f),
        "multi_krum": peer.MultiKrum(f=f),
        "geometric_median, 3 steps": peer.GeometricMedian(T=3),
        "centered_clipping": peer.CenteredClipping(L=3),
        "nnm + mean": mixing.NNM(f=f),
    }
    unit = median_of(read, rows.reshape(-1), repeats=3)
    return {name: median_of(rule, rows, repeats=1) / unit for name, rule in theirs.items()}


def main() -> None:
    """Print the table."""
    threads = numba.config.NUMBA_NUM_THREADS
    console = Console(width=120)
    table = Table(title=f"d = {COLUMNS:.0e}, f = n / 5, time over one read of the rows")
    table.add_column("rule")
    columns = []
    for n in COUNTS:
        rows = np.random.default_rng(0).standard_normal((n, COLUMNS), np.float32)
        columns.append((f"n = {n}", reads(n, rows, 1)))
        if n == COUNTS[0]:
            columns.append((f"n = {n}, {threads} threads", reads(n, rows, threads)))
            if theirs := byzfl(n, rows):
                columns.append((f"n = {n}, ByzFL", theirs))
    numba.set_num_threads(threads)
    for title, _ in columns:
        table.add_column(title, justify="right")
    for name in columns[0][1]:
        cells = (found.get(name) for _, found in columns)
        table.add_row(name, *("" if cell is None else f"{cell:.1f}" for cell in cells))
    console.print(table)


if __name__ == "__main__":
    main()
