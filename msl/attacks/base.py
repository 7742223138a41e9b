"""The contracts of attacks: what lying sources send or learn from. For simulation only."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from msl.attacks.rows import copies, mean_of
from msl.types import Data, Memory, Rows, Vector

__all__ = ["Attack", "DataAttack", "Scene"]


@dataclass(frozen=True, eq=False)
class Scene:
    """What corrupted sources know when they lie together: everything.

    Parameters
    ----------
    honest : ndarray of shape (h, d)
        Decoded rows of the honest sources, h >= 1.
    own : ndarray of shape (c, d)
        What the corrupted sources would have sent honestly, decoded.
    key : int
        Of this round.
    round : int
        Number of the round, from 0.
    aggregate : callable, optional
        The aggregator in use: (h + c, d) rows, the honest ones first, to (d,). For attacks that
        search; None when it is not known.
    """

    honest: Rows
    own: Rows
    key: int
    round: int
    aggregate: Callable[[Rows], Vector] | None = None

    @classmethod
    def imagined(cls, honest: Rows, n_corrupted: int, key: int) -> Self:
        """Return a round 0 in which every corrupted source would have sent the honest mean."""
        return cls(honest, copies(mean_of(honest), n_corrupted), key, round=0)


class Attack(ABC):
    """Corrupted rows, given the honest ones; a frozen dataclass.

    Rows come back in a fresh float32 array and nothing handed in is changed. Attacks that read
    the corrupted sources' own rows, keep a memory or search say so and implement `forge`; their
    shorthand then takes the honest mean for every own row (`Scene.imagined`).
    """

    name: ClassVar[str]

    def init(self, n_corrupted: int, d: int) -> Memory:
        """Return the memory before the first round; None for an attack that keeps nothing."""
        return None

    @abstractmethod
    def __call__(self, honest: Rows, n_corrupted: int, key: int) -> Rows:
        """Return rows of shape (n_corrupted, d) from honest rows (h, d), h >= 1."""

    def forge(self, scene: Scene, memory: Memory) -> tuple[Rows, Memory]:
        """Return a row per corrupted source, and the memory for the next round."""
        return self(scene.honest, len(scene.own), scene.key), memory


class DataAttack(ABC):
    """Rows changed at the source; it then takes part honestly with what it has."""

    name: ClassVar[str]

    @abstractmethod
    def corrupt(self, y: NDArray[Any], n_classes: int) -> NDArray[Any]:
        """Return the labels the source will learn from; class numbers 0..n_classes-1."""

    def corrupt_data(self, data: Data, n_classes: int) -> Data:
        """Return the rows the source will learn from: by default only the labels differ."""
        return Data(data.X, self.corrupt(data.y, n_classes), data.weight)

    def probe(self, data: Data) -> Data | None:
        """Return rows on which accuracy is the success rate of the attack.

        They are made of held-out rows. None where success is nothing but lost accuracy, or where
        no row can show it.
        """
        return None
