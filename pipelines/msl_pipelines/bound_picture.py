"""Bound and reality over a run: ``python -m msl_pipelines.bound_picture --out a.png``.

11 sources of 30,000 rows each, a linear rule in 5 dimensions with 10 % noise; 3 of them flip every
label and are left out before round 0. The bound assumes that 3 of the other 8 may lie as well.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from msl.algorithms import Lbfgs
from msl.attacks import LabelFlip
from msl.bounds import Guarantee
from msl.cluster import LocalExecutor
from msl.models import Softmax
from msl.plan import Plan
from msl.report_plots import bound_and_reality
from msl.rounds import train
from msl.sources import LoaderSource
from msl.trust import PacFilter

FEATURES, ROWS, SOURCES, NOISE = 5, 30_000, 11, 0.1


def rows(number: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the rows of a source."""
    draw = np.random.default_rng(number)
    X = draw.standard_normal((ROWS, FEATURES)).astype(np.float32)
    truth = X @ np.linspace(1, 2, FEATURES) > 0
    return X, (truth ^ (draw.random(ROWS) < NOISE)).astype(np.int64)


def plan() -> Plan:
    """Return what is run."""
    return Plan(
        model=Softmax(FEATURES, 2, l2=1e-4),
        algorithm=Lbfgs(),
        attack=LabelFlip(),
        corrupted=(2, 5, 9),
        n_classes=2,
        trust=PacFilter(),
        guarantee=Guarantee(alpha=0.4),
        rounds=15,
    )


def main(out: Annotated[Path | None, typer.Option(help="Where the picture goes.")] = None) -> None:
    """Run, print a table, draw."""
    sources = [LoaderSource(f"source-{i:02d}", rows, (i,)) for i in range(SOURCES)]
    with LocalExecutor() as executor:
        held_out = LoaderSource("held_out", rows, (99,))
        result = train(plan(), sources, executor, held_out=held_out)
    table = Table("round", "bound of the excess", "error on held-out rows", "above the best rule")
    for report in result.reports:
        error = 1 - (report.accuracy or 0.0)
        numbers: list[Any] = [report.bound["bound/excess"], error, error - NOISE]
        table.add_row(f"{report.round}", *(f"{number:.3f}" for number in numbers))
    Console().print(table)
    if out:
        bound_and_reality(result.reports).savefig(out)


if __name__ == "__main__":
    typer.run(main)
