"""Sums over pairs of rows on the CPU, through tiles of them that stay in cache.

A tile of every row is copied side by side (centred on the way); then 4 x 4 pairs at a time are
summed in registers. float32 sums end with the tile; tiles are added in float64 within a chunk of
columns, then the chunks in their order, so the number of threads changes no bit. Where a float32
sum of a tile over- or underflowed, that pair is summed again in float64.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from msl_kernels.pairs.lanes import GROUP, LANES, TILE, block, dot, fma, mix
from msl_kernels.parallel import spread
from msl_kernels.simd import prefer_wide

__all__ = ["combine", "gram", "squared_distances"]

BAND = 128
"""Rows of a tile that stay in the second cache (512 KiB) while all others pass."""
SPAN = 4096
"""Columns whose float64 sums stay in the first cache; longer runs suit the prefetcher."""
_OUTPUTS = 8
"""Combinations in registers at once: 8 x 16 columns in float64 take half of the registers."""
_PITCH = TILE + LANES
"""From row to row of a tile that is read column by column; by TILE they would share one set."""
_MAGNITUDE = np.int32(0x7FFFFFFF)
_PRODUCTS, _DIFFERENCES = (0,), ()
_NO_CENTRE = np.empty(0, np.float32)


@njit(nogil=True, inline="never")
def _pack(rows, centre, start, stop, tile, pitch):  # type: ignore[no-untyped-def]
    """Copy columns start..stop-1 of row i, less the centre, to pitch * i; zeros up to TILE."""
    prefer_wide()
    width = stop - start
    for i in range(len(rows)):
        x, to = rows[i, start:stop], tile[i * pitch : i * pitch + TILE]
        if len(centre):
            c = centre[start:stop]
            for k in range(width):
                to[k] = x[k] - c[k]
        else:
            for k in range(width):
                to[k] = x[k]
        to[width:] = np.float32(0.0)


@njit(nogil=True, inline="never")
def _exact(rows, centre, i, j, start, stop, x, y, of):  # type: ignore[no-untyped-def]
    """Return the sum of one pair over a tile in float64, where nothing over- or underflows."""
    prefer_wide()
    a, b = rows[i, start:stop], rows[j, start:stop]
    x[stop - start :] = 0.0
    if not len(of):
        for k in range(stop - start):
            x[k] = np.float64(a[k]) - np.float64(b[k])
        return dot(x, x)
    y[stop - start :] = 0.0
    for k in range(stop - start):
        c = np.float64(centre[start + k]) if len(centre) else 0.0
        x[k] = np.float64(a[k]) - c
        y[k] = np.float64(b[k]) - c
    return dot(x, y)


@njit(nogil=True, inline="never")
def _nothing(a, b, of):  # type: ignore[no-untyped-def]
    """Return whether all products (differences) of two rows, given as bits, are zero."""
    prefer_wide()
    found = np.int32(0)
    for k in range(TILE):
        found |= min(a[k] & _MAGNITUDE, b[k] & _MAGNITUDE) if len(of) else a[k] ^ b[k]
    return found == 0


@njit(nogil=True, inline="never")
def _again(bad, rows, centre, i, j, start, stop, tile, totals, at, of):  # type: ignore[no-untyped-def]
    """Add the sums a block left out."""
    bits, x, y = tile.view(np.int32), np.empty(TILE), np.empty(TILE)
    for lane in range(LANES):
        if bad >> lane & 1:
            p, q = i + lane // GROUP, j + lane % GROUP
            # Copies of one row, and parameters that nobody moves, are common.
            if _nothing(bits[p * TILE :], bits[q * TILE :], of):
                continue
            totals[at + lane] += _exact(rows, centre, p, q, start, stop, x, y, of)


@njit(nogil=True, cache=True)
def _sums(rows, centre, first, last, tile, totals, group, of):  # type: ignore[no-untyped-def]
    """Add the blocks of columns first..last-1 to totals; the tile ends in rows of zeros."""
    n = len(tile) // TILE
    edge = 0
    for lane in range(LANES):
        if n - GROUP + lane % GROUP < len(rows):
            edge |= 1 << lane
    for start in range(first, last, TILE):
        stop = min(start + TILE, last)
        _pack(rows, centre, start, stop, tile, TILE)
        at = 0
        for band in range(0, n, BAND):
            end = min(band + BAND, n)
            for i in range(0, end, GROUP):
                for j in range(max(band, i), end, GROUP):
                    if i == j:
                        bad = block(tile, i, j, totals, at, group, (), of)
                    else:
                        bad = block(tile, i, j, totals, at, group, group, of)
                    if j == n - GROUP:
                        bad &= edge
                    if bad:
                        _again(bad, rows, centre, i, j, start, stop, tile, totals, at, of)
                    at += LANES


def _blocks(groups: int) -> NDArray[np.intp]:
    """Return the groups of rows and columns of every block, in the order of `_sums`."""
    order = [
        (i, j)
        for band in range(0, groups, BAND // GROUP)
        for i in range(min(band + BAND // GROUP, groups))
        for j in range(max(band, i), min(band + BAND // GROUP, groups))
    ]
    return np.array(order).T


def _aligned(size: int) -> NDArray[np.float32]:
    """Return zeros that begin with a cache line: a load that crosses two counts twice."""
    raw = np.zeros(size + LANES, np.float32)
    skip = -(raw.ctypes.data // raw.itemsize) % LANES
    return raw[skip : skip + size]


def _pairs(
    rows: NDArray[np.float32], centre: NDArray[np.float32], of: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the (n, n) sums of all pairs."""
    n, d = rows.shape
    # The sums of the chunks take a 16th of the memory of the rows at most.
    step = TILE * max(4, n // 32)
    groups = -(-n // GROUP)
    size = groups * (groups + 1) // 2 * LANES

    def run(first: int, last: int) -> NDArray[np.float64]:
        totals = np.zeros((last - first, size))
        tile = _aligned(groups * GROUP * TILE)
        for chunk in range(first, last):
            ends = chunk * step, min((chunk + 1) * step, d)
            _sums(rows, centre, *ends, tile, totals[chunk - first], (0,) * GROUP, of)
        return totals

    total = np.zeros(size)
    for part in spread(run, -(-d // step), rows.size):
        for totals in part:
            total += totals
    i, j = _blocks(groups)
    found = np.zeros((groups, GROUP, groups, GROUP))
    found[i, :, j, :] = total.reshape(-1, GROUP, GROUP)
    upper = np.triu(found.reshape(groups * GROUP, -1)[:n, :n])
    return upper + np.triu(upper, 1).T


def squared_distances(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return |x_i - x_j|^2; see `msl_kernels.pairs.squared_distances`."""
    return _pairs(rows, _NO_CENTRE, _DIFFERENCES)


def gram(rows: NDArray[np.float32], centre: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """Return the inner products; see `msl_kernels.pairs.gram`."""
    return _pairs(rows, _NO_CENTRE if centre is None else centre, _PRODUCTS)


@njit(nogil=True, inline="never")
def _add_four(shares, x0, x1, x2, x3, total):  # type: ignore[no-untyped-def]
    """Add four weighted rows, one after the other."""
    prefer_wide()
    s0, s1, s2, s3 = shares[0], shares[1], shares[2], shares[3]
    for c in range(len(total)):
        t = fma(s0, np.float64(x0[c]), total[c])
        t = fma(s1, np.float64(x1[c]), t)
        t = fma(s2, np.float64(x2[c]), t)
        total[c] = fma(s3, np.float64(x3[c]), t)


@njit(nogil=True, inline="never")
def _add_one(share, x, total):  # type: ignore[no-untyped-def]
    """Add a weighted row."""
    prefer_wide()
    for c in range(len(total)):
        total[c] = fma(share, np.float64(x[c]), total[c])


@njit(nogil=True, inline="never")
def _round(total, out):  # type: ignore[no-untyped-def]
    """Round to float32."""
    prefer_wide()
    for c in range(len(out)):
        out[c] = np.float32(total[c])


@njit(nogil=True, cache=True)
def _combine_one(shares, rows, first, last, out):  # type: ignore[no-untyped-def]
    """Write columns first..last-1 of one combination; its sums stay in the first cache."""
    n = len(rows)
    sums = np.empty(SPAN)
    for start in range(first, last, SPAN):
        stop = min(start + SPAN, last)
        total = sums[: stop - start]
        total[:] = 0.0
        for i in range(0, n - 3, 4):
            x0, x1 = rows[i, start:stop], rows[i + 1, start:stop]
            x2, x3 = rows[i + 2, start:stop], rows[i + 3, start:stop]
            _add_four(shares[i : i + 4], x0, x1, x2, x3, total)
        for i in range(n // 4 * 4, n):
            _add_one(shares[i], rows[i, start:stop], total)
        _round(total, out[start:stop])


@njit(nogil=True, cache=True)
def _combine_many(shares, k, rows, first, last, tile, out, outputs, rest):  # type: ignore[no-untyped-def]
    """Write columns first..last-1 of k combinations to out (k, d), flat.

    `shares` holds groups of len(outputs) combinations, row after row; `rest` stands for the last,
    smaller group.
    """
    n, d = rows.shape
    spare = np.empty(len(outputs) * LANES, np.float32)
    none = np.empty(0, np.float32)
    for start in range(first, last, TILE):
        stop = min(start + TILE, last)
        _pack(rows, none, start, stop, tile, _PITCH)
        for column in range(start, stop, LANES):
            at, width = column - start, min(LANES, stop - column)
            for j in range(0, k, len(outputs)):
                to, place, step = (out, j * d + column, d) if width == LANES else (spare, 0, LANES)
                if j + len(outputs) <= k:
                    mix(tile, at, _PITCH, shares, j * n, n, to, place, step, outputs)
                else:
                    mix(tile, at, _PITCH, shares, j * n, n, to, place, step, rest)
                if width < LANES:
                    for i in range(min(len(outputs), k - j)):
                        for c in range(width):
                            out[(j + i) * d + column + c] = spare[i * LANES + c]


def combine(
    shares: NDArray[np.float64], rows: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Write the combinations; see `msl_kernels.pairs.combine`."""
    k = 1 if shares.ndim == 1 else len(shares)
    if k == 1:
        one, flat = shares.reshape(-1), out.reshape(-1)
        spread(lambda a, b: _combine_one(one, rows, a, b, flat), rows.shape[1], rows.size)
        return
    groups = [shares[i : i + _OUTPUTS].T.ravel() for i in range(0, k, _OUTPUTS)]
    packed = np.concatenate([*groups, np.empty(0)])
    outputs, rest = (0,) * _OUTPUTS, (0,) * (k % _OUTPUTS)

    def run(first: int, last: int) -> None:
        tile = _aligned(len(rows) * _PITCH)
        _combine_many(packed, k, rows, first, last, tile, out.reshape(-1), outputs, rest)

    spread(run, rows.shape[1], rows.size + out.size)
