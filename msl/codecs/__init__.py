"""How a vector becomes few bytes, and comes back."""

from collections.abc import Mapping
from typing import Any

from msl.codecs.base import Codec, check_vector
from msl.codecs.error_feedback import ErrorFeedback
from msl.codecs.maxmin import MaxMin
from msl.codecs.none import Identity
from msl.codecs.payload import HEADER_BYTES, Payload
from msl.errors import PayloadError, PlanError
from msl.parts import make_part

__all__ = [
    "CODECS",
    "HEADER_BYTES",
    "Codec",
    "ErrorFeedback",
    "Identity",
    "MaxMin",
    "Payload",
    "check_vector",
    "codec_of_wire",
    "make",
]

CODECS: Mapping[str, type[Codec]] = {
    "none": Identity,
    "maxmin": MaxMin,
    "error_feedback": ErrorFeedback,
}


def make(name: str, **arguments: Any) -> Codec:
    """Return the codec of this name.

    Raises
    ------
    PlanError
        When the name, an argument or a value is not known; lists what is.

    Examples
    --------
    >>> make("error_feedback", codec={"name": "maxmin", "bits": 4})
    ErrorFeedback(codec=MaxMin(bits=4, bucket=512, rounding='nearest'))
    """
    return make_part("codec", CODECS, name, arguments)


def codec_of_wire(wire_id: int, bits: int, bucket: int) -> Codec:
    """Return the codec that decodes payloads with these header fields.

    Raises
    ------
    PayloadError
        When no codec has this number, or the codec never writes these bits and bucket.
    """
    for codec in CODECS.values():
        if codec.wire_id is not None and codec.wire_id == wire_id:
            return _from_header(codec, bits, bucket)
    raise PayloadError(f"payload of unknown codec {wire_id}; is the sender's msl newer?")


def _from_header(codec: type[Codec], bits: int, bucket: int) -> Codec:
    try:
        made = codec.from_header(bits, bucket)
    except PlanError as error:
        raise PayloadError(f"payload with an impossible header: {error}") from error
    if made.header() != (bits, bucket):
        raise PayloadError(f"{codec.name} never writes bits={bits}, bucket={bucket}")
    return made
