"""QSGD: signs and stochastic magnitude levels, relative to a norm of each bucket."""

from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import ClassVar, Literal

import numpy as np

from msl.codecs.base import Codec, Shape, check_vector, refuse
from msl.codecs.checks import check_bits, check_bucket, check_choice, check_finite
from msl.codecs.cut import slices
from msl.codecs.device import beside, to_host
from msl.codecs.payload import HEADER_BYTES, REST, Payload, padded
from msl.errors import PayloadError, PlanError
from msl.types import Memory, Vector
from msl_kernels import elias
from msl_kernels.qsgd import dequantize, levels, quantize
from msl_kernels.quantize import n_buckets, packed_nbytes

__all__ = ["Qsgd"]

FIXED, DENSE, GAP = 0, 1, 2
"""Flags: b bits for each number, or an Elias code of every level, or of the non-zero ones."""
_LAYOUT: dict[int, Literal["dense", "gap"]] = {DENSE: "dense", GAP: "gap"}


@dataclass(frozen=True)
class Qsgd(Codec):
    """norm * sign * level / s with s = 2^(b-1) - 1 levels, rounded at random: unbiased.

    Zero stays zero, and so does sparsity. With norm "linf" a bucket of B numbers loses at most
    min(B / 4 s^2, sqrt(B) / s) of |x|^2, and far less on real vectors; with "l2" the same bound
    is nearly met: it belongs to Elias codes, many levels and large buckets.

    Parameters
    ----------
    bits : int
        Bits per number with sign, 2 to 8.
    bucket : int
        Numbers that share a norm; a positive multiple of 8.
    norm : {"linf", "l2"}
        What levels are relative to.
    coding : {"fixed", "elias"}
        b bits for each number, or Elias-omega codes: about 2.8 bits for levels = sqrt(bucket) and
        norm "l2" (the shorter of both layouts, or fixed where that is shorter still).
    levels : int, optional
        s, 1 to 32,767, for Elias codes; 2^(bits-1) - 1 when left out.

    References
    ----------
    Alistarh, Grubic, Li, Tomioka, Vojnovic: QSGD. NIPS 2017, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> Qsgd(bits=2).encode(np.array([0, -3, 3], np.float32))[0].decode()
    array([ 0., -3.,  3.], dtype=float32)
    """

    bits: int = 4
    bucket: int = 512
    norm: Literal["linf", "l2"] = "linf"
    coding: Literal["fixed", "elias"] = "fixed"
    levels: int | None = None
    name: ClassVar[str] = "qsgd"
    unbiased: ClassVar[bool] = True
    wire_id: ClassVar[int | None] = 4
    fields: ClassVar[frozenset[str]] = frozenset({"count", "flags"})

    def __post_init__(self) -> None:
        check_bits("qsgd", self.bits, 2, 8)
        check_bucket("qsgd", self.bucket)
        check_choice("qsgd", "norm", self.norm, "linf", "l2")
        check_choice("qsgd", "coding", self.coding, "fixed", "elias")
        if self.levels is not None and (self.coding == "fixed" or not 1 <= self.levels < 2**15):
            raise PlanError("qsgd takes levels, 1 to 32767, with coding elias only")

    @property
    def steps(self) -> int:
        """Magnitude levels s."""
        return self.levels or 2 ** (self.bits - 1) - 1

    def omega(self, size: int) -> float:
        """min(B / 4 s^2, sqrt(B) / s), B no more than the size."""
        b, s = min(self.bucket, size), self.steps
        return float(min(b / (4 * s * s), b**0.5 / s))

    @property
    def diverges(self) -> bool:
        """Whether levels are few relative to l2; with linf even one level settles."""
        return self.norm == "l2" and self.omega(self.bucket) >= 1

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return the payload; the key makes the roundings."""
        vector = check_vector(vector, device=self.coding == "fixed")
        if self.coding == "elias":
            return self._encode_elias(vector, key), None
        norms, packed, bad = quantize(vector, self.bits, self.bucket, self.norm, key)
        refuse(vector, bad)
        return Payload(self, len(vector), (to_host(norms), to_host(packed))), None

    def _encode_elias(self, vector: Vector, key: int) -> Payload:
        norms, found, bad = levels(vector, self.steps, self.bucket, self.norm, key)
        refuse(vector, bad)
        dense, gap = elias.bits_of(found)
        if self.levels is None and 8 * packed_nbytes(len(vector), self.bits) <= min(dense, gap):
            _, packed, _ = quantize(vector, self.bits, self.bucket, self.norm, key)
            return Payload(self, len(vector), (norms, packed))
        flags = DENSE if dense <= gap else GAP
        words, offsets = elias.encode(found, _LAYOUT[flags])
        return Payload(self, len(vector), (norms, offsets, words), count=self.steps, flags=flags)

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Return norm * sign * level / s.

        Raises
        ------
        PayloadError
            When an Elias code breaks off or holds a level above s.
        """
        bits, bucket = payload.codec.header()
        n = payload.size
        if payload.flags == FIXED:
            norms, packed = (beside(out, buffer) for buffer in payload.buffers)
            decoded: Vector = dequantize(norms, packed, n, bits, bucket, out)
            return decoded
        norms, offsets, words = payload.buffers
        try:
            found = elias.decode(words, offsets, n, _LAYOUT[payload.flags])
        except ValueError as error:
            raise PayloadError(f"qsgd: {error}") from error
        if n and max(int(found.max()), -int(found.min())) > payload.count:
            raise PayloadError(f"qsgd holds a level above {payload.count}")
        steps = np.repeat(norms / np.float32(payload.count), bucket)[:n]
        return np.multiply(found, steps, out=out, dtype=np.float32, casting="unsafe")

    def run(self, payload: Payload) -> int | None:
        """Return the least that is whole buckets, and words of 64 levels; None for Elias codes."""
        return lcm(self.bucket, 64) if payload.flags == FIXED else None

    def cut(self, payload: Payload, start: int, stop: int) -> Payload:
        """Return views."""
        return slices(payload, start, stop, (Fraction(1, self.bucket), Fraction(self.bits, 8)))

    def nbytes(self, size: int) -> int | None:
        """32 bytes of header, 4 per bucket, and the packed levels; None for Elias codes."""
        if self.coding == "elias":
            return None
        norms = padded(4 * n_buckets(size, self.bucket))
        return HEADER_BYTES + norms + packed_nbytes(size, self.bits)

    def header(self) -> tuple[int, int]:
        """Return (bits, bucket)."""
        return self.bits, self.bucket

    @classmethod
    def from_header(cls, bits: int, bucket: int) -> "Qsgd":
        """Return a decoder; decoding depends on neither norm nor coding."""
        return cls(bits, bucket)

    def buffers(self, size: int, count: int = 0, flags: int = 0) -> list[Shape]:
        """Return norms, and packed levels; or norms, offsets of pieces, and a stream of words."""
        norms: Shape = (np.dtype(np.float32), (n_buckets(size, self.bucket),))
        if flags == FIXED:
            return [norms, (np.dtype(np.uint8), (packed_nbytes(size, self.bits),))]
        if flags not in _LAYOUT or not 1 <= count < 2**15:
            raise PayloadError(f"qsgd never writes flags {flags} with {count} levels")
        words = np.dtype(np.uint64)
        return [norms, (words, (elias.n_pieces(size),)), (words, (REST,))]

    def check(self, payload: Payload) -> None:
        """Refuse norms that are negative or no numbers."""
        check_finite("qsgd", "norm", payload.buffers[0], 0)
