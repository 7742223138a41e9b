"""One or more samples of every codec, and inputs that are hard in different ways."""

import numpy as np
from numpy.typing import NDArray

from msl.codecs import (
    Adaptive,
    BFloat16,
    Chain,
    Codec,
    Drive,
    Eden,
    ErrorFeedback,
    Float16,
    Identity,
    Lattice,
    LayerWise,
    MaxMin,
    Natural,
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
)

BUCKET = 16
SIZES = [0, 1, 2, 7, 8, 9, BUCKET - 1, BUCKET, BUCKET + 1, 3 * BUCKET + 5]
SAMPLES: list[Codec] = [
    Identity(),
    Float16(),
    BFloat16(),
    MaxMin(bits=2, bucket=BUCKET),
    MaxMin(bits=3, bucket=BUCKET, rounding="stochastic"),
    MaxMin(bits=4, bucket=BUCKET, rounding="stochastic"),
    MaxMin(bits=5, bucket=BUCKET),
    MaxMin(bits=8, bucket=BUCKET),
    Qsgd(bits=2, bucket=BUCKET),
    Qsgd(bits=4, bucket=BUCKET),
    Qsgd(bits=8, bucket=BUCKET, norm="l2"),
    Qsgd(bits=4, bucket=BUCKET, coding="elias"),
    Qsgd(bucket=BUCKET, norm="l2", coding="elias", levels=4),
    NuQsgd(levels=2, bucket=BUCKET),
    NuQsgd(levels=6, bucket=BUCKET),
    Natural(),
    TernGrad(),
    TernGrad(clip=None),
    Sign(),
    OneBit(bucket=BUCKET),
    TopK(0.1),
    TopK(0.25, bucket=BUCKET),
    TopK(0.1, selection="sampled"),
    RandK(0.25),
    RandK(0.25, scaled=False),
    PowerSgd(rank=1),
    Drive(block=BUCKET),
    Eden(bits=4, block=BUCKET),
    Eden(bits=2, block=64, scale="least"),
    Lattice(bits=3),
    Lattice(bits=4, rotated=True, block=BUCKET),
    ErrorFeedback(Identity()),
    ErrorFeedback(MaxMin(bits=4, bucket=BUCKET)),
    ErrorFeedback(Sign()),
    ErrorFeedback(TopK(0.1), decay=0.5),
    ErrorFeedback(PowerSgd(rank=1)),
    Rotation(MaxMin(bits=4, bucket=BUCKET), block=BUCKET),
    LayerWise(MaxMin(bits=4, bucket=BUCKET), small=8, raw=("bias*",)),
    Adaptive(MaxMin(bits=4, bucket=BUCKET), small=8, every=2, window=1),
    Chain(TopK(0.25), Qsgd(bits=4, bucket=BUCKET)),
    Chain(RandK(0.5), MaxMin(bits=4, bucket=BUCKET, rounding="stochastic")),
    PassThrough(MaxMin(bits=4, bucket=BUCKET)),
]


def normal(size: int, seed: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(size, np.float32)


def heavy(size: int, seed: int = 3) -> NDArray[np.float32]:
    draw = np.random.default_rng(seed)
    return (draw.standard_normal(size) * np.exp(1.5 * draw.standard_normal(size))).astype("f")


def spike(size: int) -> NDArray[np.float32]:
    """One number that outshines the rest, which is where uniform levels lose most."""
    x = np.full(size, 0.02, np.float32)
    x[size // 3] = 1
    return x


def encode(codec: Codec, vector: NDArray[np.float32], key: int = 11) -> Payload:
    return codec.encode(vector, codec.init(vector.size), key=key)[0]


def losses(codec: Codec, x: NDArray[np.float32], keys: int) -> NDArray[np.float64]:
    """Return |D(C(x)) - x|^2 / |x|^2 for some keys."""
    power = np.square(x, dtype=np.float64).sum()
    decoded = (encode(codec, x, key).decode() for key in range(1, keys + 1))
    return np.array([np.square(y - x, dtype=np.float64).sum() for y in decoded]) / power


def lost(codec: Codec, x: NDArray[np.float32], keys: int = 1) -> float:
    """Return the mean of `losses`."""
    return float(losses(codec, x, keys).mean())


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return a.dtype == b.dtype == np.float32 and a.tobytes() == b.tobytes()
