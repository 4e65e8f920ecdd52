"""What the stages of a class run on: its name, and the most of its memory that they took."""

import functools
import platform
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """Return kind and name of a device, e.g. ``cuda: NVIDIA H200`` or ``cpu: AMD EPYC 7763, 2 threads``."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"{device.type}: {_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def forget_peak(device: torch.device) -> None:
    """Let the peak of a GPU's memory be counted from now on; does nothing elsewhere."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """Return the most memory that tensors of this process took on a GPU since `forget_peak`; None elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
