"""How a backbone is fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from clinical_backend.learner.backbones.base import Device

__all__ = ["FinetuningOptions"]


@dataclass(frozen=True, slots=True)
class FinetuningOptions:
    """How a backbone is fine-tuned.

    Attributes
    ----------
    blocks
        How many of the network's last blocks learn; ``None`` for all.
    seconds
        Its time on the clock. Writing the result takes some seconds more.
    seed
        Of the order and the views. On a CPU the same seed and number of threads give the same network, where
        steps end the training, not the time.
    device
        ``auto`` takes CUDA where it is present; there the training is of mixed precision.
    threads
        CPU threads; ``None`` leaves torch's own choice.
    """

    blocks: int | None = 2
    seconds: float = 300.0
    seed: int = 0
    device: Device = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise InvalidArgumentError("seconds", f"it is {self.seconds!r}.", "Give a positive number.")
