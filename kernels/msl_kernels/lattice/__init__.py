"""Cubic-lattice codec (Davies et al., ICLR 2021): the error follows the distance to a reference.

Sender and receiver share a side s and, from a key, a dither u_i in (-1/2, 1/2). The sender names
the nearest point of the dithered lattice by its colour alone; the receiver takes the point of
that colour nearest to its own reference::

    z_i = rint(x_i * (1 / s) - u_i)        c_i = z_i mod q        q = 2^b
    t_i = ref_i * (1 / s) - u_i            z'_i = c_i + q * rint((t_i - c_i) / q)
    x'_i = float32(s * (z'_i + u_i))

z' = z where |x_i - ref_i| <= (q - 1) s / 2; then |x'_i - x_i| <= s / 2, unbiased over keys,
mean square s^2 / 12, whatever the size of x. Beyond the bound a coordinate may be off by a
multiple of q s, which the checksum of z' betrays. Every operation is one float64 rounding in this
order, rint to even, on CPU and CUDA, so both give the same bits.

Colours of 1..8 bits are packed as `msl_kernels.quantize` packs levels, of 16 bits as uint16; the
dither is u_i = (h + 1/2) / 65536 - 1/2 with the i-th half-word h of the generator. The checksum
is sum_i w_i * m_i mod 2^64, with w_i = z_i + 0x4338 * 2^48 (the bits of 1.5 * 2^52 + z_i in
float64) and odd m_i mixed from i, mixed once more and cut to 32 bits: the order of the sum does
not matter, and a wrong vector passes with probability 2^-32.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msl_kernels.lattice import cpu
from msl_kernels.lattice.cpu import BLOCK, MULTIPLIERS
from msl_kernels.parallel import spread
from msl_kernels.philox import split
from msl_kernels.quantize import packed_nbytes

__all__ = ["decode", "encode", "quantised"]

_WORD = (1 << 64) - 1
_MIX = 0xD6E8FEB86659FD93


def fold(sums: Iterable[Any]) -> int:
    """Return the 32-bit checksum of a sum mod 2^64, given in parts."""
    total = sum(int(part) for part in sums) & _WORD
    total = (total ^ (total >> 32)) * _MIX & _WORD
    return ((total ^ (total >> 32)) * _MIX & _WORD) >> 32


def encode(x: Any, side: float, bits: int, key: int, packed: Any = None) -> tuple[Any, int, int]:
    """Encode a vector, on the device where it lies.

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous; NumPy, or anything with ``__cuda_array_interface__``.
    side : float
        s > 0. The bound y on |x_i - ref_i| asks for s >= 2 y / (2^bits - 1).
    bits : int
        1..8 or 16.
    key : int
        64-bit key of the dither, shared with the receiver and used once.
    packed : array, optional
        uint8 (packed_nbytes(n, bits),) to write into.

    Returns
    -------
    packed : array of shape (packed_nbytes(n, bits),)
        The colours.
    checksum : int
        32 bits, for comparison with what `decode` returns.
    first_bad : int
        Index of the first number that is not finite, or 2^51 sides or more away from 0, and then
        the outputs mean nothing; -1 when all is well.
    """
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.lattice import cuda

        return cuda.encode(x, side, bits, key, packed)
    n = len(x)
    if packed is None:
        packed = np.empty(packed_nbytes(n, bits), np.uint8)
    packed[(n * bits + 7) // 8 :] = 0

    def run(first: int, last: int) -> tuple[int, int]:
        how = (1.0 / side, bits, *split(key))
        total, bad = cpu.encode_blocks(x, first, last, *how, packed, *_scratch())
        return int(total), int(bad)

    results = spread(run, -(-n // BLOCK), n)
    bad = next((i for _, i in results if i >= 0), -1)
    return packed, fold(total for total, _ in results), bad


def _scratch() -> tuple[NDArray[Any], ...]:
    """Return the multipliers, and room for the colours and the random words of a block."""
    return MULTIPLIERS, np.empty(BLOCK, np.uint8), np.empty(BLOCK // 4, np.uint64)


def decode(
    packed: Any, reference: Any, side: float, n: int, bits: int, key: int, out: Any = None
) -> tuple[Any, int]:
    """Return the points of the packed colours nearest to a reference, and their checksum.

    Parameters
    ----------
    packed : array of shape (packed_nbytes(n, bits),)
        As `encode` returned it; `out` and `reference` lie on its device.
    reference : array of shape (n,) or None
        float32, within (2^bits - 1) side / 2 of the encoded vector; None for zeros.
    side, bits, key
        As given to `encode`.
    n : int
        Numbers.
    out : array of shape (n,), optional
        float32 to write into; may be the reference.

    Returns
    -------
    out : array of shape (n,)
        `quantised` of the sender's vector to the bit, when the checksums agree.
    checksum : int
        Differs from the sender's where the reference was too far away.
    """
    if hasattr(packed, "__cuda_array_interface__"):
        from msl_kernels.lattice import cuda

        return cuda.decode(packed, reference, side, n, bits, key, out)
    if out is None:
        out = np.empty(n, np.float32)
    near = np.empty(0, np.float32) if reference is None else reference

    def run(first: int, last: int) -> int:
        zeros = np.zeros(BLOCK, np.float32)
        how = (side, 1.0 / side, bits, *split(key))
        scratch = (zeros, *_scratch())
        return int(cpu.decode_blocks(packed, near, first, last, *how, out, *scratch))

    return out, fold(spread(run, -(-n // BLOCK), n))


def quantised(x: Any, side: float, key: int, out: Any = None) -> Any:
    """Return s (z + u), what every receiver within the bound decodes, to the bit.

    Parameters
    ----------
    x : array of shape (n,)
        float32, good according to `encode`.
    side, key
        As given to `encode`.
    out : array of shape (n,), optional
        float32 to write into; may be x.
    """
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.lattice import cuda

        return cuda.quantised(x, side, key, out)
    if out is None:
        out = np.empty_like(x)

    def run(first: int, last: int) -> None:
        words = np.empty(BLOCK // 4, np.uint64)
        cpu.quantised_blocks(x, first, last, side, 1.0 / side, *split(key), out, words)

    spread(run, -(-len(x) // BLOCK), len(x))
    return out
