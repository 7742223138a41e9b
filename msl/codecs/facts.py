"""What a user wants to know of a codec before choosing it."""

from msl.codecs.base import Codec

__all__ = ["facts"]

SIZE = 1_000_000


def facts(codec: type[Codec]) -> tuple[str, str]:
    """Return bits per coordinate of a million numbers with default arguments, and its use."""
    try:
        made = codec()
    except TypeError:
        return "", "as the wrapped codec"
    nbytes = made.nbytes(SIZE)
    return ("varies" if nbytes is None else f"{8 * nbytes / SIZE:.2f} bits"), made.use
