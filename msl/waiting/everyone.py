"""Rounds in step."""

from dataclasses import dataclass
from typing import ClassVar

from msl.waiting.base import Waiting

__all__ = ["Everyone"]


@dataclass(frozen=True)
class Everyone(Waiting):
    """Every source that was drawn is waited for: the same bits on any cluster, fast or slow."""

    name: ClassVar[str] = "everyone"
    timed: ClassVar[bool] = False
