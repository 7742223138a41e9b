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
from msl_kernels.order import cuda as order_cuda
from msl_kernels.quantize import cuda as quantize_cuda

ROOT = Path(__file__).resolve().parents[2]
KEY = 0x0123456789ABCDEF
CASES = [(n, bits, key) for n in (1, 9, 150) for bits in (2, 3, 4, 8) for key in (None, KEY)]
# Two blocks to decode. A value of 3 bits lies across bytes, one of 8 fills one.
CASES += [(600, 3, KEY), (600, 8, None)]

simulated = pytest.mark.skipif(
    not config.ENABLE_CUDASIM, reason="numba's CUDA simulator is off: a device may be there"
)


def _device_is_there():
    return not config.ENABLE_CUDASIM and cuda.is_available()


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


# Arrays of the simulator do not say that they lie on a device: there, past the public door.
QUANTIZE, DEQUANTIZE, TRIMMED_MEAN = (
    (quantize_cuda.quantize, quantize_cuda.dequantize, order_cuda.trimmed_mean)
    if config.ENABLE_CUDASIM
    else (quantize.quantize, quantize.dequantize, order.trimmed_mean)
)


def same_quantiser(n, bits, bucket, key):
    x = normal(n)
    meta, packed, _ = quantize.quantize(x, bits, bucket, key)
    # A used buffer: every byte must be written.
    used = cuda.to_device(np.full(len(packed), 255, np.uint8))
    its_meta, its_packed, bad = QUANTIZE(cuda.to_device(x), bits, bucket, key, None, used)
    assert bad == -1
    assert_array_equal(its_meta.copy_to_host(), meta)
    assert_array_equal(its_packed.copy_to_host(), packed)
    decoded = DEQUANTIZE(its_meta, its_packed, n, bits, bucket, None, False)
    expected = quantize.dequantize(meta, packed, n, bits, bucket)
    assert_array_equal(decoded.copy_to_host(), expected)
    DEQUANTIZE(its_meta, its_packed, n, bits, bucket, decoded, True)
    assert_array_equal(decoded.copy_to_host(), expected + expected)


def same_order(n, d):
    rows = normal(n, d)
    on_device = cuda.to_device(rows)
    for f in (1, (n - 1) // 2):
        trimmed = TRIMMED_MEAN(on_device, f, None).copy_to_host()
        assert_array_equal(trimmed, order.trimmed_mean(rows, f))


def same_first_bad():
    x = normal(300)
    x[[200, 290]] = np.nan
    assert QUANTIZE(cuda.to_device(x), 4, 64, None, None, None)[2] == 200


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
from importlib import import_module
import numba.cuda
from numba import boolean, float32, float64, int32, int64, uint8, uint32, uint64, void

# Kernels that call device functions ask the current device for its capability.
device = types.SimpleNamespace(compute_capability=(9, 0))
numba.cuda.dispatcher.get_current_device = lambda: device
numbers, pairs, octets = float32[::1], float32[:, ::1], uint8[::1]
indices, counts, longs, real = uint32[::1], int64[::1], int64[:, ::1], float64
ints, table, words, reals = int32[::1], int32[:, ::1], uint64[::1], float64[::1]
flag, word, size = boolean, uint64, int64
cube, doubles = float64[:, :, ::1], float64[:, ::1]
KERNELS = {
    "quantize.cuda": {
        "quantize_kernel": (numbers, size, size, flag, word, word, pairs, octets, counts),
        "dequantize_kernel": (pairs, octets, size, size, numbers, flag),
    },
    "qsgd.cuda": {
        "quantize_kernel": (numbers, size, size, flag, word, word, numbers, octets, counts),
        "dequantize_kernel": (numbers, octets, size, size, numbers, flag),
    },
    "pairs.cuda": {
        "pair_sums_kernel": (pairs, numbers, flag, size, cube),
        "add_chunks_kernel": (cube, doubles),
        "combine_kernel": (doubles, pairs, pairs),
    },
    "order.cuda": {"trimmed_mean_kernel": (pairs, size, numbers)},
    "order.cuda_meamed": {"meamed_kernel": (pairs, size, numbers)},
    "order.cuda_weighted": {
        "weighted_median_kernel": (pairs, counts, real, numbers),
        "weighted_trimmed_mean_kernel": (pairs, counts, real, real, numbers),
    },
    "hadamard.cuda": {
        "rotate_kernel": (numbers, size, word, word, numbers),
        "unrotate_kernel": (numbers, size, word, word, numbers),
    },
    "lloyd_max.cuda": {
        "encode_kernel": (
            numbers, size, size, size, word, word, flag, numbers, reals, numbers, octets, counts,
        ),
        "decode_kernel": (
            numbers, octets, size, size, size, word, word, numbers, numbers, flag,
        ),
    },
    "lattice.cuda": {
        "encode_kernel": (numbers, real, size, word, word, octets, words, counts),
        "decode_kernel": (octets, numbers, real, real, size, word, word, numbers, words),
        "quantised_kernel": (numbers, real, real, word, word, numbers),
    },
    "sparse.cuda": {
        "histogram_kernel": (numbers, size, size, size, counts),
        "count_kernel": (numbers, int32, table, counts),
        "keep_kernel": (numbers, int32, size, longs, indices, numbers),
        "buckets_kernel": (numbers, size, size, indices, numbers, counts),
        "draw_kernel": (numbers, word, word, ints),
    },
    "sparse.cuda_streams": {
        "check_kernel": (indices, ints),
        "fill_kernel": (numbers,),
        "scatter_kernel": (indices, numbers, numbers, flag),
        "lonely_kernel": (indices, indices, table),
        "spread_kernel": (indices, numbers, indices, longs, counts, indices, numbers),
        "merge_kernel": (indices, numbers, indices, numbers, counts, indices, numbers),
    },
    "signs.cuda": {
        "sum_kernel": (numbers, numbers, flag, reals, counts),
        "signs_kernel": (numbers, octets),
        "feed_kernel": (numbers, numbers, float32, octets),
        "means_kernel": (numbers, size, pairs, octets, counts),
        "decode_kernel": (pairs, octets, size, numbers, flag),
    },
}
for name, kernels in KERNELS.items():
    module = import_module("msl_kernels." + name)
    jitted = {k for k in vars(module) if k.endswith("_kernel")}
    assert jitted == set(kernels), (name, jitted ^ set(kernels))
    for kernel, signature in kernels.items():
        ptx, _ = numba.cuda.compile(
            getattr(module, kernel).py_func, void(*signature), cc=(9, 0), device=False,
            abi="numba", output="ptx",
        )
        assert ".target sm_90" in ptx, kernel
        assert "fma.rn.f32" not in ptx, kernel
        print(name, kernel)
"""


def test_kernels_compile_to_ptx_without_fused_rounding():
    nvidia = find_spec("nvidia")
    folders = nvidia.submodule_search_locations if nvidia else []
    if not any(list(Path(folder).rglob("libnvvm*")) for folder in folders):
        pytest.skip("nvvm is not installed: pip install -e '.[dev]'")
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    env["PYTHONPATH"] = str(ROOT / "kernels")
    done = subprocess.run([sys.executable, "-c", COMPILE], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = {f"{p.parent.name}.{p.stem}" for p in ROOT.glob("kernels/msl_kernels/*/cuda*.py")}
    assert {line.split()[0] for line in done.stdout.splitlines()} == files
