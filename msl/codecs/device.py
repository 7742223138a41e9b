"""Vectors on a GPU: encoded where they lie, so that only the payload crosses to the host."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["beside", "is_float32", "is_on_device", "to_host"]


def is_on_device(array: Any) -> bool:
    """Return whether an array lies on a CUDA device: a torch tensor, a numba or CuPy array."""
    return hasattr(array, "__cuda_array_interface__")


def is_float32(array: Any) -> bool:
    """Return whether an array on a device is float32, little-endian and contiguous."""
    interface = array.__cuda_array_interface__
    return interface["typestr"] == "<f4" and interface.get("strides") is None


def to_host(array: Any) -> NDArray[Any]:
    """Return the array on the host; a copy when it lies on a device."""
    if not is_on_device(array):
        return np.asarray(array)
    from numba import cuda

    found: NDArray[Any] = cuda.as_cuda_array(array).copy_to_host()
    return found


def beside(out: Any, array: NDArray[Any]) -> Any:
    """Return the array on the device where `out` lies, or as it is."""
    if out is None or not is_on_device(out):
        return array
    from numba import cuda

    return cuda.to_device(array)
