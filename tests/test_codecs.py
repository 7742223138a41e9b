"""Every codec keeps the contract: exact bytes, the same bits again, no silent nonsense."""

import pickle
from collections.abc import Callable
from math import ceil

import numpy as np
import pytest
from codec_samples import BUCKET, SAMPLES, SIZES, encode, normal, same_bits

from msl.codecs import (
    CODECS,
    Chain,
    Codec,
    Eden,
    ErrorFeedback,
    Identity,
    LayerWise,
    MaxMin,
    NuQsgd,
    OneBit,
    PassThrough,
    Payload,
    PowerSgd,
    Qsgd,
    RandK,
    Rotation,
    Sign,
    TernGrad,
    TopK,
    make,
)
from msl.errors import DataError, PlanError, UnknownNameError
from msl.parts import describe
from msl.types import Layout

every = pytest.mark.parametrize("codec", SAMPLES, ids=repr)
sizes = pytest.mark.parametrize("size", SIZES)
EXACT_ON_CONSTANTS = (Identity, MaxMin, Sign, OneBit, TernGrad)


def test_every_member_has_a_sample() -> None:
    assert {type(codec) for codec in SAMPLES} == set(CODECS.values())
    assert all(CODECS[codec.name] is type(codec) for codec in SAMPLES)
    wires = [codec.wire_id for codec in CODECS.values() if codec.wire_id is not None]
    assert len(set(wires)) == len(wires)


@every
@sizes
def test_bytes_are_exact_and_decode_to_the_same_bits(codec: Codec, size: int) -> None:
    payload = encode(codec, normal(size))
    raw = payload.to_bytes()
    assert payload.nbytes == len(raw)
    assert codec.nbytes(size) in (None, len(raw))
    decoded = payload.decode()
    assert decoded.shape == (size,)
    assert same_bits(Payload.from_bytes(raw).decode(), decoded)
    assert same_bits(Payload.from_bytes(raw, size=size).decode(), decoded)
    assert Payload.from_bytes(raw).to_bytes() == raw
    assert same_bits(codec.decode(payload), decoded)


def packed(n: int, bits: int) -> int:
    return 8 * ceil(n * bits / 64)


def eight(nbytes: float) -> int:
    return 8 * ceil(nbytes / 8)


def blocks(n: int) -> int:
    """Numbers after the last block of 16 was padded to a power of two, at least 8."""
    whole, rest = divmod(n, BUCKET)
    return BUCKET * whole + (0 if rest == 0 else 8 if rest <= 8 else 16)


