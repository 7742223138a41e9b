"""Error feedback: what a codec loses in one round is added to the next (Seide et al. 2014)."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from msl.codecs.base import Codec, check_vector
from msl.codecs.payload import Payload
from msl.errors import PlanError
from msl.types import Layout, Memory, Vector

__all__ = ["ErrorFeedback"]


@dataclass(frozen=True)
class ErrorFeedback(Codec):
    """Wraps a codec; the memory is (residual, memory of the wrapped codec).

    With a = x + e the receivers see y = D(C(a)) and the sender keeps e' = a - y, so that over
    the rounds sum(y) + e = sum(x) (Karimireddy et al., ICML 2019, Algorithm 2).

    Parameters
    ----------
    codec : Codec
        What loses something, on average less than |a|: a codec that may lose more is refused.
    decay : float
        Factor in (0, 1] on the residual for every round beyond the first since it was made: a
        source that is seldom drawn holds old errors.
    """

    codec: Codec
    decay: float = 1.0
    name: ClassVar[str] = "error_feedback"
    unbiased: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise PlanError(f"error_feedback needs a decay in (0, 1], got {self.decay!r}")
        if isinstance(self.codec, ErrorFeedback):
            raise PlanError("error_feedback around error_feedback: the inner one does it all")
        if self.codec.diverges:
            raise PlanError(
                f"error_feedback around {self.codec!r} can grow without end: one step may lose "
                "more than the whole vector; take more bits, norm linf, or scaled: false"
            )

    def fit(self, layout: Layout) -> "ErrorFeedback":
        """Fit the wrapped codec."""
        return replace(self, codec=self.codec.fit(layout))

    def init(self, size: int) -> Memory:
        """Return a zero residual and the wrapped codec's own memory."""
        return np.zeros(size, np.float32), self.codec.init(size)

    def carry(self, memory: Memory, *, age: int = 1, rate: float = 1.0) -> Memory:
        """Decay the residual by age, and rescale it to the learning rate of now."""
        residual, inner = memory
        factor = np.float32(self.decay ** (age - 1) * rate)
        inner = self.codec.carry(inner, age=age, rate=rate)
        return (residual if factor == 1 else residual * factor), inner

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Encode vector + residual; a missing memory counts as a zero residual."""
        residual, inner = self.init(vector.size) if memory is None else memory
        payload, residual, inner = self.codec.compensate(
            check_vector(vector), residual, inner, key=key, reference=reference
        )
        return payload, (residual, inner)

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Decode by the wrapped codec."""
        return self.codec.decode(payload, reference=reference, out=out)

    def nbytes(self, size: int) -> int | None:
        """Bytes of the wrapped codec; the residual stays at home."""
        return self.codec.nbytes(size)
