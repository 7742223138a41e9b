"""Many sources in one call give the bits that each gives alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from msl_kernels.softmax_sgd import softmax_sgd, softmax_sgd_each


def source(draw, m, p, c, batch, epochs, weighted):
    X, y = draw.standard_normal((m, p), np.float32), draw.integers(0, max(c, 2), m)
    weight = draw.integers(1, 5, m).astype(np.float32) if weighted else None
    order = np.concatenate([draw.permutation(m) for _ in range(epochs)])
    batch = min(batch, m)
    return X, y, weight, order, batch, epochs * -(-m // batch), m - m // 3


def alone(params, task, rate, l2):
    X, y, weight, order, batch, steps, shown = task
    local, loss = softmax_sgd(
        params, X, y, order, batch=batch, steps=steps, rate=rate, weight=weight, l2=l2, shown=shown
    )
    return local - params, loss


sources = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 20), st.integers(1, 3), st.booleans()),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(sources, st.sampled_from([1, 5, 16, 33, 48]), st.integers(1, 9), st.booleans())
def test_equals_each_by_itself(kinds, p, c, penalised):
    draw = np.random.default_rng(len(kinds) + p + c)
    params = draw.standard_normal(c * (p + 1), np.float32)
    l2 = np.linspace(0, 1, p).astype(np.float32) if penalised else None
    tasks = [source(draw, m, p, c, *kind) for m, *kind in kinds]
    moved, losses, fine = softmax_sgd_each(params, tasks, rate=0.1, l2=l2)
    assert fine.all()
    for task, row, loss in zip(tasks, moved, losses, strict=True):
        wanted, told = alone(params, task, 0.1, l2)
        assert_array_equal(row, wanted)
        assert loss == told


def test_who_fails_leaves_the_others_alone():
    draw = np.random.default_rng(0)
    params = draw.standard_normal(4 * 18, np.float32)
    tasks = [source(draw, 12, 17, 4, 5, 2, False) for _ in range(5)]
    tasks[1][1][3] = 4  # no such class
    tasks[2][1][0] = -1
    tasks[3][0][:] *= np.float32(3e38) / np.abs(tasks[3][0]).max()  # diverges
    with np.errstate(all="ignore"):
        moved, losses, fine = softmax_sgd_each(params, tasks, rate=0.1)
    assert fine.tolist() == [True, False, False, False, True]
    for at in (0, 4):
        wanted, told = alone(params, tasks[at], 0.1, None)
        assert_array_equal(moved[at], wanted)
        assert losses[at] == told


def test_rows_are_read_where_they_lie():
    draw = np.random.default_rng(1)
    params = np.zeros(3 * 17, np.float32)
    tasks = [source(draw, 9, 16, 3, 4, 1, True) for _ in range(3)]
    before = [[array.copy() for array in task[:4]] for task in tasks]
    for task in tasks:
        for array in task[:4]:
            array.flags.writeable = False
    softmax_sgd_each(params, tasks, rate=0.5)
    assert not params.any()
    for task, kept in zip(tasks, before, strict=True):
        for array, old in zip(task[:4], kept, strict=True):
            assert_array_equal(array, old)
