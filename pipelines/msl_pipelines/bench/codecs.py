"""Every codec: speed beside a memory copy and the obvious way, bytes, and error against theory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from msl.codecs import Codec, make
from msl.codecs.lattice import ROTATION_KEY
from msl_kernels import hadamard, lattice, lloyd_max, qsgd, quantize, signs, sparse
from msl_pipelines.bench.timing import median_of
from msl_pipelines.bench.torch_ways import WAYS

__all__ = ["SHOWN", "main"]

SIZES = (100_000, 1_000_000, 10_000_000)
BUCKET, KEY = 512, 1
PICTURE = Path("docs/pictures/codecs.png")

SHOWN: dict[str, Codec] = {
    "none": make("none"),
    "float16": make("float16"),
    "bfloat16": make("bfloat16"),
    "maxmin 4": make("maxmin", bits=4),
    "maxmin 4 stochastic": make("maxmin", bits=4, rounding="stochastic"),
    "maxmin 8": make("maxmin", bits=8),
    "qsgd 4": make("qsgd", bits=4),
    "qsgd 8": make("qsgd", bits=8),
    "qsgd l2 Elias": make("qsgd", bucket=8192, norm="l2", coding="elias", levels=90),
    "nuqsgd": make("nuqsgd"),
    "natural": make("natural"),
    "terngrad": make("terngrad"),
    "sign": make("sign"),
    "onebit": make("onebit"),
    "topk 1 %": make("topk"),
    "topk 1 %, sampled": make("topk", selection="sampled"),
    "topk 1 % of 512": make("topk", bucket=512),
    "randk 1 %": make("randk"),
    "powersgd 4": make("powersgd", rank=4),
    "drive": make("drive"),
    "eden 2": make("eden", bits=2),
    "eden 3": make("eden", bits=3),
    "eden 4": make("eden", bits=4),
    "eden 4, least error": make("eden", bits=4, scale="least"),
    "rotation + maxmin 4": make("rotation"),
    "lattice 4": make("lattice"),
    "lattice 4, rotated": make("lattice", rotated=True),
    "topk 1 % + qsgd 4": make("chain", then={"name": "qsgd"}),
}


def heavy(size: int) -> NDArray[np.float32]:
    """Return normals times exp(1.5 normals), as gradients have them."""
    draw = np.random.default_rng(0)
    return (draw.standard_normal(size) * np.exp(1.5 * draw.standard_normal(size))).astype("f")


def normal(size: int) -> NDArray[np.float32]:
    """Return standard normals."""
    return np.random.default_rng(1).standard_normal(size, np.float32)


def kernels(x: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    """Yield the seconds of every kernel on one vector, buffers reused, a copy first."""
    n, out, residual = len(x), np.zeros_like(x), np.zeros_like(x)
    yield "memory copy", median_of(np.copyto, out, x)
    for bits in (4, 8):
        meta = np.empty((quantize.n_buckets(n, BUCKET), 2), np.float32)
        packed = np.empty(quantize.packed_nbytes(n, bits), np.uint8)
        for how, key in (("nearest", None), ("stochastic", KEY)):
            seconds = median_of(quantize.quantize, x, bits, BUCKET, key, meta, packed)
            yield f"max-min {bits} bits, {how}", seconds
        seconds = median_of(quantize.dequantize, meta, packed, n, bits, BUCKET, out)
        yield f"max-min {bits} bits, decode", seconds
        norms = meta[:, 0].copy()
        seconds = median_of(qsgd.quantize, x, bits, BUCKET, "linf", KEY, norms, packed)
        yield f"QSGD {bits} bits", seconds
        seconds = median_of(qsgd.dequantize, norms, packed, n, bits, BUCKET, out)
        yield f"QSGD {bits} bits, decode", seconds
    k = n // 100
    indices, values = np.empty(k, np.uint32), np.empty(k, np.float32)
    yield "top 1 %", median_of(sparse.top, x, k, indices, values)
    yield "top 1 %, decode", median_of(sparse.scatter, indices, values, n, out)
    packed = np.empty(signs.packed_nbytes(n), np.uint8)
    yield "sign + residual", median_of(signs.feed_back, x, residual, packed)
    yield "sign, decode", median_of(signs.unpack, packed, np.float32(1), n, out)
    rotated = np.empty(hadamard.padded_size(n, 4096), np.float32)
    yield "Hadamard 4096", median_of(hadamard.rotate, x, ROTATION_KEY, 4096, rotated)
    scales = np.empty(quantize.n_buckets(n, 4096), np.float32)
    packed = np.empty(quantize.packed_nbytes(len(rotated), 4), np.uint8)
    for how, unbiased in (("unbiased", True), ("least error", False)):
        seconds = median_of(lloyd_max.encode, x, 4, KEY, 4096, unbiased, scales, packed)
        yield f"Hadamard + 4 bits, {how}", seconds
    seconds = median_of(lloyd_max.decode, scales, packed, n, 4, KEY, 4096, out)
    yield "Hadamard + 4 bits, decode", seconds
    side = 2 * float(np.abs(x).max()) / 15
    packed = np.empty(quantize.packed_nbytes(n, 4), np.uint8)
    yield "lattice 4 bits", median_of(lattice.encode, x, side, 4, KEY, packed)
    yield "lattice 4 bits, decode", median_of(lattice.decode, packed, None, side, n, 4, KEY, out)


def table_of_kernels(console: Console) -> None:
    """Print speeds at 1e7 on one thread and on all, and the obvious ways on one."""
    x = heavy(SIZES[-1])
    counts = sorted({1, numba.config.NUMBA_NUM_THREADS})
    columns = []
    for count in counts:
        numba.set_num_threads(count)
        columns.append(dict(kernels(x)))
    table = Table(title=f"GB/s of float32, d = {len(x):.0e}, heavy tails, buffers reused")
    table.add_column("kernel")
    for count in counts:
        table.add_column(f"{count} thread{'s' if count > 1 else ''}", justify="right")
    table.add_column("of a copy", justify="right")
    for name in columns[0]:
        speeds = [f"{x.nbytes / column[name] / 1e9:.1f}" for column in columns]
        table.add_row(name, *speeds, f"{columns[0]['memory copy'] / columns[0][name]:.2f}")
    for name, way in WAYS.items():
        seconds = median_of(way, x, repeats=3)
        blank = [""] * (len(counts) - 1)
        copies = columns[0]["memory copy"] / seconds
        table.add_row(name, f"{x.nbytes / seconds / 1e9:.2f}", *blank, f"{copies:.2f}")
    console.print(table)


@dataclass(frozen=True)
class Found:
    """What one codec did to one vector."""

    encode: float
    decode: float
    nbytes: int
    error: float


def measure(codec: Codec, x: NDArray[np.float32]) -> Found:
    """Return GB/s each way through the codec's own door, bytes, and |D(C(x)) - x|^2 / |x|^2."""
    memory, out = codec.init(len(x)), np.zeros_like(x)
    repeats = 3 if len(x) > 10**6 else 9
    payload, _ = codec.encode(x, memory, key=KEY)
    payload.decode(out=out)
    gap = np.square(out - x, dtype=np.float64).sum() / np.square(x, dtype=np.float64).sum()
    encode = median_of(codec.encode, x, memory, repeats=repeats, key=KEY)
    decode = median_of(payload.decode, repeats=repeats, out=out)
    size = x.nbytes / 1e9
    return Found(size / encode, size / decode, payload.nbytes, float(gap))


