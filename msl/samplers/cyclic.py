"""Every source has its turn before any has a second one."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from msl.random import derive, generator
from msl.samplers.base import Candidates, Positions, Sampler

__all__ = ["Cyclic"]


@dataclass(frozen=True)
class Cyclic(Sampler):
    """A cycle is ceil(n / k) rounds, in which every source is drawn; the next has a new order.

    Where k does not divide n, the last round of a cycle is filled up with the sources of its
    first one: those are drawn twice in that cycle, all others once. A source waits at most
    2 ceil(n / k) - 1 rounds. When the candidates change, a cycle may start in its middle.

    References
    ----------
    Cho, Sharma, Joshi, Xu, Kale, Zhang: On the convergence of federated averaging with cyclic
    client participation. ICML 2023. There groups are fixed; here they are shuffled.

    Examples
    --------
    >>> import numpy as np
    >>> few = Candidates(np.arange(4), np.ones(4), np.ones(4, int), ((),) * 4, tuple("abcd"))
    >>> [Cyclic().choose(few, 2, key=3, round=round) for round in range(4)]
    [(1, 2), (0, 3), (1, 3), (0, 2)]
    """

    name: ClassVar[str] = "cyclic"

    def draw(self, candidates: Candidates, k: int, key: int, round: int) -> Positions:
        """Return the round's stretch of its cycle's order."""
        n = len(candidates)
        cycle, step = divmod(round, -(-n // k))
        order = generator(derive(key, cycle, "cycle")).permutation(n)
        stretch: Positions = order[(step * k + np.arange(k)) % n]
        return stretch
