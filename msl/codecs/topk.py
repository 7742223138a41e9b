"""Top-k: the largest magnitudes travel, the rest waits in the residual."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from msl.codecs.base import Shape, check_vector, refuse
from msl.codecs.checks import check_choice, check_density
from msl.codecs.payload import Payload
from msl.codecs.sparsifier import Sparsifier, kept_of
from msl.errors import PayloadError, PlanError
from msl.types import Memory, Vector
from msl_kernels.sparse import above, check_indices, sampled_threshold, top, top_in_buckets

__all__ = ["TopK"]


@dataclass(frozen=True)
class TopK(Sparsifier):
    """The share `density` of largest magnitudes, 64 bits for each; needs error feedback.

    Loses at most 1 - k/d of |x|^2; on normals, 1 % of the numbers holds 8.5 % of it (which is why
    the residual matters). Ties go to the lowest index.

    Parameters
    ----------
    density : float
        Share of numbers sent, in (0, 1]; k = ceil(density d).
    bucket : int, optional
        When given, the largest of every `bucket` numbers instead of the whole vector: every part
        of the model is heard (SparCML's form).
    selection : {"exact", "sampled"}
        "sampled" estimates the threshold from a random sample and sends what lies above it, at
        most 1.25 k numbers: one pass over large vectors, and about k numbers instead of k.

    References
    ----------
    Renggli et al.: SparCML: high-performance sparse communication for machine learning. SC 2019.
    Lin et al.: Deep gradient compression. ICLR 2018 (sampled threshold).

    Examples
    --------
    >>> import numpy as np
    >>> payload, _ = TopK(0.5).encode(np.array([1, -4, 2, 3], np.float32))
    >>> payload.decode()
    array([ 0., -4.,  0.,  3.], dtype=float32)
    """

    density: float = 0.01
    bucket: int | None = None
    selection: Literal["exact", "sampled"] = "exact"
    name: ClassVar[str] = "topk"
    unbiased: ClassVar[bool] = False
    wire_id: ClassVar[int | None] = 10
    fields: ClassVar[frozenset[str]] = frozenset({"count"})
    on_device: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_density("topk", self.density)
        if self.bucket is not None and (not isinstance(self.bucket, int) or self.bucket < 1):
            raise PlanError(f"topk needs a bucket >= 1 or none, got {self.bucket!r}")
        check_choice("topk", "selection", self.selection, "exact", "sampled")
        if self.bucket is not None and self.selection == "sampled":
            raise PlanError("topk samples a threshold for the whole vector: leave out the bucket")

    def delta(self, size: int) -> float | None:
        """Return k / d; None for a sampled threshold, which may keep fewer than k."""
        if self.selection == "sampled" or not size:
            return None
        if self.bucket is None:
            return kept_of(size, self.density) / size
        return kept_of(self.bucket, self.density) / self.bucket

    def select(
        self, vector: Vector, key: int
    ) -> tuple[tuple[NDArray[Any], ...], NDArray[np.uint32], Vector, int]:
        """Return the largest, by ascending index."""
        size = len(vector)
        if self.bucket is not None:
            k = kept_of(self.bucket, self.density)
            indices, values, bad = top_in_buckets(vector, k, self.bucket)
        elif self.selection == "sampled":
            k = kept_of(size, self.density)
            threshold = sampled_threshold(vector, k, key)
            indices, values, bad = above(vector, threshold, min(size, k + k // 4 + 1))
        else:
            indices, values, bad = top(vector, kept_of(size, self.density))
        refuse(vector, bad)
        return (indices,), indices, values, 0

    def where(self, size: int, count: int) -> list[Shape]:
        """Return the indices, 32 bits each."""
        return [(np.dtype(np.uint32), (count,))]

    def positions(self, payload: Payload) -> NDArray[np.uint32]:
        """Return the indices as they came."""
        indices: NDArray[np.uint32] = payload.buffers[0]
        return indices

    def compensate(
        self,
        vector: Vector,
        residual: Vector,
        memory: Memory,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Vector, Memory]:
        """Encode vector + residual; what was sent leaves the residual to the last bit."""
        wanted = check_vector(vector) + residual
        payload, _ = self.encode(wanted, key=key)
        wanted[payload.buffers[0]] = 0
        return payload, wanted, None

    def run(self, payload: Payload) -> int | None:
        """Return 1: each by itself."""
        return 1

    def cut(self, payload: Payload, start: int, stop: int) -> Payload:
        """Return what lies there; its indices are new ones."""
        indices, values = payload.buffers
        a, b = np.searchsorted(indices, np.array((start, stop), np.uint32))
        buffers = (indices[a:b] - np.uint32(start), values[a:b])
        return Payload(self, stop - start, buffers, count=int(b - a))

    def count(self, size: int) -> int | None:
        """Return k; None for a sampled threshold."""
        if self.selection == "sampled":
            return None
        if self.bucket is None:
            return kept_of(size, self.density)
        k, (whole, rest) = kept_of(self.bucket, self.density), divmod(size, self.bucket)
        return k * whole + min(k, rest)

    def check(self, payload: Payload) -> None:
        """Refuse indices that do not ascend or lie outside."""
        if not check_indices(payload.buffers[0], payload.size):
            raise PayloadError(f"topk indices do not ascend below {payload.size}")
