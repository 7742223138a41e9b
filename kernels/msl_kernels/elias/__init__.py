"""Elias-omega codes of signed levels (Elias, 1975), as QSGD and NUQSGD send them; CPU only.

The code of k >= 1 ends in a 0; before it, while k > 1, stands k in binary, and k becomes its
length in bits less one. Levels are coded in pieces of 2^16 coordinates, in one of two layouts:

- dense: per coordinate omega(|level| + 1), and a sign bit unless the level is 0;
- gap: omega(m + 1) with the m non-zeros of the piece, then per non-zero omega(gap), its sign bit
  and omega(|level|); a gap counts from the non-zero before, the first from just before the piece.

A sign bit is 1 for a negative level. Bits fill 64-bit words from the highest to the lowest;
pieces follow one another without a gap, the last word ends in zeros.
"""

from msl_kernels.elias.codes import PIECE, lengths, n_pieces
from msl_kernels.elias.decode import decode
from msl_kernels.elias.encode import bits_of, encode

__all__ = ["PIECE", "bits_of", "decode", "encode", "lengths", "n_pieces"]
