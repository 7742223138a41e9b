"""Pre-aggregators: what is done to the rows before a rule sees them."""

from collections.abc import Callable
from dataclasses import replace

from msl.aggregators.base import Aggregator
from msl.types import Vector

__all__ = ["Wrapper"]


class Wrapper(Aggregator):
    """A rule on changed rows; a subclass has the field `then`, the rule that sees them."""

    then: Aggregator

    @property
    def weighted(self) -> bool:  # type: ignore[override]
        """As the wrapped rule."""
        return self.then.weighted

    @property
    def by_size(self) -> bool:  # type: ignore[override]
        """As the wrapped rule."""
        return self.then.by_size

    @property
    def per_source(self) -> bool:  # type: ignore[override]
        """As the wrapped rule."""
        return self.then.per_source

    @property
    def needs_trusted(self) -> bool:  # type: ignore[override]
        """As the wrapped rule."""
        return self.then.needs_trusted

    def tolerates(self, n: int) -> int:
        """As the wrapped rule."""
        return self.then.tolerates(n)

    def check(self, n: int) -> None:
        """As the wrapped rule."""
        self.then.check(n)

    def trusting(self, loss: Callable[[Vector], float]) -> "Wrapper":
        """Give the judge to the wrapped rule."""
        return replace(self, then=self.then.trusting(loss))  # type: ignore[type-var]