FORMS: list[tuple[Codec, Callable[[int], int]]] = [
    (make("none"), lambda n: 32 + eight(4 * n)),
    (make("float16"), lambda n: 32 + eight(2 * n)),
    (make("bfloat16"), lambda n: 32 + eight(2 * n)),
    (MaxMin(bits=5, bucket=BUCKET), lambda n: 32 + 8 * ceil(n / 16) + packed(n, 5)),
    (Qsgd(bits=3, bucket=BUCKET), lambda n: 32 + eight(4 * ceil(n / 16)) + packed(n, 3)),
    (NuQsgd(levels=6, bucket=BUCKET), lambda n: 32 + eight(4 * ceil(n / 16)) + packed(n, 4)),
    (make("natural"), lambda n: 32 + eight(n) + eight(n / 8)),
    (TernGrad(), lambda n: 32 + 8 + packed(n, 2)),
    (Sign(), lambda n: 32 + 8 + packed(n, 1)),
    (OneBit(bucket=BUCKET), lambda n: 32 + 8 * ceil(n / 16) + packed(n, 1)),
    (TopK(0.25), lambda n: 32 + 2 * eight(4 * ceil(n / 4))),
    (RandK(0.25), lambda n: 32 + eight(4 * ceil(n / 4))),
    (
        TopK(0.25, bucket=BUCKET),
        lambda n: 32 + 2 * eight(4 * (n // BUCKET * 4 + min(4, n % BUCKET))),
    ),
    (
        Eden(bits=2, block=BUCKET),
        lambda n: 32 + eight(4 * ceil(n / 16)) + packed(blocks(n), 2),
    ),
    (make("lattice", bits=3), lambda n: 32 + 8 + packed(n, 3)),
    (make("lattice", bits=3, rotated=True, block=16), lambda n: 32 + 8 + packed(blocks(n), 3)),
    (
        Rotation(MaxMin(bits=4, bucket=BUCKET), block=BUCKET),
        lambda n: 32 + 8 + 32 + 8 * ceil(blocks(n) / 16) + packed(blocks(n), 4),
    ),
    (
        Chain(RandK(0.25), MaxMin(bits=4, bucket=BUCKET)),
        lambda n: 32 + 8 + 32 + 8 * ceil(ceil(n / 4) / 16) + packed(ceil(n / 4), 4),
    ),
]


@pytest.mark.parametrize(("codec", "form"), FORMS, ids=[repr(codec) for codec, _ in FORMS])
@sizes
def test_bytes_are_the_closed_form(codec: Codec, form: Callable[[int], int], size: int) -> None:
    assert len(encode(codec, normal(size)).to_bytes()) == form(size)


@every
@sizes
def test_zeros_are_exact(codec: Codec, size: int) -> None:
    for value in (0.0, -0.0):
        vector = np.full(size, value, np.float32)
        np.testing.assert_array_equal(encode(codec, vector).decode(), vector)


def exact_on_constants(codec: Codec) -> bool:
    inner = codec.codec if isinstance(codec, ErrorFeedback | LayerWise | PassThrough) else codec
    linf = isinstance(inner, Qsgd) and inner.norm == "linf"
    return isinstance(inner, EXACT_ON_CONSTANTS) or linf


@pytest.mark.parametrize("codec", list(filter(exact_on_constants, SAMPLES)), ids=repr)
@sizes
def test_constants_are_exact(codec: Codec, size: int) -> None:
    for value in (0.1, -3e20):
        vector = np.full(size, value, np.float32)
        np.testing.assert_array_equal(encode(codec, vector).decode(), vector)


@every
def test_negative_zero_is_zero(codec: Codec) -> None:
    vector = normal(61)
    vector[[3, 20, 60]] = 0
    negative = np.where(vector == 0, np.float32(-0.0), vector)
    expected = encode(codec, vector).decode()
    np.testing.assert_array_equal(encode(codec, negative).decode(), expected)


@every
def test_strides_and_halves_are_read_as_their_float32_values(codec: Codec) -> None:
    wide = normal(3 * 61).reshape(61, 3)[:, 1]
    assert encode(codec, wide).to_bytes() == encode(codec, wide.copy()).to_bytes()
    half = wide.astype(np.float16)
    assert encode(codec, half).to_bytes() == encode(codec, half.astype(np.float32)).to_bytes()


@every
def test_the_vector_stays_as_it_is_and_the_payload_does_not_alias_it(codec: Codec) -> None:
    vector = normal(61)
    before = vector.copy()
    payload = encode(codec, vector)
    assert same_bits(vector, before)
    decoded = payload.decode()
    vector[:] = 7
    assert same_bits(payload.decode(), decoded)
    decoded[:] = 7
    assert not same_bits(payload.decode(), decoded)


@every
def test_memories_are_not_changed(codec: Codec) -> None:
    _, memory = codec.encode(normal(61), codec.init(61), key=1)
    before = pickle.dumps(memory)
    codec.encode(normal(61, 4), memory, key=2)
    assert pickle.dumps(memory) == before


@every
def test_decode_writes_into_out(codec: Codec) -> None:
    payload, out = encode(codec, normal(61)), np.full(61, np.nan, np.float32)
    assert payload.decode(out=out) is out
    assert same_bits(out, payload.decode())


@every
def test_equal_keys_give_equal_bytes(codec: Codec) -> None:
    vector = normal(61)
    raws = [encode(codec, vector, key).to_bytes() for key in (0, 1, 2**64 - 1, 1)]
    assert raws[1] == raws[3]
    drawn = codec.unbiased or isinstance(codec, TernGrad | Eden | RandK | Rotation | Chain)
    if not isinstance(codec, TopK | Identity):
        assert len(set(raws)) == (3 if drawn else 1)


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_none_is_named(codec: Codec, bad: float) -> None:
    vector = normal(61)
    vector[[37, 38, 60]] = bad
    if isinstance(codec, PassThrough):
        payload, _ = codec.encode(vector)
        np.testing.assert_array_equal(Payload.from_bytes(payload.to_bytes()).decode(), vector)
        assert payload.flags
        return
    with pytest.raises(DataError, match="at index 37"):
        encode(codec, vector)


@every
def test_only_vectors_are_taken(codec: Codec) -> None:
    with pytest.raises(DataError, match=r"\(2, 3\)"):
        codec.encode(np.zeros((2, 3), np.float32))


@every
def test_a_codec_travels_and_describes_itself(codec: Codec) -> None:
    assert pickle.loads(pickle.dumps(codec)) == codec
    assert make(**describe(codec)) == codec
    arrived = pickle.loads(pickle.dumps(encode(codec, normal(61))))
    assert same_bits(arrived.decode(), encode(codec, normal(61)).decode())


@pytest.mark.parametrize("codec", [c for c in SAMPLES if c.unbiased], ids=repr)
def test_unbiased_decodes_average_to_the_vector(codec: Codec) -> None:
    # EDEN's scale is unbiased for long blocks only.
    long = isinstance(codec, Eden)
    vector, runs = normal(2048 if long else 64), 500 if long else 2000
    codec = Eden(codec.bits, 2048) if isinstance(codec, Eden) else codec
    decodes = np.array([encode(codec, vector, key).decode()[:64] for key in range(runs)], "d")
    error = np.abs(decodes.mean(axis=0) - vector[:64])
    # The largest deviation: a number beside a level shows none of its own in 2000 runs.
    allowed = 5 * decodes.std(axis=0, ddof=1).max() / np.sqrt(runs)
    assert error.max() <= allowed + 1e-6


@pytest.mark.parametrize(
    ("name", "arguments", "needed"),
    [
        ("maxmin", {"bits": 1}, "bits from 2 to 8, got 1"),
        ("maxmin", {"bits": 4.0}, "bits from 2 to 8, got 4.0"),
        ("maxmin", {"bucket": 0}, "multiple of 8, got 0"),
        ("maxmin", {"bucket": 100}, "multiple of 8, got 100"),
        ("maxmin", {"rounding": "up"}, "'nearest' or 'stochastic', got 'up'"),
        ("maxmin", {"bit": 4}, "it takes: bits, bucket, rounding"),
        ("qsgd", {"bits": 9}, "bits from 2 to 8, got 9"),
        ("qsgd", {"norm": "l1"}, "'linf' or 'l2', got 'l1'"),
        ("qsgd", {"levels": 5}, "with coding elias only"),
        ("nuqsgd", {"levels": 31}, "levels from 1 to 30, got 31"),
        ("terngrad", {"clip": 0}, "clip > 0 or none, got 0"),
        ("onebit", {"bucket": 12}, "multiple of 8, got 12"),
        ("topk", {"density": 0}, r"density in \(0, 1\], got 0"),
        ("topk", {"bucket": 0}, "bucket >= 1 or none, got 0"),
        ("topk", {"bucket": 8, "selection": "sampled"}, "leave out the bucket"),
        ("randk", {"density": 1.5}, r"density in \(0, 1\], got 1.5"),
        ("powersgd", {"rank": 0}, "rank from 1 to 255, got 0"),
        ("eden", {"bits": 5}, "bits from 1 to 4, got 5"),
        ("eden", {"block": 100}, "power of two, 8 to 8192, got 100"),
        ("eden", {"scale": "none"}, "'unbiased' or 'least', got 'none'"),
        ("drive", {"bits": 2}, "takes no bits"),
        ("lattice", {"bits": 9}, "bits from 1 to 8, or 16, got 9"),
        ("lattice", {"radius": -1.0}, "radius > 0 or none, got -1.0"),
        ("lattice", {"margin": 0.5}, "margin >= 1, got 0.5"),
        ("layerwise", {"small": -1}, "small >= 0, got -1"),
        ("layerwise", {"raw": "bias"}, "list of name patterns"),
        ("adaptive", {"parameter": "rank"}, "has no parameter 'rank'"),
        ("adaptive", {"window": 30}, "1 <= window <= every, got 30, 20"),
        ("adaptive", {"alpha": 0}, "alpha > 0, got 0"),
        ("adaptive", {"candidates": [1, 4]}, "bits from 2 to 8, got 1"),
        ("chain", {"first": {"name": "maxmin"}}, "topk or randk first"),
        ("chain", {"then": {"name": "topk"}}, "cannot send values by TopK"),
        ("rotation", {"codec": {"name": "powersgd"}}, "put the wrapper outside"),
    ],
)
def test_impossible_arguments_are_refused(
    name: str, arguments: dict[str, object], needed: str
) -> None:
    with pytest.raises(PlanError, match=needed):
        make(name, **arguments)


def test_an_unknown_codec_is_told_the_names() -> None:
    with pytest.raises(UnknownNameError, match="none, float16, bfloat16, maxmin, qsgd"):
        make("zip")


def test_nested_parts_are_made() -> None:
    made = make("error_feedback", codec={"name": "maxmin", "bits": 2})
    assert made == ErrorFeedback(MaxMin(bits=2))


def test_powersgd_counts_the_bytes_of_its_layers() -> None:
    codec = PowerSgd(rank=2).fit(make_layout())
    # 40 x 30 as factors, a bias of 30 and a small layer as they are.
    values = 2 * (40 + 30) + 30 + 12
    assert codec.nbytes(1242) == 32 + 8 * 3 + 4 * values
    assert encode(codec, normal(1242)).nbytes == codec.nbytes(1242)


def make_layout() -> Layout:
    return Layout((("weight", (40, 30)), ("bias", (30,)), ("small", (4, 3))))
