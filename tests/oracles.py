"""Slow, obvious versions of the kernels: what the fast ones must equal."""

import numpy as np


def philox4x32(counter, key, rounds):
    """Four 32-bit words of Philox4x32 in plain integers (Salmon et al., SC 2011)."""
    c, k = list(counter), list(key)
    for _ in range(rounds):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [
            (p1 >> 32) ^ c[1] ^ k[0],
            p1 & 0xFFFFFFFF,
            (p0 >> 32) ^ c[3] ^ k[1],
            p0 & 0xFFFFFFFF,
        ]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def dither(n, key):
    """The dithers of n numbers: half-words of one Philox call per group of 8."""
    values = []
    for group in range(-(-n // 8)):
        counter = (group & 0xFFFFFFFF, group >> 32, 0, 0)
        for word in philox4x32(counter, (key & 0xFFFFFFFF, key >> 32), 10):
            values += [word & 0xFFFF, word >> 16]
    halves = np.array(values[:n], np.float32)
    return (halves + np.float32(0.5)) * np.float32(1 / 65536)


def quantize(x, bits, bucket, key=None):
    """(unit, lo) pairs and levels, bucket by bucket, in float32."""
    x = np.asarray(x, np.float32)
    r = np.full(len(x), 0.5, np.float32) if key is None else dither(len(x), key)
    top = 2**bits - 1
    meta, levels = [], np.zeros(len(x), np.uint8)
    for start in range(0, len(x), bucket):
        part = x[start : start + bucket]
        lo, hi = part.min(), part.max()
        unit = np.float32(hi - lo) / np.float32(top)
        meta.append((unit, lo))
        if unit >= np.float32(1e-10):
            inverse = np.float32(1) / unit
            scaled = (part - lo) * inverse + r[start : start + bucket]
            levels[start : start + bucket] = np.minimum(np.floor(scaled), top)
    return np.array(meta, np.float32).reshape(-1, 2), levels


def pack(levels, bits):
    """One bit after another, lowest first; zero bytes up to a multiple of 8."""
    stream = [(int(level) >> b) & 1 for level in levels for b in range(bits)]
    packed = np.packbits(np.array(stream, np.uint8), bitorder="little")
    return np.concatenate([packed, np.zeros(-len(packed) % 8, np.uint8)])


def dequantize(meta, levels, bucket):
    """lo + unit * level in float32."""
    unit, lo = np.repeat(meta, bucket, axis=0)[: len(levels)].T
    return lo + unit * levels.astype(np.float32)


def middle(rows, first, last):
    """Mean of the ranks first..last-1 of each column: from +0.0 upwards in float32, divided."""
    kept = np.sort(rows, axis=0)[first:last]
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.zeros(rows.shape[1], np.float32)
        for row in kept:
            total = total + row
        return total / np.float32(len(kept))


def median(rows):
    """The middle rank, or the mean of the two middle ranks."""
    return middle(rows, (len(rows) - 1) // 2, len(rows) // 2 + 1)


def trimmed_mean(rows, f):
    """The mean without the f smallest and the f largest."""
    return middle(rows, f, len(rows) - f)
