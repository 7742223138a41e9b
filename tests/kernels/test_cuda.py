"""CUDA kernels equal the CPU to the bit: on numba's simulator, or on a device; and as PTX."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numba import config, cuda
from numpy.testing import assert_array_equal

from msl_kernels import order, quantize

ROOT = Path(__file__).resolve().parents[2]
KEY = 0x0123456789ABCDEF
CASES = [(n, bits, key) for n in (1, 9, 600) for bits in (2, 3, 4, 8) for key in (None, KEY)]

simulated = pytest.mark.skipif(
    not config.ENABLE_CUDASIM, reason="numba's CUDA simulator is off: a device may be there"
)


def _device_is_there():
    return not config.ENABLE_CUDASIM and cuda.is_available()


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def same_quantiser(n, bits, bucket, key):
    x = normal(n)
    meta, packed, _ = quantize.quantize(x, bits, bucket, key)
    # A used buffer: every byte must be written.
    used = cuda.to_device(np.full(len(packed), 255, np.uint8))
    on_device = quantize.quantize(cuda.to_device(x), bits, bucket, key, packed=used)
    assert on_device[2] == -1
    assert_array_equal(on_device[0].copy_to_host(), meta)
    assert_array_equal(on_device[1].copy_to_host(), packed)
    decoded = quantize.dequantize(*on_device[:2], n, bits, bucket)
    expected = quantize.dequantize(meta, packed, n, bits, bucket)
    assert_array_equal(decoded.copy_to_host(), expected)
    quantize.dequantize(*on_device[:2], n, bits, bucket, decoded, add=True)
    assert_array_equal(decoded.copy_to_host(), expected + expected)


def same_order(n, d):
    rows = normal(n, d)
    on_device = cuda.to_device(rows)
    assert_array_equal(order.median(on_device).copy_to_host(), order.median(rows))
    trimmed = order.trimmed_mean(on_device, 1).copy_to_host()
    assert_array_equal(trimmed, order.trimmed_mean(rows, 1))


def same_first_bad():
    x = normal(300)
    x[[200, 290]] = np.nan
    assert quantize.quantize(cuda.to_device(x), 4, 64)[2] == 200


@simulated
@pytest.mark.parametrize(("n", "bits", "key"), CASES)
def test_quantiser_on_the_simulator(n, bits, key):
    same_quantiser(n, bits, 64, key)


@simulated
@pytest.mark.parametrize("n", [5, 6])
def test_order_on_the_simulator(n):
    same_order(n, 40)


@simulated
def test_first_bad_on_the_simulator():
    same_first_bad()


@pytest.mark.gpu
@pytest.mark.skipif(not _device_is_there(), reason="needs a real CUDA device")
@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_quantiser_on_a_device(bits, key):
    same_quantiser(1_000_003, bits, 512, key)
    same_first_bad()


@pytest.mark.gpu
@pytest.mark.skipif(not _device_is_there(), reason="needs a real CUDA device")
@pytest.mark.parametrize("n", [5, 6])
def test_order_on_a_device(n):
    same_order(n, 1_000_003)


COMPILE = """
import types
import numba.cuda
from numba import boolean, float32, int64, uint8, uint64, void
from msl_kernels.order.cuda import middle_kernel
from msl_kernels.quantize.cuda import dequantize_kernel, quantize_kernel

# Kernels that call device functions ask the current device for its capability.
device = types.SimpleNamespace(compute_capability=(9, 0))
numba.cuda.dispatcher.get_current_device = lambda: device
numbers, pairs, octets = float32[::1], float32[:, ::1], uint8[::1]
flags, word, size = boolean, uint64, int64
for kernel, signature in [
    (quantize_kernel, void(numbers, size, size, flags, word, word, pairs, octets, int64[::1])),
    (dequantize_kernel, void(pairs, octets, size, size, numbers, flags)),
    (middle_kernel, void(pairs, size, size, float32, numbers)),
]:
    ptx, _ = numba.cuda.compile(
        kernel.py_func, signature, cc=(9, 0), device=False, abi="numba", output="ptx"
    )
    assert ".target sm_90" in ptx, kernel
    assert "fma.rn.f32" not in ptx, kernel
    print(kernel.py_func.__name__)
"""


def test_kernels_compile_to_ptx_without_fused_rounding():
    if find_spec("nvidia") is None or not list(ROOT.glob(".venv/**/libnvvm.so*")):
        pytest.skip("nvvm is not installed: pip install -e '.[cuda]'")
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    env["PYTHONPATH"] = str(ROOT / "kernels")
    done = subprocess.run([sys.executable, "-c", COMPILE], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["quantize_kernel", "dequantize_kernel", "middle_kernel"]
