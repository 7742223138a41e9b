"""What a host sends travels as one run of bytes, beside what is large, and arrives as it was."""

import pickle

import numpy as np
from codec_samples import SAMPLES

from msl.codecs import Identity, MaxMin, bundle
from msl.codecs.payload import Payload
from msl.delivery import Delivery, Sent


def payloads(size: int = 101) -> list[Payload]:
    draw = np.random.default_rng(0)
    return [
        codec.encode(draw.standard_normal(size, np.float32), codec.init(size), key=7)[0]
        for codec in SAMPLES
    ]


def check(found: Payload, wanted: Payload) -> None:
    assert found.to_bytes() == wanted.to_bytes()
    assert found.codec == wanted.codec
    np.testing.assert_array_equal(found.decode(), wanted.decode())


def test_payloads_of_every_codec_come_back() -> None:
    before = payloads()
    after = bundle.unpack(*bundle.pack(before))
    for found, wanted in zip(after, before, strict=True):
        check(found, wanted)
        for buffer, kept in zip(found.buffers, wanted.buffers, strict=True):
            assert buffer.dtype == kept.dtype
            assert buffer.flags.aligned


def test_nothing_comes_back_as_nothing() -> None:
    assert bundle.unpack(*bundle.pack([])) == []


def test_a_delivery_is_one_buffer() -> None:
    sent = tuple(Sent(3 * i, p, 60.0 + i, 0.5 * i) for i, p in enumerate(payloads()))
    delivery = Delivery(sent, {2: "late"}, 0.25)
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(delivery, protocol=5, buffer_callback=buffers.append)
    assert len(buffers) == 1
    again = pickle.loads(pickled, buffers=buffers)
    assert (again.dropped, again.seconds) == (delivery.dropped, delivery.seconds)
    for found, wanted in zip(again.sent, sent, strict=True):
        assert (found.rank, found.weight, found.loss) == (wanted.rank, wanted.weight, wanted.loss)
        check(found.payload, wanted.payload)


def test_rows_of_one_block_travel_without_a_copy() -> None:
    block = np.arange(12, dtype=np.float32).reshape(3, 4)
    sent = Identity().encode_each(list(block), [None] * 3, [0] * 3)
    payloads = [one[0] for one in sent if one is not None]
    assert np.shares_memory(bundle.pack(payloads)[1], block)
    for chosen in ([0, 1, 2], [0, 1], [1, 0, 2], [0, 0, 2]):
        packed = bundle.pack([payloads[at] for at in chosen])
        found = [payload.decode() for payload in bundle.unpack(*packed)]
        np.testing.assert_array_equal(found, block[chosen])


def test_large_buffers_are_not_joined() -> None:
    large = np.arange(bundle.LARGE // 4, dtype=np.float32)
    before = [
        Identity().encode(large)[0],
        MaxMin(bits=8).encode(np.tile(large, 4))[0],
        *payloads(),
    ]
    heads, blob, alone = bundle.pack(before)
    assert [buffer is kept for buffer, kept in zip(alone, _large(before), strict=True)] == [
        True
    ] * 2
    assert blob.nbytes < bundle.LARGE
    for found, wanted in zip(bundle.unpack(heads, blob, alone), before, strict=True):
        check(found, wanted)


def _large(found: list[Payload]) -> list[np.ndarray]:
    return [b for payload in found for b in payload.buffers if b.nbytes >= bundle.LARGE]
