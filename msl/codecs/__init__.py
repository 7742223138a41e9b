"""How a vector becomes few bytes, and comes back."""

from collections.abc import Mapping
from typing import Any

from msl.codecs.adaptive import Adaptive
from msl.codecs.base import Codec, check_vector
from msl.codecs.bfloat16 import BFloat16
from msl.codecs.chain import Chain
from msl.codecs.drive import Drive
from msl.codecs.eden import Eden
from msl.codecs.error_feedback import ErrorFeedback
from msl.codecs.float16 import Float16
from msl.codecs.lattice import Lattice
from msl.codecs.layerwise import LayerWise
from msl.codecs.maxmin import MaxMin
from msl.codecs.natural import Natural
from msl.codecs.none import Identity
from msl.codecs.nuqsgd import NuQsgd
from msl.codecs.onebit import OneBit
from msl.codecs.parts import Parts
from msl.codecs.pass_through import PassThrough
from msl.codecs.payload import HEADER_BYTES, Payload
from msl.codecs.powersgd import PowerSgd
from msl.codecs.qsgd import Qsgd
from msl.codecs.randk import RandK
from msl.codecs.rotation import Rotation
from msl.codecs.sign import Sign
from msl.codecs.terngrad import TernGrad
from msl.codecs.topk import TopK
from msl.errors import PayloadError, PlanError
from msl.parts import make_part

__all__ = [
    "CODECS",
    "HEADER_BYTES",
    "Adaptive",
    "BFloat16",
    "Chain",
    "Codec",
    "Drive",
    "Eden",
    "ErrorFeedback",
    "Float16",
    "Identity",
    "Lattice",
    "LayerWise",
    "MaxMin",
    "Natural",
    "NuQsgd",
    "OneBit",
    "Parts",
    "PassThrough",
    "Payload",
    "PowerSgd",
    "Qsgd",
    "RandK",
    "Rotation",
    "Sign",
    "TernGrad",
    "TopK",
    "check_vector",
    "codec_of_wire",
    "make",
]

CODECS: Mapping[str, type[Codec]] = {
    "none": Identity,
    "float16": Float16,
    "bfloat16": BFloat16,
    "maxmin": MaxMin,
    "qsgd": Qsgd,
    "nuqsgd": NuQsgd,
    "natural": Natural,
    "terngrad": TernGrad,
    "sign": Sign,
    "onebit": OneBit,
    "topk": TopK,
    "randk": RandK,
    "powersgd": PowerSgd,
    "drive": Drive,
    "eden": Eden,
    "lattice": Lattice,
    "error_feedback": ErrorFeedback,
    "rotation": Rotation,
    "layerwise": LayerWise,
    "adaptive": Adaptive,
    "chain": Chain,
    "pass_through": PassThrough,
}

_WIRED: list[type[Codec]] = [*CODECS.values(), Parts]
_OF_WIRE = {codec.wire_id: codec for codec in _WIRED if codec.wire_id is not None}


def make(name: str, **arguments: Any) -> Codec:
    """Return the codec of this name.

    Raises
    ------
    PlanError
        When the name, an argument or a value is not known; lists what is.

    Examples
    --------
    >>> make("error_feedback", codec={"name": "maxmin", "bits": 4})
    ErrorFeedback(codec=MaxMin(bits=4, bucket=512, rounding='nearest'), decay=1.0)
    """
    return make_part("codec", CODECS, name, arguments)


def codec_of_wire(wire_id: int, bits: int, bucket: int) -> Codec:
    """Return the codec that decodes payloads with these header fields.

    Raises
    ------
    PayloadError
        When no codec has this number, or the codec never writes these bits and bucket.
    """
    if wire_id not in _OF_WIRE:
        raise PayloadError(f"payload of unknown codec {wire_id}; is the sender's msl newer?")
    codec = _OF_WIRE[wire_id]
    try:
        made = codec.from_header(bits, bucket)
    except PlanError as error:
        raise PayloadError(f"payload with an impossible header: {error}") from error
    if made.header() != (bits, bucket):
        raise PayloadError(f"{codec.name} never writes bits={bits}, bucket={bucket}")
    return made
