"""The steps of a training: what each draws, how fast it learns, and where they stand. Importing this imports torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from clinical_backend.errors import ModelError
from clinical_backend.learner.schedule import Throttle
from clinical_backend.learner.training_state import TrainingState
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from clinical_backend.learner.schedule import Schedule

__all__ = ["TrainingLoop"]

_REPORT_SECONDS = 1.0  # as often as a person who watches may want it


class TrainingLoop:
    """Draws the batches of a training and takes its steps; what a kind of training learns by, its class says.

    Draws depend on the seed and the step alone, so a resumed run makes the same ones.

    Parameters
    ----------
    images, rows
        Shape (n, s, s, 3), uint8, and those of them to learn from.
    parameters
        What learns, in groups, each with its highest learning rate.
    batch_size, steps_per_epoch, most_steps
        Images of a step, and how many steps.
    device
        Where the network is.
    seed
        Of the order and the views.

    Attributes
    ----------
    schedule, weight_decay, largest_gradient
        Of the learning rates, of AdamW, and the length to which the gradient is cut.
    doing, noun, cure
        As in "Learning 600 images", what errors call it, and what helps where its loss is not finite.
    state
        Where it stands; a restored one may take its place.
    """

    schedule: Schedule
    weight_decay: float
    largest_gradient: float | None = None
    doing: str
    noun: str
    cure: str

    def __init__(
        self,
        images: NDArray[np.uint8],
        rows: NDArray[np.intp],
        parameters: Sequence[tuple[Iterable[torch.nn.Parameter], float]],
        *,
        batch_size: int,
        steps_per_epoch: int,
        most_steps: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self._images, self._rows = images, rows
        self._batch_size, self._device, self._seed = batch_size, device, seed
        self.steps_per_epoch, self.most_steps = steps_per_epoch, most_steps
        self._rates = [rate for _, rate in parameters]
        groups = [{"params": list(group)} for group, _ in parameters]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=self.weight_decay, fused=True)
        self.state = TrainingState()
        self._throttle = Throttle(_REPORT_SECONDS)

    def draw(self) -> tuple[NDArray[np.intp], torch.Tensor, torch.Generator]:
        """Return the rows of the next batch, their images from 0 to 1, (b, 3, s, s), and what draws their views."""
        epoch, place = divmod(self.state.step, self.steps_per_epoch)
        order = np.random.default_rng([self._seed, 0, epoch]).permutation(self._rows)
        chosen = np.sort(order[place * self._batch_size : (place + 1) * self._batch_size])
        seed = int(np.random.default_rng([self._seed, 1, self.state.step]).integers(2**62))
        pixels = torch.from_numpy(self._images[chosen]).to(self._device)
        batch = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        return chosen, batch, torch.Generator().manual_seed(seed)

    def learn(self, loss: torch.Tensor, share: float) -> None:
        """Take a step down the gradient of a loss, at the rates of a share of the training.

        Raises
        ------
        ModelError
            When the loss is not finite.
        """
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self.schedule.rate(share)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.largest_gradient is not None:
            parameters = [value for group in self.optimizer.param_groups for value in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.largest_gradient)
        self.optimizer.step()
        self.state.count(loss.item(), 1.0 / self.steps_per_epoch)
        if not math.isfinite(self.state.loss):
            raise ModelError(f"The {self.noun}'s loss is no longer a finite number.", self.cure)
        note_progress()

    def report(self, progress: Callable[[float, str], None], share: float, now: float) -> None:
        """Say about once a second how far the training is."""
        if not self._throttle.is_due(now):
            return
        progress(share, f"{self.doing} {len(self._rows):,} images: {share:.0%} done.")
