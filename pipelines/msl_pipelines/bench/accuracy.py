"""Accuracy against bytes: the quick start's task under every kind of codec."""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from msl.cell import run_cell
from msl.cluster import LocalExecutor
from msl.config import load_config
from msl.tracking import NullTracker

__all__ = ["main"]

CONFIG = Path("configs/quickstart.yaml")
SEEDS = range(5)
FED_BACK = "{{name: error_feedback, codec: {}}}"
CODECS = {
    "none": "none",
    "maxmin, 4 bits": "{name: maxmin, bits: 4}",
    "maxmin, 4 bits, fed back": FED_BACK.format("{name: maxmin, bits: 4}"),
    "eden, 4 bits": "{name: eden, bits: 4}",
    "lattice, 3 bits": "{name: lattice, bits: 3}",
    "sign, fed back": FED_BACK.format("{name: sign}"),
    "powersgd, rank 2, fed back": FED_BACK.format("{name: powersgd, rank: 2}"),
    "topk, 1 %, fed back": FED_BACK.format("{name: topk, density: 0.01}"),
    "topk, 10 %, fed back": FED_BACK.format("{name: topk, density: 0.1}"),
}
TASKS = {
    "nobody lies, mean": ["aggregator=mean", "corrupted=0", "attack=null"],
    "6 of 20 lie, geometric median": ["aggregator=geometric_median"],
    "6 of 20 lie, trimmed mean": ["aggregator={name: trimmed_mean, f: 6}"],
}


def measure(codec: str, task: list[str]) -> tuple[float, float]:
    """Return mean final accuracy and mean bytes sent up, over the seeds."""
    accuracies, nbytes = [], []
    for seed in SEEDS:
        config = load_config(CONFIG, [f"codec={codec}", f"seed={seed}", *task])
        reports = run_cell(config, LocalExecutor(), NullTracker(), lambda *_: None).reports
        accuracies.append(reports[-1].accuracy or 0.0)
        nbytes.append(sum(report.bytes_up for report in reports))
    return float(np.mean(accuracies)), float(np.mean(nbytes))


def main() -> None:
    """Print the table."""
    table = Table(title=f"{CONFIG}, 60 rounds, mean of seeds {SEEDS[0]}..{SEEDS[-1]}")
    table.add_column("codec")
    table.add_column("MB up", justify="right")
    table.add_column("less", justify="right")
    for task in TASKS:
        table.add_column(task, justify="right")
    dense = 0.0
    for name, codec in CODECS.items():
        found = [measure(codec, task) for task in TASKS.values()]
        nbytes = found[0][1]
        dense = dense or nbytes
        shares = [f"{accuracy:.3f}" for accuracy, _ in found]
        table.add_row(name, f"{nbytes / 1e6:.2f}", f"{dense / nbytes:.1f}x", *shares)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
