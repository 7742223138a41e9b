"""Each layer with its own parameter, chosen again every few rounds from measured errors."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from msl.codecs.allocate import allocate
from msl.codecs.base import Codec, check_vector, refuse_non_finite
from msl.codecs.layerwise import is_raw
from msl.codecs.maxmin import MaxMin
from msl.codecs.none import Identity
from msl.codecs.parts import Parts, blocks_of, gathered, part_key
from msl.codecs.payload import Payload
from msl.errors import DataError, PlanError
from msl.types import Layout, Memory, Vector

__all__ = ["Adapted", "Adaptive"]


@dataclass(frozen=True)
class Adapted:
    """Memory of the codec: what was chosen, and what the next choice will rest on.

    Parameters
    ----------
    round : int
        Encodings so far.
    total : ndarray of shape (d,)
        Sum of the vectors of this period's last rounds.
    chosen : tuple
        Value of the parameter for each encoded layer.
    inner : tuple
        Memory of the wrapped codec for each.
    """

    round: int
    total: Vector
    chosen: tuple[Any, ...]
    inner: tuple[Memory, ...]


@dataclass(frozen=True)
class Adaptive(Codec):
    """Wraps a codec; one of its parameters differs from layer to layer, and over the rounds.

    Every `every` rounds the sum of the last `window` vectors is encoded under every candidate, and
    a dynamic programme picks what takes the fewest bytes with no more error than the default
    would make everywhere (CGX's adaptive bit-widths, solved as in L-GreCo, MLSys 2024). Where
    nothing is saved all layers keep the default. Payloads say what each layer uses, so that
    sources choose by their own data and receivers follow.

    Parameters
    ----------
    codec : Codec
        With its default parameter.
    parameter : str
        Name of the codec's parameter: bits, rank, density.
    candidates : sequence
        Its values; the default is added when it is not among them.
    every, window : int
        Rounds between two choices, and how many of them are looked at; 1 <= window <= every.
    alpha : float
        Error budget, in errors of the default; > 0.
    small, raw, layout
        As in `layerwise`: what is never encoded, and the blocks.
    """

    codec: Codec = MaxMin()  # noqa: RUF009 - frozen
    parameter: str = "bits"
    candidates: tuple[Any, ...] = (2, 3, 4, 5, 6, 8)
    every: int = 20
    window: int = 10
    alpha: float = 1.0
    small: int = 1024
    raw: tuple[str, ...] = ()
    layout: Layout | None = None
    name: ClassVar[str] = "adaptive"

    def __post_init__(self) -> None:
        object.__setattr__(self, "raw", tuple(self.raw))
        if self.parameter not in {f.name for f in fields(self.codec)}:  # type: ignore[arg-type]
            raise PlanError(f"adaptive: {self.codec!r} has no parameter {self.parameter!r}")
        known = dict.fromkeys((*self.candidates, getattr(self.codec, self.parameter)))
        object.__setattr__(self, "candidates", tuple(sorted(known)))
        for value in self.candidates:
            self._with(value)
        if not 1 <= self.window <= self.every:
            raise PlanError(f"adaptive needs 1 <= window <= every, got {self.window}, {self.every}")
        if not self.alpha > 0:
            raise PlanError(f"adaptive needs alpha > 0, got {self.alpha!r}")

    @property
    def use(self) -> str:
        """As the wrapped codec."""
        return "as the wrapped codec"

    @property
    def unbiased(self) -> bool:
        """As the wrapped codec."""
        return self.codec.unbiased

    @property
    def diverges(self) -> bool:
        """Whether any candidate does."""
        return any(self._with(value).diverges for value in self.candidates)

    def _with(self, value: Any) -> Codec:
        made: Codec = replace(self.codec, **{self.parameter: value})  # type: ignore[type-var]
        return made

    def fit(self, layout: Layout) -> "Adaptive":
        """Return the codec for these blocks."""
        return replace(self, layout=layout)

    def _layout(self, size: int) -> Layout:
        layout = self.layout or Layout((("all", (size, 1)),))
        if layout.size != size:
            raise DataError(f"adaptive for {layout.size} numbers got {size}")
        return layout

    def _split(self, size: int) -> tuple[list[slice], list[tuple[slice, Layout]]]:
        """Return the raw blocks, and each other block with a layout of its own."""
        layout = self._layout(size)
        raw, layers = [], []
        places = blocks_of([prod(shape) for _, shape in layout.blocks])
        for place, (name, shape) in zip(places, layout.blocks, strict=True):
            if is_raw(name, shape, self.small, self.raw):
                raw.append(place)
            else:
                layers.append((place, Layout(((name, shape),))))
        return raw, layers

    def init(self, size: int) -> Memory:
        """Return a memory with the default everywhere."""
        _, layers = self._split(size)
        default = getattr(self.codec, self.parameter)
        inner = tuple(self.codec.fit(own).init(own.size) for _, own in layers)
        return Adapted(0, np.zeros(size, np.float32), (default,) * len(layers), inner)

    def encode(
        self,
        vector: Vector,
        memory: Memory = None,
        *,
        key: int = 0,
        reference: Vector | None = None,
    ) -> tuple[Payload, Memory]:
        """Return one payload of all blocks, and at the end of a period a memory chosen anew."""
        vector = check_vector(vector)
        refuse_non_finite(vector)
        now: Adapted = self.init(len(vector)) if memory is None else memory
        raw, layers = self._split(len(vector))
        number = {place.start: 0 for place in raw}
        payloads = [Identity().encode(gathered(vector, raw))[0]] if raw else []
        inner = []
        for (place, own), value, kept in zip(layers, now.chosen, now.inner, strict=True):
            number[place.start] = len(payloads)
            mixed = part_key(key, len(payloads))
            payload, kept = self._with(value).fit(own).encode(vector[place], kept, key=mixed)
            payloads.append(payload)
            inner.append(kept)
        places = sorted([*raw, *(place for place, _ in layers)], key=lambda place: place.start)
        payload = Parts.join(
            [place.stop - place.start for place in places],
            [number[place.start] for place in places],
            payloads,
        )
        return payload, self._next(now, vector, tuple(inner), layers)

    def _next(
        self,
        now: Adapted,
        vector: Vector,
        inner: tuple[Memory, ...],
        layers: Sequence[tuple[slice, Layout]],
    ) -> Adapted:
        """Return the memory after this round."""
        at = now.round % self.every
        total = now.total + vector if at >= self.every - self.window else now.total
        if at < self.every - 1 or not layers:
            return Adapted(now.round + 1, total, now.chosen, inner)
        errors, nbytes = self._measure(total, layers)
        default = self.candidates.index(getattr(self.codec, self.parameter))
        picks = allocate(errors, nbytes, default, self.alpha)
        chosen = tuple(self.candidates[pick] for pick in picks)
        fresh = tuple(
            kept if value == before else self._with(value).fit(own).init(own.size)
            for value, before, kept, (_, own) in zip(chosen, now.chosen, inner, layers, strict=True)
        )
        return Adapted(now.round + 1, np.zeros_like(total), chosen, fresh)

    def _measure(
        self, total: Vector, layers: Sequence[tuple[slice, Layout]]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return error and bytes of every layer under every candidate."""
        errors = np.empty((len(layers), len(self.candidates)))
        nbytes = np.empty(errors.shape, np.int64)
        for i, (place, own) in enumerate(layers):
            for c, value in enumerate(self.candidates):
                payload, _ = self._with(value).fit(own).encode(total[place])
                errors[i, c] = np.linalg.norm(payload.decode() - total[place])
                nbytes[i, c] = payload.nbytes
        return errors, nbytes

    def decode(
        self, payload: Payload, *, reference: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """Decode every part."""
        return payload.codec.decode(payload, reference=reference, out=out)

    def nbytes(self, size: int) -> None:
        """Return None: the choice decides."""
