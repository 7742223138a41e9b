"""Slow, obvious versions of the kernels: what the fast ones must equal."""

from fractions import Fraction

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
    """The dithers of n numbers: half-words of one Philox call of 7 rounds per group of 8."""
    values = []
    for group in range(-(-n // 8)):
        counter = (group & 0xFFFFFFFF, group >> 32, 0, 0)
        for word in philox4x32(counter, (key & 0xFFFFFFFF, key >> 32), 7):
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


def lattice_points(x, side, key):
    """The lattice points z as integers and their dithers u, in float64."""
    u = dither(len(x), key).astype(np.float64) - 0.5
    return np.rint(np.float64(x) * (1 / side) - u).astype(np.int64), u


def lattice_checksum(z):
    """The sum of z_i + 0x4338 * 2^48 times odd multipliers mod 2^64, mixed, cut to 32 bits."""
    word = 2**64 - 1

    def odd(i):
        h = i * 0x9E3779B97F4A7C15 & word
        h = (h ^ (h >> 32)) * 0xBF58476D1CE4E5B9 & word
        return (h ^ (h >> 29)) | 1

    places = [odd(i % 1024) * odd(1024 + i // 1024) for i in range(len(z))]
    total = sum((int(v) + (0x4338 << 48)) * m for v, m in zip(z, places, strict=True)) & word
    for _ in range(2):
        total = (total ^ (total >> 32)) * 0xD6E8FEB86659FD93 & word
    return total >> 32


def lattice_encode(x, side, bits, key):
    """Colours z mod q and the checksum of z."""
    z, _ = lattice_points(x, side, key)
    return z % 2**bits, lattice_checksum(z)


def lattice_decode(colours, reference, side, bits, key):
    """The point of each colour nearest to the reference, and the checksum of the points."""
    u = dither(len(colours), key).astype(np.float64) - 0.5
    t = np.float64(reference) * (1 / side) - u
    z = colours + 2**bits * np.rint((t - colours) / 2**bits).astype(np.int64)
    return np.float32(side * (z + u)), lattice_checksum(z)


def omega(k):
    """The Elias-omega code of k >= 1 as a string of bits."""
    code = "0"
    while k > 1:
        code = f"{k:b}" + code
        k = k.bit_length() - 1
    return code


def elias_encode(levels, layout, piece=1 << 16):
    """The pieces of a stream as strings of bits."""
    pieces = []
    for start in range(0, len(levels), piece):
        part = [int(level) for level in levels[start : start + piece]]
        if layout == "dense":
            codes = [omega(abs(v) + 1) + ("" if v == 0 else "01"[v < 0]) for v in part]
        else:
            at = [i for i, v in enumerate(part) if v]
            codes = [omega(len(at) + 1)]
            for before, i in zip([-1, *at], at, strict=False):
                codes += [omega(i - before), "01"[part[i] < 0], omega(abs(part[i]))]
        pieces.append("".join(codes))
    return pieces


def words_of(bits):
    """A string of bits as 64-bit words, from the highest bit to the lowest."""
    bits += "0" * (-len(bits) % 64)
    return np.array([int(bits[i : i + 64], 2) for i in range(0, len(bits), 64)], np.uint64)


def top(x, k):
    """Ascending indices of the k largest magnitudes, of equal ones the first."""
    order = np.lexsort((np.arange(len(x)), -np.abs(x)))
    return np.sort(order[:k])


def top_in_buckets(x, k, bucket):
    """`top` of one bucket after another."""
    starts = range(0, len(x), bucket)
    parts = [start + top(x[start : start + bucket], k) for start in starts]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def draws(n, count, key):
    """Indices below n drawn with replacement: the upper half of a 64-bit word times n."""
    words = []
    for index in range(-(-count // 2)):
        w = philox4x32((index & 0xFFFFFFFF, index >> 32, 0, 0), (key & 0xFFFFFFFF, key >> 32), 10)
        words += [w[0] | w[1] << 32, w[2] | w[3] << 32]
    return [word * n >> 64 for word in words[:count]]


def merge_streams(ia, va, ib, vb):
    """The union of two streams, summed in float32."""
    first, second = (dict(zip(i.tolist(), v, strict=True)) for i, v in ((ia, va), (ib, vb)))
    indices = sorted(first.keys() | second.keys())
    values = [
        first[i] + second[i] if i in first and i in second else first.get(i, second.get(i))
        for i in indices
    ]
    return np.array(indices, np.uint32), np.array(values, np.float32)


def sum_in_lanes(values, chunk):
    """Float64 sum: 64 strided lanes per chunk, halved until one is left, chunk after chunk."""
    total = 0.0
    for start in range(0, len(values), chunk):
        lanes = [0.0] * 64
        for i, value in enumerate(values[start : start + chunk].tolist()):
            lanes[i % 64] += value
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [a + b for a, b in zip(lanes[:half], lanes[half:], strict=True)]
        total += lanes[0]
    return total


def scaled_signs(x):
    """Bits, set where negative, and the mean magnitude in chunks of 4096."""
    scale = sum_in_lanes(np.abs(x), 4096) / len(x) if len(x) else 0.0
    return (x < 0).astype(np.uint8), np.float32(scale)


def side_means(x, bucket):
    """Bits, and the means of the negative and of the other numbers of every bucket."""
    means = np.zeros((-(-len(x) // bucket), 2), np.float32)
    for b in range(len(means)):
        part = x[b * bucket : (b + 1) * bucket]
        for column, side in enumerate((part < 0, part >= 0)):
            if side.any():
                total = sum_in_lanes(np.where(side, part, np.float32(0)), bucket)
                means[b, column] = np.float32(total / side.sum())
    return (x < 0).astype(np.uint8), means


def hadamard_blocks(n, block):
    """(start, length) of the blocks of n numbers, the last padded to a power of two >= 8."""
    for start in range(0, n, block):
        length = 8
        while length < min(block, n - start):
            length *= 2
        yield start, length


def hadamard_signs(n, key):
    """+1 or -1 for each of n numbers: bit after bit of the Philox words."""
    bits = []
    for counter in range(-(-n // 128)):
        for word in philox4x32((counter, 0, 0, 0), (key & 0xFFFFFFFF, key >> 32), 10):
            bits += [(word >> i) & 1 for i in range(32)]
    return np.float32(1) - np.float32(2) * np.array(bits[:n], np.float32)


def hadamard(v):
    """H v / sqrt(m): every pair h apart becomes sum and difference, for h = 1, 2, 4, ..."""
    m, h = len(v), 1
    while h < m:
        pairs = v.reshape(-1, 2, h)
        a, b = pairs[:, 0], pairs[:, 1]
        v = np.stack([a + b, a - b], axis=1).ravel()
        h *= 2
    return v * np.float32(1 / np.sqrt(m))


def rotate(x, key, block):
    """H D x / sqrt(m), block by block."""
    blocks = list(hadamard_blocks(len(x), block))
    size = sum(length for _, length in blocks)
    padded = np.concatenate([x, np.zeros(size - len(x), np.float32)])
    padded = padded * hadamard_signs(size, key)
    parts = [hadamard(padded[start : start + length]) for start, length in blocks]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def unrotate(y, key, n, block):
    """D H y / sqrt(m), block by block."""
    parts = [hadamard(y[start : start + m]) for start, m in hadamard_blocks(n, block)]
    rotated = np.concatenate([np.zeros(0, np.float32), *parts])
    return (rotated * hadamard_signs(len(y), key))[:n]


def lloyd_max(bits):
    """Positive centroids of N(0, 1): means between midpoints, midpoints between means."""
    from math import erfc, exp, pi, sqrt

    half = 2 ** (bits - 1)
    c = [2.5 * (k + 0.5) / half for k in range(half)]
    for _ in range(2000):
        edges = [0.0, *[(c[k] + c[k + 1]) / 2 for k in range(half - 1)], np.inf]
        density = [exp(-e * e / 2) * sqrt(2 / pi) for e in edges]
        above = [erfc(e / sqrt(2)) for e in edges]
        c = [(density[k] - density[k + 1]) / (above[k] - above[k + 1]) for k in range(half)]
    return np.array(c)


def strided_sum(products):
    """64 strided sums (fewer for fewer numbers), then the upper half onto the lower."""
    rows = products.reshape(-1, min(len(products), 64))
    sums = np.zeros(rows.shape[1], products.dtype)
    for row in rows:
        sums = sums + row
    while len(sums) > 1:
        half = len(sums) // 2
        sums = sums[:half] + sums[half:]
    return sums[0]


def lloyd_max_encode(x, bits, key, block, unbiased, centroids):
    """A scale per block, and a field per rotated number: index of |c|, sign in the top bit."""
    y = rotate(x, key, block)
    scales, fields = [], np.zeros(len(y), np.uint8)
    for start, m in hadamard_blocks(len(x), block):
        part = y[start : start + m]
        norm2 = strided_sum(part.astype(np.float64) ** 2)
        if norm2 == 0:
            scales.append(0)
            continue
        midpoints = (centroids[:-1] + centroids[1:]) / 2
        edges = (midpoints * np.sqrt(norm2 / m)).astype(np.float32)
        index = sum((np.abs(part) > edge for edge in edges), np.zeros(m, np.uint8))
        fields[start : start + m] = index + np.signbit(part) * 2 ** (bits - 1)
        c = np.copysign(centroids.astype(np.float32)[index], part)
        along, squares = np.float64(strided_sum(c * part)), np.float64(strided_sum(c * c))
        scales.append(norm2 / along if unbiased else along / squares)
    return np.array(scales, np.float64).astype(np.float32), fields


def lloyd_max_decode(scales, fields, n, bits, key, block, centroids):
    """Scale times centroid, rotated back."""
    c = centroids.astype(np.float32)[fields % 2 ** (bits - 1)]
    y = np.where(fields < 2 ** (bits - 1), c, -c)
    for scale, (start, m) in zip(scales, hadamard_blocks(n, block), strict=True):
        y[start : start + m] *= scale
    return unrotate(y, key, n, block)


def natural(x, key):
    """Exponents (biased, at most 254) and signs: up where the place between powers + r >= 1."""
    r = dither(len(x), key).astype(np.float64)
    magnitude = np.abs(x).astype(np.float64)
    exponents = np.maximum(np.frexp(magnitude)[1] - 1 + 127, 0)
    exponents[magnitude < 2.0**-126] = 0
    lower = np.where(exponents > 0, 2.0 ** (exponents - 127.0), 0)
    step = np.where(exponents > 0, lower, 2.0**-126)
    up = (magnitude - lower) / step + r >= 1
    return np.minimum(exponents + up, 254).astype(np.uint8), np.signbit(x)


def unnatural(exponents, signs):
    """+-2^(exponent - 127), 0 for exponent 0."""
    power = np.where(exponents > 0, 2.0 ** (exponents - 127.0), 0)
    return np.where(signs, -power, power).astype(np.float32)


def norm2(x):
    """The 2-norm: sums of every 32nd square in float64, added by halves, and so for the rest."""

    def total(part):
        sums = np.zeros(32)
        for row in part.reshape(-1, 32):
            sums = sums + row.astype(np.float64) ** 2
        while len(sums) > 1:
            sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
        return sums[0]

    whole = len(x) // 32 * 32
    squares = total(x[:whole])
    if whole < len(x):
        squares += total(np.append(x[whole:], np.zeros(32 - len(x) + whole, np.float32)))
    with np.errstate(over="ignore"):
        return np.float32(np.sqrt(squares))


def nonuniform(x, s, bucket, key):
    """Norms, and levels l for 2^(l - s - 1) of them (0 for 0) with their signs."""
    r = dither(len(x), key).astype(np.float64)
    norms, levels = [], np.zeros(len(x), np.uint8)
    for start in range(0, len(x), bucket):
        part = x[start : start + bucket]
        norm = norm2(part)
        norms.append(norm)
        if norm < 2.0**-100:
            continue
        share = np.abs(part) * (np.float32(1) / norm)
        lower = np.where(share < 2.0**-s, 0, np.frexp(share)[1] + s)
        edge = 2.0 ** (lower - s - 1)
        # Below the smallest level, the place between 0 and it is rounded to 23 bits.
        small = (share + np.float32(2.0**-s)).astype(np.float64) * 2**s - 1
        place = np.where(lower > 0, share / edge - 1, small)
        up = place + r[start : start + bucket] >= 1
        levels[start : start + bucket] = np.minimum(lower + up, s + 1)
    signs = np.signbit(x) & (np.repeat(norms, bucket)[: len(x)] >= 2.0**-100)
    return np.array(norms, np.float32), levels, signs


def from_nonuniform(norms, levels, signs, s, bucket):
    """+-norm * 2^(level - s - 1) in float32."""
    share = np.where(levels > 0, 2.0 ** (levels.astype(int) - s - 1.0), 0).astype(np.float32)
    return np.repeat(norms, bucket)[: len(levels)] * np.where(signs, -share, share)


def qsgd_norm(part, norm):
    """The norm of a bucket in float32; squares summed in float64 by 64 strided partial sums."""
    if norm == "linf":
        return np.abs(part).max()
    padded = np.zeros(-(-len(part) // 64) * 64)
    padded[: len(part)] = part
    sums = np.zeros(64)
    for row in padded.reshape(-1, 64):
        sums = sums + row * row
    while len(sums) > 1:
        sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
    return np.float32(np.sqrt(sums[0]))


def qsgd(x, s, bucket, norm, key):
    """Norms and signed levels, bucket by bucket, in float32."""
    x = np.asarray(x, np.float32)
    r = dither(len(x), key)
    norms, levels = [], np.zeros(len(x), np.int32)
    for start in range(0, len(x), bucket):
        part = x[start : start + bucket]
        norms.append(qsgd_norm(part, norm))
        with np.errstate(divide="ignore", over="ignore"):
            scale = np.float32(s) / norms[-1]
        if np.isfinite(scale):
            level = np.minimum(np.floor(np.abs(part) * scale + r[start : start + bucket]), s)
            levels[start : start + bucket] = np.where(part < 0, -level, level)
    return np.array(norms, np.float32), levels


def qsgd_decode(norms, levels, s, bucket):
    """Level * (norm / s) in float32."""
    return levels.astype(np.float32) * np.repeat(norms / np.float32(s), bucket)[: len(levels)]


def squared_distances(rows):
    """Sums of squared differences, pair by pair, in float64."""
    rows = np.asarray(rows, np.float64)
    return np.array([[((x - y) ** 2).sum() for y in rows] for x in rows])


def gram(rows, centre=None):
    """Inner products of rows - centre, pair by pair, in float64; and the sums of magnitudes."""
    rows = np.asarray(rows, np.float64) - (0.0 if centre is None else np.float64(centre))
    inner = np.array([[(x * y).sum() for y in rows] for x in rows])
    return inner, np.array([[np.abs(x * y).sum() for y in rows] for x in rows])


def combine(shares, rows):
    """Weighted sums, row by row: share * x + sum in fractions, rounded to float64 each time."""
    from fractions import Fraction

    found = np.zeros((len(shares), rows.shape[1]), np.float32)
    for k, weights in enumerate(shares):
        for c, column in enumerate(rows.T):
            total = 0.0
            for share, x in zip(weights, column, strict=True):
                total = float(Fraction(float(share)) * Fraction(float(x)) + Fraction(total))
            found[k, c] = np.float32(total)
    return found


def meamed(rows, f):
    """The farthest from the median goes f times: of a tie the larger, on one side the outer."""
    n = len(rows)
    outward = np.abs(2 * np.arange(n) - (n - 1))
    kept = []
    for column, centre in zip(np.sort(rows, axis=0).T, median(rows), strict=True):
        distance = np.abs(column - centre)
        nearest = np.lexsort((outward, column > centre, distance))[: n - f]
        kept.append(column[nearest])
    return middle(np.array(kept, np.float32).reshape(-1, n - f).T, 0, n - f)


def weighted_median(rows, weights):
    """With exact weights: the smallest value with more than half up to it, in the mean with the
    one that has just half up to it."""
    shares = [Fraction(float(w)) for w in weights]
    result = []
    for column in rows.T:
        upto = {v: sum(w for x, w in zip(column, shares, strict=True) if x <= v) for v in column}
        lower = min(v for v in column if 2 * upto[v] >= sum(shares))
        upper = min(v for v in column if 2 * upto[v] > sum(shares))
        result.append(float(Fraction(float(lower)) + Fraction(float(upper))) / 2)
    return np.array(result).astype(np.float32)


def weighted_trimmed_mean(rows, weights, trim):
    """With exact weights: cut them one end after the other, then the mean; trim is a Fraction."""
    result = []
    for column in rows.T:
        parts = sorted((float(x), Fraction(float(w))) for x, w in zip(column, weights, strict=True))
        total = sum(w for _, w in parts)
        for _ in range(2):
            cut, left = trim * total, []
            for x, w in parts:
                gone = min(w, cut)
                cut -= gone
                left.append((x, w - gone))
            parts = left[::-1]
        mean = sum(Fraction(x) * w for x, w in parts) / sum(w for _, w in parts)
        result.append(float(mean))
    return np.array(result).astype(np.float32)


def majority(rows, weights):
    """The sign of the sum of signs, each times its weight; and how often a row has it."""
    votes = np.sign(rows.astype(np.float64))
    won = np.sign(sum(w * vote for w, vote in zip(weights, votes, strict=True)))
    return won.astype(np.float32), (votes == won).sum(axis=1)


def softmax_sgd(params, X, y, order, batch, steps, rate, weight, l2, shown):
    """Where SGD of multinomial logistic regression ends, row by row in float64; the first loss."""
    m, p = X.shape
    c = len(params) // (p + 1)
    w = params[: c * p].reshape(c, p).astype(np.float64)
    b = params[c * p :].astype(np.float64)
    share = np.ones(m) if weight is None else weight.astype(np.float64)

    def probabilities(x):
        z = w @ x.astype(np.float64) + b
        z = np.append(0.0, z) if c == 1 else z
        e = np.exp(z - z.max())
        return e / e.sum()

    losses = [-np.log(probabilities(X[i])[y[i]]) for i in range(shown)]
    loss = np.average(losses, weights=share[:shown]) if shown else 0.0
    first = 0
    for _ in range(steps):
        rows = order[first : min(first + batch, (first // m + 1) * m)]
        first += len(rows)
        g_w, g_b = np.zeros_like(w), np.zeros_like(b)
        for i in rows:
            wrong = probabilities(X[i])
            wrong[y[i]] -= 1
            wrong = wrong[-c:] * share[i] / share[rows].sum()
            g_w += np.outer(wrong, X[i])
            g_b += wrong
        w, b = w - rate * (g_w + (0 if l2 is None else l2) * w), b - rate * g_b
    return np.append(w.ravel(), b), loss
