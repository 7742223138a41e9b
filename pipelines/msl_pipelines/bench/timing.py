"""How long a call takes on a machine that others use too."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

__all__ = ["median_of"]


def median_of(call: Callable[..., Any], *arguments: Any, repeats: int = 9, **named: Any) -> float:
    """Return the median seconds of a call, the first one (it may compile) left out."""
    times = []
    for _ in range(repeats + 1):
        start = perf_counter()
        call(*arguments, **named)
        times.append(perf_counter() - start)
    return float(np.median(times[1:]))
