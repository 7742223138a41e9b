"""Every codec keeps the contract; the bounds of the quantiser are those of theory."""

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from msl.codecs import CODECS, Codec, ErrorFeedback, Identity, MaxMin, Payload, make
from msl.errors import DataError, PlanError, UnknownNameError
from msl.parts import describe

BUCKET = 16
SAMPLES: list[Codec] = [
    Identity(),
    MaxMin(bits=2, bucket=BUCKET),
    MaxMin(bits=3, bucket=BUCKET, rounding="stochastic"),
    MaxMin(bits=4, bucket=BUCKET, rounding="stochastic"),
    MaxMin(bits=5, bucket=BUCKET),
    MaxMin(bits=8, bucket=BUCKET),
    ErrorFeedback(Identity()),
    ErrorFeedback(MaxMin(bits=4, bucket=BUCKET)),
]
SIZES = [0, 1, 2, 7, 8, 9, BUCKET - 1, BUCKET, BUCKET + 1, 3 * BUCKET + 5]
every = pytest.mark.parametrize("codec", SAMPLES, ids=repr)
sizes = pytest.mark.parametrize("size", SIZES)


def normal(size: int, seed: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(size, np.float32)


def encode(codec: Codec, vector: NDArray[np.float32], key: int = 11) -> Payload:
    return codec.encode(vector, codec.init(vector.size), key=key)[0]


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return a.dtype == b.dtype == np.float32 and a.tobytes() == b.tobytes()


def units(codec: MaxMin, vector: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the width of one level at each coordinate."""
    x = vector.astype(np.float64)
    buckets = [x[i : i + codec.bucket] for i in range(0, x.size, codec.bucket)]
    width = [np.full(b.size, (b.max() - b.min()) / (2**codec.bits - 1)) for b in buckets]
    return np.concatenate(width) if width else np.zeros(0)


def test_every_member_has_a_sample() -> None:
    assert {type(codec) for codec in SAMPLES} == set(CODECS.values())
    assert all(CODECS[codec.name] is type(codec) for codec in SAMPLES)


@every
@sizes
def test_bytes_are_exact_and_decode_to_the_same_bits(codec: Codec, size: int) -> None:
    payload = encode(codec, normal(size))
    raw = payload.to_bytes()
    assert codec.nbytes(size) == payload.nbytes == len(raw)
    shapes = [(b.dtype, b.shape) for b in payload.buffers]
    assert shapes == codec.buffers(size)
    decoded = payload.decode()
    assert decoded.shape == (size,)
    assert same_bits(Payload.from_bytes(raw).decode(), decoded)
    assert same_bits(codec.decode(payload), decoded)


@every
@sizes
def test_zeros_and_constants_are_exact(codec: Codec, size: int) -> None:
    for value in (0.0, -0.0, 0.1, -3e20):
        vector = np.full(size, value, np.float32)
        np.testing.assert_array_equal(encode(codec, vector).decode(), vector)


@every
def test_negative_zero_among_others_is_a_zero(codec: Codec) -> None:
    vector = np.array([-0.0, 0.0, 1.0, -0.0], np.float32)
    np.testing.assert_array_equal(encode(codec, vector).decode(), [0, 0, 1, 0])


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
def test_decode_writes_into_out(codec: Codec) -> None:
    payload, out = encode(codec, normal(61)), np.full(61, np.nan, np.float32)
    assert payload.decode(out=out) is out
    assert same_bits(out, payload.decode())


@every
def test_equal_keys_give_equal_bytes(codec: Codec) -> None:
    vector = normal(61)
    raws = [encode(codec, vector, key).to_bytes() for key in (0, 1, 2**64 - 1, 1)]
    assert raws[1] == raws[3]
    dithered = isinstance(codec, MaxMin) and codec.rounding == "stochastic"
    assert len(set(raws)) == (3 if dithered else 1)


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_none_is_named(codec: Codec, bad: float) -> None:
    vector = normal(61)
    vector[[37, 38, 60]] = bad
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


@pytest.mark.parametrize("codec", [c for c in SAMPLES if c.unbiased], ids=repr)
def test_unbiased_decodes_average_to_the_vector(codec: Codec) -> None:
    vector, runs = normal(64), 2000
    decodes = np.array([encode(codec, vector, key).decode() for key in range(runs)], np.float64)
    error = np.abs(decodes.mean(axis=0) - vector)
    # The largest deviation: a number beside a level shows none of its own in 2000 runs.
    allowed = 5 * decodes.std(axis=0, ddof=1).max() / np.sqrt(runs)
    assert error.max() <= allowed + 1e-6


def test_unbiased_is_what_the_rounding_says() -> None:
    assert [MaxMin(rounding="stochastic").unbiased, MaxMin().unbiased] == [True, False]
    assert not ErrorFeedback(Identity()).unbiased


@pytest.mark.parametrize("codec", [c for c in SAMPLES if isinstance(c, MaxMin)], ids=repr)
@sizes
def test_no_number_is_off_by_more_than_its_rounding(codec: MaxMin, size: int) -> None:
    vector = normal(size)
    most = units(codec, vector) * (1.0 if codec.unbiased else 0.5)
    error = np.abs(encode(codec, vector).decode() - vector.astype(np.float64))
    assert (error <= most + 1e-6).all()


@pytest.mark.parametrize(
    ("bits", "bucket", "nearest", "stochastic"),
    [
        (2, 128, 0.250, 0.498),
        (3, 512, 0.0629, 0.126),
        (4, 128, 0.00993, 0.0199),
        (4, 512, 0.0137, 0.0274),
        (4, 1024, 0.0155, 0.0311),
        # E[range^2] = 37.2 of 512 normals, over 255^2 and 12 (nearest) or 6.
        (8, 512, 4.77e-5, 9.53e-5),
    ],
)
def test_error_on_normals(bits: int, bucket: int, nearest: float, stochastic: float) -> None:
    vector = normal(2**20)
    power = np.square(vector, dtype=np.float64).sum()
    for expected, codec in (
        (nearest, MaxMin(bits, bucket)),
        (stochastic, MaxMin(bits, bucket, "stochastic")),
    ):
        lost = np.square(encode(codec, vector).decode() - vector, dtype=np.float64).sum()
        assert lost / power == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("bits", "bucket", "nbytes"),
    [(4, 1024, 532_480), (4, 512, 540_672), (8, 512, 1_064_960), (2, 1024, 270_336)],
)
def test_bytes_of_a_million(bits: int, bucket: int, nbytes: int) -> None:
    assert MaxMin(bits, bucket).nbytes(2**20) == 32 + nbytes


@pytest.mark.parametrize("codec", [c for c in SAMPLES if isinstance(c, ErrorFeedback)], ids=repr)
def test_error_feedback_loses_nothing_over_the_rounds(codec: ErrorFeedback) -> None:
    rounds, size = 50, 61
    memory, sent, wanted, largest = codec.init(size), np.zeros(size), np.zeros(size), 0.0
    for t in range(rounds):
        vector = normal(size, seed=t)
        before = memory[0].copy()
        payload, memory = codec.encode(vector, memory, key=t)
        decoded = payload.decode()
        asked = vector + before
        largest = max(largest, float(np.abs(asked).max()))
        np.testing.assert_allclose(decoded + memory[0], asked, atol=1e-6 * largest)
        sent += decoded
        wanted += vector
    slack = rounds * np.finfo(np.float32).eps * largest
    np.testing.assert_allclose(sent + memory[0], wanted, rtol=0, atol=slack)


def test_error_feedback_without_memory_starts_at_zero() -> None:
    codec, vector = ErrorFeedback(MaxMin(bucket=BUCKET)), normal(61)
    without = codec.encode(vector)
    fresh = codec.encode(vector, codec.init(61))
    assert without[0].to_bytes() == fresh[0].to_bytes()
    assert same_bits(without[1][0], fresh[1][0])
    assert without[1][0].any()


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ({"bits": 1}, "bits from 2 to 8, got 1"),
        ({"bits": 9}, "bits from 2 to 8, got 9"),
        ({"bits": 4.0}, "bits from 2 to 8, got 4.0"),
        ({"bucket": 0}, "multiple of 8, got 0"),
        ({"bucket": -8}, "multiple of 8, got -8"),
        ({"bucket": 100}, "multiple of 8, got 100"),
        ({"rounding": "up"}, "'nearest' or 'stochastic', got 'up'"),
        ({"bit": 4}, "it takes: bits, bucket, rounding"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, object], needed: str) -> None:
    with pytest.raises(PlanError, match=needed):
        make("maxmin", **arguments)


def test_an_unknown_codec_is_told_the_names() -> None:
    with pytest.raises(UnknownNameError, match="none, maxmin, error_feedback"):
        make("zip")


def test_nested_parts_are_made() -> None:
    made = make("error_feedback", codec={"name": "maxmin", "bits": 2})
    assert made == ErrorFeedback(MaxMin(bits=2))
