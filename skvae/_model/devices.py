"""Where to compute: the devices of this machine, and copies of tensors to them (torch)."""

from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def with_gradients():
    """For what makes or trains weights: in float32, with gradients, whatever the caller's mode."""
    with torch.inference_mode(False), in_full_precision():
        yield


@contextmanager
def without_gradients():
    """For what a fitted network computes: in float32 and without gradients."""
    with torch.inference_mode(), in_full_precision():
        yield


@contextmanager
def in_full_precision():
    """Without `torch.autocast`, which a caller may have switched on."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def resolve_device(device):
    """The torch device string to compute on; "auto": torch's current accelerator, or else the CPU.

    A ValueError if torch does not know the device, or this machine does not have it.
    """
    available = ["cpu"]
    if torch.accelerator.is_available():
        available.insert(0, torch.accelerator.current_accelerator().type)
    if device == "auto":
        return available[0]
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
        known = resolved.type in available
    except (RuntimeError, AssertionError):  # AssertionError if torch was built without CUDA
        known = False
    if not known:
        raise ValueError(
            f"device={str(device)!r} is not available. Available here: {', '.join(available)}. "
            "device='auto' takes the first of these."
        )
    return str(resolved)


def to_device(tensor, device):
    """Copy a tensor from the CPU to a device; the CPU does not wait for a copy to CUDA."""
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def sum_dtype(device):
    """Precision of long sums: float64, or None on Apple's GPUs, which do not have it."""
    return None if device.type == "mps" else torch.float64
