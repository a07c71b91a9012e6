"""The device: what it is, and the memory that was used there."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def peak_memory(device: torch.device) -> Iterator[dict[str, float]]:
    """Fills the dictionary at the end: the most memory that tensors had on the device."""
    found: dict[str, float] = {}
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    yield found
    if device.type == "cuda":
        torch.cuda.synchronize()
        found["peak_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20


def machine(device: torch.device) -> dict[str, Any]:
    """What computed."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "cuda": torch.version.cuda if on_gpu else None,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cpu_threads": torch.get_num_threads(),
    }
