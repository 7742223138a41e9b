"""The bytes of today: a payload stored once must be written and read the same for ever.

A change of the format needs a new version in the header and new samples beside the old ones.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from codec_samples import SAMPLES, encode, normal

from msl.codecs import Codec, Payload, PowerSgd
from msl.parts import describe

FILE = Path(__file__).with_name("frozen_payloads.json")
FROZEN: dict[str, dict[str, str]] = json.loads(FILE.read_text()) if FILE.exists() else {}
SIZE = 61
every = pytest.mark.parametrize("codec", SAMPLES, ids=repr)


def name_of(codec: Codec) -> str:
    return json.dumps(describe(codec))


def by_blas(codec: Codec) -> bool:
    """Whether the last bits are those of a linear algebra library, which may differ elsewhere."""
    return isinstance(getattr(codec, "codec", codec), PowerSgd)


def test_every_codec_is_frozen() -> None:
    assert set(FROZEN) == {name_of(codec) for codec in SAMPLES}


@every
def test_the_bytes_are_those_of_then(codec: Codec) -> None:
    payload, then = encode(codec, normal(SIZE)), bytes.fromhex(FROZEN[name_of(codec)]["payload"])
    if by_blas(codec):
        assert payload.to_bytes()[:48] == then[:48]
    else:
        assert payload.to_bytes() == then


@every
def test_the_numbers_are_those_of_then(codec: Codec) -> None:
    frozen = FROZEN[name_of(codec)]
    decoded = Payload.from_bytes(bytes.fromhex(frozen["payload"])).decode()
    then = np.frombuffer(bytes.fromhex(frozen["decoded"]), "<f4")
    if by_blas(codec):
        np.testing.assert_allclose(decoded, then, rtol=1e-5, atol=1e-6)
    else:
        assert decoded.tobytes() == then.tobytes()


def freeze() -> None:
    """Write the file anew: python tests/test_frozen_payloads.py, for a new version only."""
    payloads = {name_of(codec): encode(codec, normal(SIZE)) for codec in SAMPLES}
    frozen = {
        name: {"payload": p.to_bytes().hex(), "decoded": p.decode().astype("<f4").tobytes().hex()}
        for name, p in payloads.items()
    }
    FILE.write_text(json.dumps(frozen, indent=1) + "\n")


if __name__ == "__main__":
    freeze()
