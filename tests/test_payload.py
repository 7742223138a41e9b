"""Bytes from a stranger become a payload or a PayloadError, and never an allocation."""

import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msl.codecs import HEADER_BYTES, Codec, Identity, MaxMin, Payload, codec_of_wire
from msl.errors import PayloadError

CODECS = [Identity(), MaxMin(bits=3, bucket=16)]
every = pytest.mark.parametrize("codec", CODECS, ids=repr)
HEADER = struct.Struct("<HBBBBBBQIIQ")
byte = st.integers(0, 255)


def sample(codec: Codec, size: int = 61) -> Payload:
    return codec.encode(np.linspace(-1, 2, size, dtype=np.float32))[0]


def header(
    magic: int = 0x4D53, version: int = 1, wire: int = 1, bits: int = 4, size: int = 0,
    bucket: int = 512,
) -> bytes:  # fmt: skip
    return HEADER.pack(magic, version, wire, 0, 0, bits, 0, size, bucket, 0, 0)


def read(data: bytes) -> None:
    """Read what may be no payload; anything but a payload or PayloadError is a fault."""
    try:
        payload = Payload.from_bytes(data)
    except PayloadError:
        return
    assert payload.nbytes == len(data)
    assert payload.decode().shape == (payload.size,)


@every
def test_the_header_says_what_the_specification_says(codec: Codec) -> None:
    raw = sample(codec).to_bytes()
    assert HEADER_BYTES == HEADER.size == 32
    bits, bucket = codec.header()
    assert raw[:32] == header(wire=codec.wire_id or 0, bits=bits, size=61, bucket=bucket)


@every
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_read_without_a_copy(codec: Codec, kind: type) -> None:
    raw = kind(sample(codec).to_bytes())
    payload = Payload.from_bytes(raw)
    whole = np.frombuffer(raw, np.uint8)
    assert all(np.shares_memory(b, whole) for b in payload.buffers)
    assert payload.to_bytes() == bytes(raw)


@every
def test_a_payload_survives_a_pickle(codec: Codec) -> None:
    payload = sample(codec)
    arrived = pickle.loads(pickle.dumps(payload))
    assert arrived.to_bytes() == payload.to_bytes()
    assert arrived.decode().tobytes() == payload.decode().tobytes()


@every
def test_every_cut_and_every_surplus_is_refused(codec: Codec) -> None:
    raw = sample(codec).to_bytes()
    for wrong in [raw[:stop] for stop in range(len(raw))] + [raw + b"\0", raw + raw]:
        with pytest.raises(PayloadError, match="bytes, got"):
            Payload.from_bytes(wrong)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"magic": 0}, "not a payload"),
        ({"version": 2}, "version 2, this library reads 1"),
        ({"wire": 200}, "unknown codec 200"),
        ({"bits": 9}, "bits from 2 to 8, got 9"),
        ({"bits": 0}, "bits from 2 to 8, got 0"),
        ({"bucket": 0}, "multiple of 8, got 0"),
        ({"bucket": 12}, "multiple of 8, got 12"),
        ({"wire": 0}, "none never writes bits=4, bucket=512"),
    ],
)
def test_a_wrong_header_is_named(fields: dict[str, int], why: str) -> None:
    with pytest.raises(PayloadError, match=why):
        Payload.from_bytes(header(**fields))


def test_the_codec_of_a_header_rounds_to_nearest() -> None:
    assert codec_of_wire(1, 4, 128) == MaxMin(4, 128, "nearest")
    assert codec_of_wire(0, 0, 0) == Identity()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    read(data)


@settings(max_examples=200, deadline=None)
@given(wire=st.integers(0, 2), bits=st.integers(0, 9), size=st.integers(0, 200),
       bucket=st.integers(0, 64), body=st.binary(max_size=300))  # fmt: skip
def test_random_headers(wire: int, bits: int, size: int, bucket: int, body: bytes) -> None:
    read(header(wire=wire, bits=bits, size=size, bucket=bucket) + body)


@settings(max_examples=200, deadline=None)
@given(codec=st.sampled_from(CODECS), place=st.integers(0, 79), value=byte)
def test_a_changed_byte(codec: Codec, place: int, value: int) -> None:
    raw = bytearray(sample(codec).to_bytes())
    raw[place] = value
    read(bytes(raw))


@every
@pytest.mark.parametrize("size", [10**9, 2**40, 2**63, 2**64 - 1])
def test_absurd_sizes_allocate_nothing(codec: Codec, size: int) -> None:
    bits, bucket = codec.header()
    data = header(wire=codec.wire_id or 0, bits=bits, size=size, bucket=bucket) + bytes(1000)
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError, match=f"of {size} numbers"):
            Payload.from_bytes(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
