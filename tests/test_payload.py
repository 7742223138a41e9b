"""Bytes from a stranger become a payload or a PayloadError, and never an allocation."""

import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from codec_samples import SAMPLES, encode, normal
from distributed.protocol import deserialize, serialize
from hypothesis import given, settings
from hypothesis import strategies as st

from msl.codecs import (
    HEADER_BYTES,
    Codec,
    Identity,
    Lattice,
    LayerWise,
    MaxMin,
    Payload,
    PowerSgd,
    Qsgd,
    TopK,
    codec_of_wire,
)
from msl.codecs.payload import MOST_PER_BYTE
from msl.errors import PayloadError
from msl.types import Layout

every = pytest.mark.parametrize("codec", SAMPLES, ids=repr)
HEADER = struct.Struct("<HBBBBBBQIIQ")
byte = st.integers(0, 255)


def sample(codec: Codec, size: int = 61) -> Payload:
    return encode(codec, np.linspace(-1, 2, size, dtype=np.float32))


def header(
    magic: int = 0x4D53, version: int = 1, wire: int = 1, dtype: int = 0, flags: int = 0,
    bits: int = 4, reserved: int = 0, size: int = 0, bucket: int = 512, count: int = 0,
    seed: int = 0,
) -> bytes:  # fmt: skip
    return HEADER.pack(
        magic, version, wire, dtype, flags, bits, reserved, size, bucket, count, seed
    )


def read(data: bytes) -> None:
    """Read what may be no payload; anything but a payload or PayloadError is a fault."""
    try:
        payload = Payload.from_bytes(data, size=61)
        decoded = payload.decode()
    except PayloadError:
        return
    assert payload.nbytes == len(data)
    assert decoded.shape == (61,)


@pytest.mark.parametrize("codec", [Identity(), MaxMin(bits=3, bucket=16)], ids=repr)
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
    assert not any(b.flags.writeable for b in payload.buffers)
    assert payload.to_bytes() == bytes(raw)


@every
def test_a_payload_survives_a_pickle(codec: Codec) -> None:
    payload = sample(codec)
    arrived = pickle.loads(pickle.dumps(payload))
    assert arrived.to_bytes() == payload.to_bytes()
    assert arrived.decode().tobytes() == payload.decode().tobytes()


@every
def test_distributed_sends_the_buffers_without_a_copy(codec: Codec) -> None:
    payload = encode(codec, normal(20_000))
    head, frames = serialize(payload)
    for buffer in payload.buffers:
        # Small ones may travel inside the pickle.
        if buffer.nbytes > 1000:
            assert any(np.shares_memory(np.frombuffer(f, np.uint8), buffer) for f in frames)
    assert deserialize(head, frames).to_bytes() == payload.to_bytes()


@every
def test_every_cut_and_every_surplus_is_refused(codec: Codec) -> None:
    raw = sample(codec).to_bytes()
    for wrong in [raw[:stop] for stop in range(len(raw))] + [raw + b"\0", raw + raw]:
        with pytest.raises(PayloadError):
            Payload.from_bytes(wrong).decode()


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
        ({"dtype": 1}, "maxmin never writes dtype, got 1"),
        ({"reserved": 3}, "maxmin never writes reserved, got 3"),
        ({"flags": 1}, "maxmin never writes flags, got 1"),
        ({"count": 7}, "maxmin never writes count, got 7"),
        ({"seed": 7}, "maxmin never writes seed, got 7"),
        ({"wire": 0, "bits": 0, "bucket": 0, "flags": 2}, "never writes flags 2"),
        ({"wire": 4, "flags": 3}, "qsgd never writes flags 3"),
        ({"wire": 4, "flags": 1}, "with 0 levels"),
        ({"wire": 14, "flags": 2, "bucket": 16}, "lattice never writes flags 2"),
        ({"wire": 17, "bits": 1, "bucket": 0}, "chain starts with topk or randk, got codec 1"),
    ],
)
def test_a_wrong_header_is_named(fields: dict[str, int], why: str) -> None:
    with pytest.raises(PayloadError, match=why):
        Payload.from_bytes(header(**fields))


