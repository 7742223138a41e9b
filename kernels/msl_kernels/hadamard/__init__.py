"""Randomised block Hadamard rotation (Suresh et al., ICML 2017; DRIVE, NeurIPS 2021).

A vector is cut into blocks of `block` numbers, the last, shorter one padded with zeros to the
next power of two, at least 8. Each block of m numbers becomes::

    y = H D x / sqrt(m)

H is the Walsh-Hadamard matrix, D a diagonal of random signs: entry i of the padded vector is
negated where bit i % 64 of word i // 64 is set, and words 2 c and 2 c + 1 are the Philox draw at
counter c. Whatever x was, the entries of y are then nearly normal. The rotation is orthogonal.

Stages run in the order h = 1, 2, 4, ..., m / 2; a stage replaces every pair (a, b) that lies h
apart by (a + b, a - b), each one float32 rounding, and float32(1 / sqrt(m)) is multiplied last.
That fixes every bit, on CPU and CUDA, however stages are grouped.
"""

from typing import Any

import numpy as np

from msl_kernels.hadamard import cpu
from msl_kernels.parallel import spread
from msl_kernels.philox import split

__all__ = ["padded_size", "rotate", "unrotate"]


def padded_size(n: int, block: int) -> int:
    """Return the numbers of n rotated ones.

    Examples
    --------
    >>> padded_size(10_000, 4096), padded_size(8195, 4096), padded_size(8192, 4096)
    (10240, 8200, 8192)
    """
    rest = n % block
    return n - rest + (max(8, 1 << (rest - 1).bit_length()) if rest else 0)


def rotate(x: Any, key: int, block: int = 4096, out: Any = None) -> Any:
    """Return H D x / sqrt(m), block by block, on the device where x lies.

    Parameters
    ----------
    x : array of shape (n,)
        float32, contiguous; NumPy, or anything with ``__cuda_array_interface__``.
    key : int
        64-bit key of the signs.
    block : int
        A power of two from 8 to 8192.
    out : array of shape (padded_size(n, block),), optional
        float32, to write into; may not overlap x.
    """
    if hasattr(x, "__cuda_array_interface__"):
        from msl_kernels.hadamard import cuda

        return cuda.rotate(x, key, block, out)
    y = np.empty(padded_size(len(x), block), np.float32) if out is None else out

    def run(first: int, last: int) -> None:
        words = np.empty(cpu.WORDS, np.uint64)
        cpu.rotate_blocks(x, first, last, block, *split(key), y, words)

    spread(run, -(-len(x) // block), len(x))
    return y


def unrotate(y: Any, key: int, n: int, block: int = 4096, out: Any = None) -> Any:
    """Return the n numbers whose rotation is y: D H y / sqrt(m).

    Parameters
    ----------
    y : array of shape (padded_size(n, block),)
        float32, contiguous, on either device.
    key, block
        As `rotate` had them.
    out : array of shape (n,), optional
        float32, to write into; may not overlap y.
    """
    if hasattr(y, "__cuda_array_interface__"):
        from msl_kernels.hadamard import cuda

        return cuda.unrotate(y, key, n, block, out)
    x = np.empty(n, np.float32) if out is None else out

    def run(first: int, last: int) -> None:
        scratch = np.empty(cpu.WORDS, np.uint64), np.empty(block, np.float32)
        cpu.unrotate_blocks(y, first, last, block, *split(key), x, *scratch)

    spread(run, -(-n // block), n)
    return x
