"""Speed of the kernels beside what the memory gives in the same run, on one thread and on all."""

import numba
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from msl_kernels.order import median, trimmed_mean
from msl_kernels.quantize import dequantize, n_buckets, packed_nbytes, quantize
from msl_pipelines.bench.timing import median_of as seconds

NUMBERS, BUCKET, KEY, COLUMNS = 10_000_000, 512, 1, 1_000_000

__all__ = ["main", "read"]


@njit(parallel=True, fastmath=True)
def read(x):  # type: ignore[no-untyped-def]
    """Return the sum of x: what reading it once costs."""
    total = np.float32(0)
    for i in prange(len(x)):
        total += x[i]
    return total


@njit(parallel=True)
def _copy(x, out):  # type: ignore[no-untyped-def]
    for i in prange(len(x)):
        out[i] = x[i]


def _normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def streams() -> dict[str, float]:
    """Return GB of float32 per second of every kernel that passes over one vector."""
    x, out = _normal(NUMBERS), np.zeros(NUMBERS, np.float32)
    times = {"read": seconds(read, x), "copy": seconds(_copy, x, out)}
    for bits in (4, 8):
        meta = np.empty((n_buckets(NUMBERS, BUCKET), 2), np.float32)
        packed = np.empty(packed_nbytes(NUMBERS, bits), np.uint8)
        for name, key in (("nearest", None), ("stochastic", KEY)):
            taken = seconds(quantize, x, bits, BUCKET, key, meta, packed)
            times[f"quantise {bits} bits, {name}"] = taken
        for name, add in (("unpack", False), ("unpack-add", True)):
            taken = seconds(dequantize, meta, packed, NUMBERS, bits, BUCKET, out, add)
            times[f"{name} {bits} bits"] = taken
    return {name: x.nbytes / taken / 1e9 for name, taken in times.items()}


def orders() -> dict[str, float]:
    """Return times of the order statistics, in reads of the same rows."""
    found = {}
    for n in (20, 50):
        rows, out = _normal(n, COLUMNS), np.empty(COLUMNS, np.float32)
        once = seconds(read, rows.reshape(-1))
        for name, taken in (
            ("median", seconds(median, rows, out)),
            ("trimmed mean", seconds(trimmed_mean, rows, n // 5, out)),
            ("np.median", seconds(np.median, rows, 0)),
        ):
            found[f"{name} {n} x {COLUMNS:.0e}"] = taken / once
    return found


def main() -> None:
    """Print the table; the columns are one thread and all of them."""
    counts = sorted({1, numba.config.NUMBA_NUM_THREADS})
    columns = []
    for count in counts:
        numba.set_num_threads(count)
        columns.append((streams(), orders()))
    table = Table(title=f"{NUMBERS:.0e} float32, bucket {BUCKET}, medians of 9")
    table.add_column("kernel")
    table.add_column("unit")
    for count in counts:
        table.add_column(f"{count} thread{'s' if count > 1 else ''}", justify="right")
    for unit, group in (("GB/s", 0), ("reads", 1)):
        for name in columns[0][group]:
            table.add_row(name, unit, *(f"{column[group][name]:.1f}" for column in columns))
    Console().print(table)


if __name__ == "__main__":
    main()
