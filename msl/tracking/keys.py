"""Few metric names per run: the UI draws a chart for each, and thousands of them stop it."""

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

__all__ = ["MOST_IN_GROUP", "few_keys", "legal"]

MOST_IN_GROUP = 16


@lru_cache(4096)
def legal(key: str) -> str:
    """Return a name that MLflow takes: letters, digits and ``_-. :/``, others become ``_``.

    One name it does not take would cost the whole batch.
    """
    return re.sub(r"[^/\w.\- :]", "_", key)


def few_keys(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics, but mean, min and max instead of a group of more than 16 names.

    A group is what stands before the slash; a deep model has a layer for each of its blocks.

    Examples
    --------
    >>> few_keys({"eval/loss": 0.5} | {f"layers/{i}": float(i) for i in range(101)})
    {'eval/loss': 0.5, 'layers/mean': 50.0, 'layers/min': 0.0, 'layers/max': 100.0}
    """
    sizes = Counter(key.partition("/")[0] for key in metrics)
    if max(sizes.values(), default=0) <= MOST_IN_GROUP:
        return dict(metrics)
    many: dict[str, list[float]] = {}
    found: dict[str, float] = {}
    for key, value in metrics.items():
        group = key.partition("/")[0]
        if sizes[group] > MOST_IN_GROUP:
            many.setdefault(group, []).append(value)
        else:
            found[key] = value
    for group, values in many.items():
        found[f"{group}/mean"] = sum(values) / len(values)
        found[f"{group}/min"], found[f"{group}/max"] = min(values), max(values)
    return found
