"""The values that travel between the parts of a run; all frozen, all pickle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Aggregated", "Data", "Layout", "Memory", "Report", "Rows", "SourceInfo", "Update"]

Vector: TypeAlias = NDArray[np.float32]
"""(d,) float32: parameters, a gradient, an update."""
Rows: TypeAlias = NDArray[np.float32]
"""(n, d) float32: one row per source, ordered by rank."""
Memory: TypeAlias = Any
"""What a part keeps between rounds; only the part that made it knows what is inside."""


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the blocks that lie one after another in the parameter vector.

    Examples
    --------
    >>> Layout((("weight", (10, 64)), ("bias", (10,)))).size
    650
    """

    blocks: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def size(self) -> int:
        """Length d of the whole vector."""
        return sum(prod(shape) for _, shape in self.blocks)

    def split(self, vector: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return views of the blocks, each in its own shape, without a copy."""
        views, start = {}, 0
        for name, shape in self.blocks:
            stop = start + prod(shape)
            views[name] = vector[start:stop].reshape(shape)
            start = stop
        return views


@dataclass(frozen=True)
class Data:
    """Rows of one source, checked: what a solver may rely on.

    Parameters
    ----------
    X : ndarray or csr_array of shape (m, p)
        Features, float32 and finite.
    y : ndarray of shape (m,)
        Class numbers 0..C-1 (int64), or real targets (float32).
    weight : ndarray of shape (m,), optional
        Non-negative weights of the rows.
    """

    X: NDArray[Any]
    y: NDArray[Any]
    weight: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class SourceInfo:
    """What may be said of a source without showing a row of it.

    Of one that cannot be learned from, `trouble` says why, in words of its loader that may quote
    data; it takes no part. When it could not be loaded, rows and features are 0.
    """

    name: str
    rows: int
    features: int
    classes: tuple[int, ...]
    digest: str
    place: str = ""
    sparse: bool = False
    effective: float | None = None
    trouble: str = ""

    @property
    def told(self) -> float:
        """Rows of equal weight that would tell as much: (sum w)^2 / sum w^2, at most `rows`."""
        return float(self.rows) if self.effective is None else self.effective


@dataclass(frozen=True)
class Update:
    """What one source wants to send: a direction to add to the model, and its weight.

    Parameters
    ----------
    vector : ndarray of shape (d,)
        To be added to the parameters: a model difference, or minus a gradient.
    weight : float
        Rows (or the sum of their weights) that stand behind it.
    loss : float
        Loss of the incoming model on this source's rows.
    """

    vector: Vector
    weight: float
    loss: float


@dataclass(frozen=True)
class Aggregated:
    """What an aggregator made of the rows.

    Parameters
    ----------
    vector : ndarray of shape (d,)
        The direction.
    given : ndarray of shape (n,)
        Share of the result each row really got; sums to 1.
    memory : object
        To be handed in at the next round.
    """

    vector: Vector
    given: NDArray[np.float64]
    memory: Memory = None


@dataclass(frozen=True)
class Report:
    """All that the client learns of a round; its size depends on n, never on d or the data.

    Parameters
    ----------
    round : int
        Number of the round, from 0.
    participants : tuple of int
        Ranks whose update was used.
    given : tuple of float
        Share each participant got from the aggregator.
    source_loss : tuple of float
        Loss of the incoming model at each participant.
    dropped : mapping from int to str
        Ranks that were asked and did not deliver, and why.
    bytes_up, bytes_down : int
        Exact payload bytes from and to the participants in this round.
    bytes_up_dense : int
        What the same updates take as plain float32.
    bytes_total : int
        Both directions since round 0.
    step_norm : float
        Euclidean length of the change of the parameters.
    seconds : mapping from str to float
        Time per phase: solve (slowest worker), meet (decode to step), evaluate, round.
    loss, accuracy : float or None
        On the held-out rows; None in rounds without evaluation. R2 in place of an accuracy for
        real targets.
    attack_success : float or None
        Share of the held-out rows with a backdoor's trigger that get its label.
    layers : mapping from str to float
        Mean bits per number of every block, for layer-wise codecs; only in rounds that change it.
    believed : int or None
        Sources that the trust rule gives a weight.
    bound : mapping from str to float
        What is guaranteed of the risk, under the names it is logged by.
    converged : bool
        Whether the server's rule has come to its end: later rounds change nothing.
    late : tuple of int or None
        Ranks among the dropped that were not ready in time; None where everyone is waited for.
    stale : mapping from int to int
        By how many rounds the model of an update was old, where it was.
    """

    round: int
    participants: tuple[int, ...]
    given: tuple[float, ...]
    source_loss: tuple[float, ...]
    dropped: Mapping[int, str]
    bytes_up: int
    bytes_down: int
    bytes_up_dense: int
    bytes_total: int
    step_norm: float
    seconds: Mapping[str, float] = field(default_factory=dict)
    loss: float | None = None
    accuracy: float | None = None
    attack_success: float | None = None
    layers: Mapping[str, float] = field(default_factory=dict)
    believed: int | None = None
    bound: Mapping[str, float] = field(default_factory=dict)
    converged: bool = False
    late: tuple[int, ...] | None = None
    stale: Mapping[int, int] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """Return the flat names a tracker logs; few, and none per source."""
        losses = np.asarray(self.source_loss)
        found: dict[str, float] = {}
        # First of all, as a tracking page colours by the first name.
        if self.accuracy is not None:
            found["eval/accuracy"] = self.accuracy
        if self.loss is not None:
            found["eval/loss"] = self.loss
        if self.attack_success is not None:
            found["eval/attack_success"] = self.attack_success
        found |= {
            "bytes/up": float(self.bytes_up),
            "bytes/down": float(self.bytes_down),
            "bytes/total": float(self.bytes_total),
            "bytes/ratio": self.bytes_up_dense / max(self.bytes_up, 1),
            "round/participants": float(len(self.participants)),
            "round/dropped": float(len(self.dropped)),
            "round/step_norm": self.step_norm,
        }
        if len(losses):
            found |= {
                "sources/loss_mean": float(losses.mean()),
                "sources/loss_std": float(losses.std()),
                "sources/loss_min": float(losses.min()),
                "sources/loss_max": float(losses.max()),
            }
        found |= {f"time/{phase}": seconds for phase, seconds in self.seconds.items()}
        found |= {f"layers/{block}": bits for block, bits in self.layers.items()}
        found |= self.bound
        if self.late is not None:
            heard = max(len(self.participants), 1)
            ages = [self.stale.get(rank, 0) for rank in self.participants]
            found |= {"round/late": float(len(self.late)), "round/age_mean": sum(ages) / heard}
        if self.believed is not None:
            found["trust/believed"] = float(self.believed)
        return found
