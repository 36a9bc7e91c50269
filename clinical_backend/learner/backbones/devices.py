"""Where a training runs, and what stops it there. Importing this imports torch."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from clinical_backend.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.learner.backbones.base import Device

__all__ = ["mixed_precision", "named_failures", "threads", "torch_device"]


def torch_device(name: Device) -> torch.device:
    """Return the device that a setting means.

    Raises
    ------
    ModelError
        When it is cuda, and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ModelError(
            "DEVICE is cuda, but torch finds no CUDA device.",
            "Set DEVICE=auto or cpu, or install a driver and a CUDA build of torch.",
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def mixed_precision(device: torch.device) -> torch.autocast:
    """Return a context in which networks compute with bfloat16 where the device is fast at it.

    On CPUs without matrix units bfloat16 is many times slower than float32.
    """
    enabled = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Limit torch's CPU threads; ``None`` leaves its own choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def named_failures(verb: str, cure: str) -> Iterator[None]:
    """Say what to do where memory or disk do not suffice.

    Parameters
    ----------
    verb
        What there is not enough memory for, as in "to adapt".
    cure
        What helps against it.

    Raises
    ------
    ModelError
        Instead of the failure.
    """
    no_memory = ModelError(f"There is not enough memory to {verb}.", cure)
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise no_memory from None
    except OSError as error:
        raise ModelError(
            f"The network cannot be kept ({error.strerror}).",
            "Free some space, or make MODEL_DIR writable.",
        ) from None
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # how torch's CPU allocator says it
            raise
        raise no_memory from None
