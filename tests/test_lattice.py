"""The lattice codec: right next to a reference, wrong beyond the radius and able to tell."""

import numpy as np
import pytest
from codec_samples import encode, heavy, normal
from numpy.typing import NDArray

from msl.codecs import Lattice, Payload, Qsgd
from msl.codecs.lattice import deliver
from msl.errors import DataError, PayloadError


def square(x: NDArray[np.float32]) -> float:
    return float(np.square(x, dtype="d").mean())


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("rotated", [False, True])
def test_error_is_that_of_the_distance(bits: int, rotated: bool) -> None:
    reference = 1000 + 50 * normal(2**14, seed=1)
    x = (reference + normal(2**14)).astype(np.float32)
    codec = Lattice(bits=bits, rotated=rotated)
    payload, _ = codec.encode(x, key=5, reference=reference)
    decoded = payload.decode(reference=reference)
    side = float(payload.buffers[0][0])
    # Numbers of this size have a last digit of 6e-5, and rotating back adds a few.
    digits = (5e-4 if rotated else 7e-5) ** 2
    assert square(decoded - x) == pytest.approx(side**2 / 12, rel=0.03, abs=digits)
    assert Payload.from_bytes(payload.to_bytes()).decode(reference=reference).tobytes() == (
        decoded.tobytes()
    )


def test_much_less_error_than_norms_on_clustered_inputs() -> None:
    """Two machines whose vectors agree: at 3 bits, ten times less variance and more."""
    mean = 5 + heavy(4096)
    a, b = (mean + 0.05 * normal(4096, seed=s) for s in (1, 2))
    spread = square((a - b).astype("f")) / 2
    payload, _ = Lattice(bits=3, margin=1.5).encode(a, key=3, reference=b)
    lattice = square(payload.decode(reference=b) - a)
    qsgd = square(encode(Qsgd(bits=3), a.astype("f")).decode() - a)
    assert lattice < qsgd / 10
    assert lattice < 2 * spread < qsgd


@pytest.mark.parametrize("bits", [3, 4])
def test_two_machines_estimate_their_mean(bits: int) -> None:
    """Output over input variance of one exchange on least squares: 0.22 and 0.053 in theory."""
    draw, ratios = np.random.default_rng(0), []
    for _ in range(20):
        rows = draw.standard_normal((8192, 100))
        target = rows @ draw.standard_normal(100)
        halves = np.split(draw.permutation(8192), 2)
        # Gradients of the two halves at zero.
        g = [(-rows[h].T @ target[h] / 4096).astype(np.float32) for h in halves]
        exact = (-rows.T @ target / 8192).astype(np.float32)
        sent = [
            Lattice(bits=bits, margin=1.5)
            .encode(g[i], key=int(draw.integers(2**60)), reference=g[1 - i])[0]
            .decode(reference=g[1 - i])
            for i in (0, 1)
        ]
        ratios.append(square((sent[0] + sent[1]) / 2 - exact) / square(g[0] - exact))
    # s = 2 * 1.5 y / (q - 1), y the largest of 100 differences; the mean halves s^2 / 12.
    assert np.mean(ratios) < {3: 0.45, 4: 0.1}[bits]


def test_a_reference_too_far_is_noticed() -> None:
    x, reference = normal(1000), np.zeros(1000, np.float32)
    payload, _ = Lattice(bits=4, radius=1.0).encode(x, key=1)
    with pytest.raises(PayloadError, match="further than the radius 1 "):
        payload.decode(reference=reference)


def test_delivery_escalates_until_it_fits() -> None:
    x, reference = normal(1000), np.zeros(1000, np.float32)
    decoded, sent = deliver(Lattice(bits=4, radius=0.5), x, reference, key=1)
    assert [payload.codec.header()[0] for payload in sent] == [4, 8]
    side = float(sent[0].buffers[0][0])
    assert np.abs(decoded - x).max() <= side / 2 * (1 + 1e-6)
    _, sent = deliver(Lattice(bits=4), x, reference, key=1)
    assert len(sent) == 1
    with pytest.raises(PayloadError, match="even for 16 bits"):
        deliver(Lattice(bits=4, radius=1e-5), x, reference)


def test_a_tracked_radius_follows_shrinking_distances() -> None:
    """Section 9: both ends compute the radius from what they decoded, at no cost in bytes."""
    codec, radius, errors, distances = Lattice(bits=4), 50.0, [], []
    for t in range(40):
        distance = 20 * 0.8**t
        centre = heavy(500, seed=t)
        a, b = (centre + np.float32(distance) * normal(500, seed=s + 2 * t) / 4 for s in (0, 1))
        decoded, sent = deliver(codec, a, b, memory=radius, key=t)
        radius = codec.track(sent[-1], decoded, b)
        errors.append(square(decoded - a))
        distances.append(square(a - b))
    assert np.median(np.array(errors[5:]) / distances[5:]) < 0.1


def test_equal_vectors_cost_nothing_but_bytes() -> None:
    x = normal(61)
    payload, _ = Lattice().encode(x, reference=x)
    np.testing.assert_array_equal(payload.decode(reference=x), x)


def test_numbers_beyond_the_lattice_are_refused() -> None:
    with pytest.raises(DataError, match="too many sides from zero"):
        Lattice(radius=1e-30).encode(np.array([0.0, 1e20], np.float32))
    with pytest.raises(DataError, match="nan at index 1"):
        Lattice(rotated=True).encode(np.array([0.0, np.nan], np.float32))
