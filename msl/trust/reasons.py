"""Why a filter keeps a source or leaves it out, in words."""

import numpy as np
from numpy.typing import NDArray

from msl.trust.policies import Agreement
from msl.types import SourceInfo

__all__ = ["agrees", "few_rows", "near"]

Array = NDArray[np.float64]
FEW = 10
"""Rows per feature below which a fitted hypothesis differs much between equal sources."""


def agrees(i: int, agreed: Agreement, distances: Array, allowed: Array, needed: int) -> str:
    """Return how many sources one agrees with, and where it differs most from what is allowed."""
    n, partners = len(distances), int(agreed.agree[i].sum())
    others = np.arange(n) != i
    if allowed[i, others].min() >= 1:
        return "nothing tells it from others: differences up to 1 are allowed, for lack of rows"
    if agreed.kept[i]:
        return f"agrees with {partners} of {n} sources (needs {needed})"
    worst = int(np.argmax(distances[i] / np.maximum(allowed[i], np.finfo(np.float64).tiny)))
    return (
        f"differs from {n - partners} of {n} sources, by up to {distances[i, worst]:.2f} where "
        f"{allowed[i, worst]:.2f} is allowed (agrees with {partners}, needs {needed})"
    )


def near(far: float, clean: int, kept: bool) -> str:
    """Return whether a source's distance to its `clean`-th nearest is among the smallest."""
    where = "among" if kept else "not among"
    return f"distance {far:.3f} to its {clean}-th nearest source, {where} the {clean} smallest"


def few_rows(info: SourceInfo) -> str:
    """Return a remark on a source that has few rows for its features; else nothing."""
    few = info.rows < FEW * info.features
    return f"; {info.rows} rows are few for {info.features} features" if few else ""
