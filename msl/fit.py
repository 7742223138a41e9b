"""Whether sources are what a run can learn from, and what becomes of a run without some."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from msl.errors import DataError
from msl.plan import Plan
from msl.trust.base import TrustReport
from msl.types import SourceInfo

__all__ = ["LEFT_OUT", "check_fit", "filled", "misfit", "usable"]

LEFT_OUT = "takes no part: it could not be loaded, or has other columns or classes"
"""Reason on tables and pages; what the loader said may quote data, and is only in the warning."""
_TOLD, _NAMED = 5, 50


def misfit(plan: Plan, info: SourceInfo, features: int) -> str:
    """Return in what a source differs from the model and the classes; nothing when it fits."""
    if info.features != features:
        return (
            f"source {info.name!r} has {info.features} features, the model takes {features}; "
            "give every source the same columns, or set model.n_features"
        )
    if plan.n_classes is not None and info.classes and max(info.classes) >= plan.n_classes:
        return (
            f"source {info.name!r} has class {max(info.classes)}, the run has classes "
            f"0..{plan.n_classes - 1}; set model.n_classes"
        )
    return ""


def check_fit(plan: Plan, infos: Sequence[SourceInfo]) -> tuple[SourceInfo, ...]:
    """Return the infos; a source with other features or classes than the model is in trouble.

    Raises
    ------
    DataError
        For the first such source, unless the plan says drop.
    """
    widths = Counter(info.features for info in infos if not info.trouble)
    # A model that takes any width takes that of most sources.
    common = max(widths, key=widths.__getitem__, default=0)
    features = getattr(plan.model, "n_features", common)
    found = []
    for info in infos:
        trouble = info.trouble or misfit(plan, info, features)
        if trouble and plan.on_failure == "raise":
            raise DataError(trouble)
        found.append(replace(info, trouble=trouble) if trouble else info)
    return tuple(found)


def usable(plan: Plan, infos: Sequence[SourceInfo]) -> list[int]:
    """Return the ranks without trouble; a warning names the others.

    Raises
    ------
    DataError
        When there are none, with the first few troubles.
    PlanError
        When they are too few for the aggregator.
    """
    ranks = [rank for rank, info in enumerate(infos) if not info.trouble]
    troubled = [info for info in infos if info.trouble]
    if not ranks:
        raise DataError(f"no source can be learned from: {_listed(troubled)}")
    if troubled:
        warnings.warn(
            f"{len(troubled)} of {len(infos)} sources take no part: {_listed(troubled)}",
            RuntimeWarning,
            stacklevel=2,  # one place, whoever asks: Python then says it once
        )
        if not plan.aggregator.per_source:
            plan.aggregator.check(min(plan.per_round or len(ranks), len(ranks)))
    return ranks


def _listed(troubled: Sequence[SourceInfo]) -> str:
    """Return the first names, and what the trouble of the very first is."""
    told = [f"{info.name} ({info.trouble})" for info in troubled[:_TOLD]]
    told += [info.name for info in troubled[_TOLD:_NAMED]]
    return "; ".join(told) + (f"; and {rest} more" if (rest := len(troubled) - _NAMED) > 0 else "")


def filled(report: TrustReport, ranks: Sequence[int], n: int) -> TrustReport:
    """Return a verdict on some of n sources as one on all: who was not judged has weight 0."""
    if len(ranks) == n:
        return report
    weights, reasons = [0.0] * n, [LEFT_OUT] * n
    for rank, weight, reason in zip(ranks, report.weights, report.reasons, strict=True):
        weights[rank], reasons[rank] = weight, reason
    apart = None
    if report.discrepancy is not None:
        # Farthest from all: a picture of them needs a number.
        apart = 1.0 - np.eye(n)
        apart[np.ix_(ranks, ranks)] = report.discrepancy
    return replace(
        report,
        weights=tuple(weights),
        reasons=tuple(reasons),
        discrepancy=apart,
        statistic=_spread(report.statistic, ranks, n),
        p_values=_spread(report.p_values, ranks, n),
    )


def _spread(
    values: Sequence[float] | None, ranks: Sequence[int], n: int
) -> tuple[float, ...] | None:
    if values is None:
        return None
    found = np.full(n, np.nan)
    found[list(ranks)] = values
    return tuple(found.tolist())
