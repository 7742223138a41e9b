"""Every attack keeps the contract and equals its formula."""

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from msl.attacks import ATTACKS, Attack, DataAttack, Gaussian, LabelFlip, SignFlip
from msl.attacks import make as make_attack
from msl.errors import PlanError

SAMPLES: list[Attack | DataAttack] = [
    SignFlip(),
    SignFlip(scale=3.0),
    Gaussian(),
    Gaussian(scale=4.0),
    LabelFlip(),
    LabelFlip(shift=3),
]
on_rows = pytest.mark.parametrize("attack", [a for a in SAMPLES if isinstance(a, Attack)], ids=repr)
on_labels = pytest.mark.parametrize(
    "attack", [a for a in SAMPLES if isinstance(a, DataAttack)], ids=repr
)


def honest(n: int = 4, d: int = 2000) -> NDArray[np.float32]:
    return 2 + 5 * np.random.default_rng(1).standard_normal((n, d), np.float32)


def test_every_member_has_a_sample() -> None:
    assert {type(attack) for attack in SAMPLES} == set(ATTACKS.values())
    assert all(ATTACKS[attack.name] is type(attack) for attack in SAMPLES)


@pytest.mark.parametrize("attack", SAMPLES, ids=repr)
def test_travels(attack: Attack | DataAttack) -> None:
    assert pickle.loads(pickle.dumps(attack)) == attack


@on_rows
@pytest.mark.parametrize(("n", "corrupted"), [(1, 3), (4, 1), (4, 0)])
def test_rows_come_from_the_key(attack: Attack, n: int, corrupted: int) -> None:
    rows = honest(n)
    before = rows.copy()
    rows.flags.writeable = False
    found = attack(rows, corrupted, 7)
    assert found.shape == (corrupted, rows.shape[1])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(attack(rows, corrupted, 7), found)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_sign_flip_points_against_the_honest_mean(scale: float) -> None:
    rows = honest()
    found = SignFlip(scale)(rows, 2, 7)
    expected = -scale * rows.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found, SignFlip(scale)(rows, 2, 8))


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_gaussian_has_the_size_of_the_honest_rows(scale: float) -> None:
    rows = honest()
    found = Gaussian(scale)(rows, 2, 7)
    size = scale * np.sqrt((rows.astype(np.float64) ** 2).mean())
    # 4000 draws: the mean has deviation size / 63, the deviation size / 89.
    assert abs(found.mean()) < 5 * size / 63
    assert found.std() == pytest.approx(size, abs=5 * size / 89)
    assert abs(found[0] @ found[1]) < 0.12 * size**2 * found.shape[1]
    assert (found != Gaussian(scale)(rows, 2, 8)).all()


def test_gaussian_does_not_overflow_on_large_rows() -> None:
    rows = np.full((2, 10), 1e30, np.float32)
    assert np.isfinite(Gaussian()(rows, 3, 7)).all()


@on_labels
@pytest.mark.parametrize("classes", [2, 5, 10])
def test_labels_are_dealt_anew(attack: DataAttack, classes: int) -> None:
    y = np.arange(classes)
    found = attack.corrupt(y, classes)
    assert found.dtype == y.dtype
    # A bijection: no class is lost.
    assert sorted(found) == y.tolist()
    np.testing.assert_array_equal(y, np.arange(classes))


def test_label_flip_formulas() -> None:
    y = np.array([0, 1, 2, 3, 4, 0])
    mirrored = LabelFlip().corrupt(y, 5)
    assert mirrored.tolist() == [4, 3, 2, 1, 0, 4]
    np.testing.assert_array_equal(LabelFlip().corrupt(mirrored, 5), y)
    assert LabelFlip(shift=2).corrupt(y, 5).tolist() == [2, 3, 4, 0, 1, 2]
    back = LabelFlip(shift=-2).corrupt(LabelFlip(shift=2).corrupt(y, 5), 5)
    np.testing.assert_array_equal(back, y)


@pytest.mark.parametrize("shift", [0, 5, -10])
def test_a_shift_that_changes_nothing_is_refused(shift: int) -> None:
    with pytest.raises(PlanError, match="changes no label of 5 classes"):
        LabelFlip(shift).corrupt(np.arange(5), 5)


@pytest.mark.parametrize(
    ("name", "scale"),
    [("sign_flip", np.nan), ("sign_flip", np.inf), ("gaussian", -1.0), ("gaussian", np.nan)],
)
def test_impossible_scales_are_refused(name: str, scale: float) -> None:
    with pytest.raises(PlanError, match="scale must be finite"):
        make_attack(name, scale=scale)