def table_of_codecs(console: Console) -> dict[str, dict[str, Found]]:
    """Print one table per size; return what was found at the middle size, by input."""
    shown: dict[str, dict[str, Found]] = {}
    for size in SIZES:
        table = Table(title=f"d = {size:.0e}, one thread, payload made anew each time")
        for column in ("codec", "encode GB/s", "decode GB/s", "bytes", "bits", "error, heavy",
                       "error, normal", "declared"):  # fmt: skip
            table.add_column(column, justify="left" if column == "codec" else "right")
        for name, codec in SHOWN.items():
            tails, plain = measure(codec, heavy(size)), measure(codec, normal(size))
            if size == SIZES[1]:
                shown[name] = {"heavy": tails, "normal": plain}
            omega, delta = codec.omega(size), codec.delta(size)
            bound = omega if omega is not None else None if delta is None else 1 - delta
            table.add_row(
                name, f"{tails.encode:.2f}", f"{tails.decode:.2f}", f"{tails.nbytes:,}",
                f"{8 * tails.nbytes / size:.2f}", f"{tails.error:.2g}", f"{plain.error:.2g}",
                "" if bound is None else f"{bound:.2g}",
            )  # fmt: skip
        console.print(table)
    return shown


def picture(shown: dict[str, dict[str, Found]], path: Path) -> None:
    """Draw error against bits for every codec."""
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), ("normal", "heavy"), strict=True):
        for name, found in shown.items():
            if name == "none":
                continue
            bits = 8 * found[kind].nbytes / SIZES[1]
            axes.plot(bits, found[kind].error, "o", markersize=4, color="tab:blue")
            axes.annotate(name, (bits, found[kind].error), xytext=(4, 2),
                          textcoords="offset points", fontsize=7)  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="bits per coordinate", title=f"{kind} vector")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("|D(C(x)) - x|^2 / |x|^2")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the tables and write the picture."""
    console = Console(width=130)
    table_of_kernels(console)
    numba.set_num_threads(1)
    picture(table_of_codecs(console), PICTURE)
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    console.print(f"picture: {PICTURE}")


if __name__ == "__main__":
    main()
