"""The state of a training between two steps, on disk, so that a killed one goes on. Importing this imports torch."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from clinical_backend.system.files import write_aside

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["TrainingState"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class TrainingState:
    """Where a training stands.

    Attributes
    ----------
    run
        Identifies what is trained on what: a state of another run is of no use.
    step
        Steps done.
    seconds
        Time spent, over all processes that worked on it.
    loss
        Running mean over about the last epoch.
    """

    run: str = ""
    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0

    def count(self, loss: float, weight: float) -> None:
        """Count a step with its loss."""
        self.step += 1
        self.loss += max(weight, 1.0 / self.step) * (loss - self.loss)

    def save(self, path: Path, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the state with the tensors of network and optimiser, in one file and in one step.

        Raises
        ------
        OSError
            When the disk is full or read-only.
        """
        tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
        contiguous = {name: value.cpu().contiguous() for name, value in tensors.items()}
        metadata = {"state": json.dumps(asdict(self))}
        metadata["sha256"] = _digest(metadata["state"], contiguous)
        write_aside(path, safetensors.torch.save(contiguous, metadata=metadata))

    @classmethod
    def restore(
        cls, path: Path, run: str, network: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> TrainingState | None:
        """Read the state of a run into network and optimiser; ``None`` where there is none that can be used.

        A damaged file is logged and counts as none: the training starts anew.
        """
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                state = cls(**json.loads(metadata["state"]))
                if state.run != run:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if metadata.get("sha256") not in {None, _digest(metadata["state"], tensors)}:  # None: an earlier version
                raise ValueError("it was changed on disk")
            parameters = [value for group in optimizer.param_groups for value in group["params"]]
            by_parameter: dict[int, dict[str, torch.Tensor]] = {}
            weights: dict[str, torch.Tensor] = {}
            for name, value in tensors.items():
                owner, _, rest = name.partition(".")
                if owner == "network":
                    weights[rest] = value
                else:
                    index, _, key = rest.partition(".")
                    by_parameter.setdefault(int(index), {})[key] = _laid_out_like(value, parameters[int(index)])
            network.load_state_dict(weights)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": by_parameter})
        except (OSError, SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
            _log.warning("The state of a training cannot be used (%s); it starts anew.", type(error).__name__)
            return None
        return state


def _digest(state: str, tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(state.encode())
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _laid_out_like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Return a tensor in its parameter's memory layout, which a fused optimiser takes for granted."""
    return value if value.shape != parameter.shape else parameter.detach().clone().copy_(value)
