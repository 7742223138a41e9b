"""L-BFGS that begins near the end: what a small gradient is was settled by an earlier run."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from msl.algorithms.base import ServerRule
from msl.algorithms.lbfgs import Lbfgs, Place, QuasiNewton
from msl.types import Vector

__all__ = ["ResumedLbfgs", "resumed"]


@dataclass(frozen=True)
class ResumedLbfgs(Lbfgs):
    """`Lbfgs` whose tolerance is a fraction of the longest gradient of an earlier run, too.

    Parameters
    ----------
    largest : float
        Length of that gradient. A run that begins at a solution would otherwise have to make a
        gradient that is next to nothing smaller by the same factor again.
    """

    largest: float = 0.0

    def server(self) -> ServerRule:
        """Return the quasi-Newton step."""
        return _Resumed(self)


class _Resumed(QuasiNewton):
    settings: ResumedLbfgs

    def step(self, params: Vector, direction: Vector, state: Any) -> tuple[Vector, Any]:
        """Return the next parameters to try, and the place they are tried from."""
        if state is not None:
            return super().step(params, direction, state)
        _, place = super().step(params, direction, None)
        place = replace(place, largest=max(place.largest, self.settings.largest))
        moved: Vector = params + (0 if self.converged(place) else place.move)
        return moved, place


def resumed(algorithm: Lbfgs, server: Any) -> Lbfgs:
    """Return the algorithm, told what the server of an earlier run knew, if it was one like it."""
    if not isinstance(server, Place):
        return algorithm
    return ResumedLbfgs(**asdict(algorithm), largest=server.largest)
