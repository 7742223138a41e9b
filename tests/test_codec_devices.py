"""A vector on a device is encoded there, to the same bytes; a payload is decoded where asked."""

from typing import Any

import numpy as np
import pytest
from codec_samples import SAMPLES, encode, normal
from numba import config, cuda

from msl.codecs import (
    Codec,
    Drive,
    Eden,
    ErrorFeedback,
    MaxMin,
    OneBit,
    Qsgd,
    Sign,
    TopK,
)
from msl.codecs.device import is_on_device, to_host
from msl.errors import DataError

ON_DEVICE: list[Codec] = [
    MaxMin(bits=4, bucket=64),
    MaxMin(bits=3, bucket=64, rounding="stochastic"),
    Qsgd(bits=4, bucket=64),
    Sign(),
    OneBit(bucket=64),
    TopK(0.1),
    Drive(block=64),
    Eden(bits=4, block=64),
]
gpu = pytest.mark.skipif(
    config.ENABLE_CUDASIM or not cuda.is_available(), reason="needs a real CUDA device"
)
simulated = pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="a device may be there")


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let arrays of the simulator say, as real ones do, that they lie on a device."""
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    def interface(array: Any) -> dict[str, Any]:
        return {"typestr": array.dtype.str, "strides": None, "shape": array.shape}

    name = "__cuda_array_interface__"
    monkeypatch.setattr(FakeCUDAArray, name, property(interface), raising=False)
    monkeypatch.setattr(cuda, "as_cuda_array", lambda array: array, raising=False)


def check(codec: Codec, size: int) -> None:
    x = normal(size)
    there = cuda.to_device(x)
    assert is_on_device(there)
    payload = encode_there(codec, there)
    assert payload.to_bytes() == encode(codec, x).to_bytes()
    assert all(isinstance(buffer, np.ndarray) for buffer in payload.buffers)
    out = cuda.to_device(np.full(size, np.nan, np.float32))
    payload.decode(out=out)
    np.testing.assert_array_equal(to_host(out), payload.decode())


def encode_there(codec: Codec, there: Any) -> Any:
    return codec.encode(there, codec.init(there.shape[0]), key=11)[0]


@simulated
@pytest.mark.usefixtures("marked")
@pytest.mark.parametrize("codec", ON_DEVICE, ids=repr)
def test_encoding_on_the_simulator(codec: Codec) -> None:
    check(codec, 150)


@simulated
@pytest.mark.usefixtures("marked")
@pytest.mark.parametrize("codec", [ErrorFeedback(Sign()), SAMPLES[1]], ids=repr)
def test_codecs_without_a_kernel_take_a_copy(codec: Codec) -> None:
    x = normal(61)
    assert encode_there(codec, cuda.to_device(x)).to_bytes() == encode(codec, x).to_bytes()


@simulated
@pytest.mark.usefixtures("marked")
def test_a_bad_number_on_a_device_is_named() -> None:
    x = normal(61)
    x[7] = np.nan
    with pytest.raises(DataError, match="nan at index 7"):
        MaxMin(bucket=64).encode(cuda.to_device(x))


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("codec", ON_DEVICE, ids=repr)
def test_encoding_on_a_device(codec: Codec) -> None:
    check(codec, 1_000_003)
    torch = pytest.importorskip("torch")
    x = normal(5000)
    there = torch.from_numpy(x).cuda()
    assert encode_there(codec, there).to_bytes() == encode(codec, x).to_bytes()
