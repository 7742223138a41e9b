"""The obvious way to compress with NumPy or torch: what the kernels are measured against."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["WAYS"]

BUCKET = 512


def _maxmin(x: NDArray[np.float32], bits: int) -> Any:
    """Min-max levels, packed two to a byte at 4 bits."""
    rows = torch.from_numpy(x[: x.size // BUCKET * BUCKET]).view(-1, BUCKET)
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    unit = (high - low) / (2**bits - 1)
    level = torch.floor((rows - low) / unit + torch.rand_like(rows)).to(torch.uint8)
    return level[:, ::2] | (level[:, 1::2] << 4) if bits == 4 else level


def _qsgd(x: NDArray[np.float32], bits: int) -> Any:
    """Signed stochastic levels of the largest magnitude."""
    rows = torch.from_numpy(x[: x.size // BUCKET * BUCKET]).view(-1, BUCKET)
    s = 2 ** (bits - 1) - 1
    norm = rows.abs().amax(1, keepdim=True)
    level = torch.floor(rows.abs() * (s / norm) + torch.rand_like(rows)).to(torch.uint8)
    level |= (rows < 0).to(torch.uint8) << (bits - 1)
    return level[:, ::2] | (level[:, 1::2] << 4) if bits == 4 else level


def _sign(x: NDArray[np.float32]) -> Any:
    """Add the residual, scale, pack, and subtract."""
    residual = np.zeros_like(x)
    wanted = x + residual
    scale = np.abs(wanted).mean()
    packed = np.packbits(wanted < 0)
    residual = wanted - np.where(wanted < 0, -scale, scale)
    return packed, residual


def _argpartition(x: NDArray[np.float32]) -> Any:
    indices = np.sort(np.argpartition(np.abs(x), -(x.size // 100))[-(x.size // 100) :])
    return indices, x[indices]


def _topk(x: NDArray[np.float32]) -> Any:
    tensor = torch.from_numpy(x)
    _, indices = torch.topk(tensor.abs(), x.size // 100)
    return indices, tensor[indices]


WAYS: dict[str, Callable[[NDArray[np.float32]], Any]] = {
    "torch float16": lambda x: torch.from_numpy(x).half(),
    "torch max-min, 4 bits": lambda x: _maxmin(x, 4),
    "torch max-min, 8 bits": lambda x: _maxmin(x, 8),
    "torch QSGD, 4 bits": lambda x: _qsgd(x, 4),
    "torch QSGD, 8 bits": lambda x: _qsgd(x, 8),
    "numpy sign + residual": _sign,
    "numpy.argpartition 1 %": _argpartition,
    "torch.topk 1 %": _topk,
}
"""Encoders only; each returns something as good as a payload."""