def changed(codec: Codec, at: int, kind: str, value: float) -> bytes:
    """Return a payload with one number of its body overwritten."""
    raw = bytearray(sample(codec).to_bytes())
    struct.pack_into(kind, raw, 32 + at, value)
    return bytes(raw)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (changed(Identity(), 8, "<f", np.nan), "without saying so"),
        (changed(TopK(0.1), 0, "<I", 60), "do not ascend"),
        (changed(TopK(0.1), 24, "<I", 61), "do not ascend below 61"),
        (changed(Qsgd(), 0, "<f", -1.0), "a norm that is NaN, Inf or out of range"),
        (changed(Lattice(), 0, "<d", np.inf), "a side that is"),
        (changed(PowerSgd(rank=1), 0, "<I", 1000), "layers of"),
        (changed(LayerWise(small=8), 0, "<I", 60), "parts of 60 numbers for 61"),
        (changed(LayerWise(small=8), 4, "<I", 3), "not numbered from 0"),
        (changed(LayerWise(small=8), 8, "<Q", 2**40), "nested payload of"),
        (changed(LayerWise(small=8), 24, "<Q", 7), "expected 61"),
    ],
)
def test_a_wrong_body_is_named(raw: bytes, why: str) -> None:
    with pytest.raises(PayloadError, match=why):
        Payload.from_bytes(raw)


def test_a_changed_colour_fails_its_checksum() -> None:
    raw = bytearray(sample(Lattice()).to_bytes())
    raw[45] ^= 1
    with pytest.raises(PayloadError, match="checksum differs"):
        Payload.from_bytes(bytes(raw)).decode()


def test_the_codec_of_a_header_rounds_to_nearest() -> None:
    assert codec_of_wire(1, 4, 128) == MaxMin(4, 128, "nearest")
    assert codec_of_wire(0, 0, 0) == Identity()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    read(data)
    read(header()[:3] + data)


@settings(max_examples=600, deadline=None)
@given(
    wire=st.integers(0, 18),
    bits=st.integers(0, 17),
    bucket=st.sampled_from([0, 8, 16, 64]),
    count=st.integers(0, 300),
    flags=st.integers(0, 3),
    body=st.binary(max_size=300),
)
def test_random_headers(
    wire: int, bits: int, bucket: int, count: int, flags: int, body: bytes
) -> None:
    fields = {"wire": wire, "bits": bits, "bucket": bucket, "count": count, "flags": flags}
    read(header(**fields, size=61) + body)


RAWS = [sample(codec).to_bytes() for codec in SAMPLES]


@settings(max_examples=2000, deadline=None)
@given(data=st.data())
def test_changed_bytes(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(RAWS)))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(byte)
    read(bytes(raw))


@every
@pytest.mark.parametrize("size", [10**9, 2**40, 2**63, 2**64 - 1])
def test_absurd_sizes_allocate_nothing(codec: Codec, size: int) -> None:
    raw = bytearray(sample(codec).to_bytes())
    struct.pack_into("<Q", raw, 8, size)
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError, match=f"of {size} numbers"):
            Payload.from_bytes(bytes(raw))
        with pytest.raises(PayloadError, match="expected 61"):
            Payload.from_bytes(bytes(raw), size=61)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("number", [7, 2**24, 2**32 - 1])
def test_absurd_numbers_of_parts_allocate_nothing(number: int) -> None:
    raw = bytearray(next(raw for raw in RAWS if raw[3] == 16))
    struct.pack_into("<I", raw, HEADER_BYTES + 4, number)
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError, match="not numbered from 0 without a gap"):
            Payload.from_bytes(bytes(raw), size=61)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_sparse_vector_of_any_size_is_taken_when_expected() -> None:
    size = 2 * MOST_PER_BYTE * 100
    raw = encode(TopK(1e-9), normal(1)).to_bytes()
    assert len(raw) < 100
    raw = raw[:8] + struct.pack("<Q", size) + raw[16:]
    with pytest.raises(PayloadError, match="past belief; say size="):
        Payload.from_bytes(raw)
    assert Payload.from_bytes(raw, size=size).decode().shape == (size,)


def test_nested_payloads_are_checked_as_strictly() -> None:
    layout = Layout((("a", (8, 8)), ("b", (4,))))
    raw = LayerWise(MaxMin(4, 16), small=8).fit(layout).encode(normal(68))[0].to_bytes()
    inner = raw.index(struct.pack("<HB", 0x4D53, 1), 32)
    broken = raw[: inner + 2] + b"\x09" + raw[inner + 3 :]
    with pytest.raises(PayloadError, match="version 9"):
        Payload.from_bytes(broken)
