"""Adaptation: a small network learns the pool's own images without labels, by contrast (SimCLR).

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020. Two random
views of an image shall have similar projections, views of different images dissimilar ones.

The time that it may take is stated, and the learning rate follows what is spent of it: the training ends
properly within its time on any machine. It is resumable: what a killed process spent counts.

Importing this imports torch.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import safetensors.torch
import torch

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.adaptation.encoder import Encoder, contrastive_loss
from clinical_backend.learner.adaptation.network import AdaptedNetwork, load_adapted, save_adapted
from clinical_backend.learner.artifact import sha256
from clinical_backend.learner.augmentation import VIEWS, are_grey, draw_views
from clinical_backend.learner.backbones.devices import mixed_precision, named_failures, threads, torch_device
from clinical_backend.learner.backbones.onnx_export import export_network
from clinical_backend.learner.backbones.preprocessing import check_squares
from clinical_backend.learner.schedule import Schedule
from clinical_backend.learner.training_loop import TrainingLoop
from clinical_backend.learner.training_state import TrainingState
from clinical_backend.system.permissions import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical_backend.learner.backbones.base import Device

__all__ = ["MINIMUM_IMAGES", "AdaptationOptions", "adapt"]

# Not measured: a convention, below the 500 images from which projects are adapted to. A batch of 200 still contrasts.
MINIMUM_IMAGES = 200

# A small pool is seen more often than ``epochs`` times: below this many steps nothing much is learnt. (What
# about 1,000 images take in 80 passes; others were not tried.)
_MINIMUM_STEPS = 300
_LEARNING_RATE = 2e-3  # a convention for AdamW on a small network from noise; it was not searched for
# A step that seems to take longer, in seconds, is one in which the process or the machine was stopped: one of 256
# images takes about half a second on one core.
_LONGEST_STEP = 20.0
_STATE_NAME = "adapting.safetensors"


@dataclass(frozen=True, slots=True)
class AdaptationOptions:
    """How a network adapts.

    Attributes
    ----------
    image_size
        Side of the square images in pixels, 28 to 128.
    seconds
        The training's time on the clock, over all its runs. Writing the result takes some seconds more.
    epochs
        How often it sees each image at most (a small pool's, more often).
    batch_size
        Images a step, each in two views.
    views
        ``general`` or ``radiograph`` (see ``augmentation``); ``auto`` takes the latter for grey images.
    device
        ``auto`` takes CUDA where it is present.
    seed
        Of the weights, the order and the views. On a CPU the same seed and number of threads give the same
        network, where the time does not end the training.
    threads
        CPU threads; ``None`` leaves torch's own choice. Where the CPUs have other work too, start the process
        with ``OMP_WAIT_POLICY=PASSIVE``: threads that spin while they wait for each other doubled a step's time.
    width
        Channels of the first layer; a feature has four times as many values.
    temperature
        Of the loss: lower looks harder at the most similar images.
    checkpoint_seconds
        How often the state is written.
    """

    image_size: int = 48  # that of the thumbnails that are kept of each image
    seconds: float = 900.0
    epochs: int = 80  # 40 found a little less in half the time (docs/earlier-experiments.md)
    batch_size: int = 256  # as small as Chen et al. 2020 tried
    views: Literal["auto", "general", "radiograph"] = "auto"
    device: Device = "auto"
    seed: int = 0
    threads: int | None = None
    width: int = 32  # 5,000 images 80 times in 14 minutes of a core; wider: a GPU (docs/earlier-experiments.md)
    temperature: float = 0.2  # a convention of contrastive learning; not searched for
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        rules = {
            "image_size": (28 <= self.image_size <= 128, "a number from 28 to 128"),
            "seconds": (self.seconds > 0, "a positive number"),
            "epochs": (self.epochs >= 1, "a positive number"),
            "batch_size": (self.batch_size >= 2, "at least 2"),
            "views": (self.views in {"auto", *VIEWS}, "auto, general or radiograph"),
            "device": (self.device in {"auto", "cpu", "cuda"}, "auto, cpu or cuda"),
            "threads": (self.threads is None or self.threads >= 1, "a positive number, or None"),
            "width": (self.width >= 1, "a positive number"),
            "temperature": (self.temperature > 0, "a positive number"),
            "checkpoint_seconds": (self.checkpoint_seconds >= 0, "no negative number"),
        }
        for name, (holds, wanted) in rules.items():
            if not holds:
                raise InvalidArgumentError(name, f"it is {getattr(self, name)!r}.", f"Give {wanted}.")


def adapt(
    images: NDArray[np.uint8],
    folder: Path,
    options: AdaptationOptions,
    *,
    progress: Callable[[float, str], None],
) -> AdaptedNetwork:
    """Train a network on images without labels, and write it into a folder for ``AdaptedBackbone``.

    A call with the images and options of one that was killed goes on where that one stood a minute before
    its end; with those of one that finished, it returns what that one wrote. The folder's former network
    stays in place until the new one is whole.

    Parameters
    ----------
    images
        Shape (n, image_size, image_size, 3), uint8, RGB, made as ``to_square`` makes them; n ≥ 200.
    folder
        Where network and state are kept; one folder for each project.
    options
        How to adapt.
    progress
        Is called about once a second with the share done, from 0 to 1, and a sentence. What it raises ends
        the training, which can be resumed.

    Returns
    -------
    AdaptedNetwork
        What was written.

    Raises
    ------
    InvalidArgumentError
        When the images have another shape or type.
    ModelError
        When there are too few images, memory does not suffice, the device is missing, the loss is not
        finite, or the folder cannot be written.
    """
    _check(images, options)
    run = _run(images, options)
    try:
        finished = load_adapted(folder)
    except ModelError:
        finished = None
    if finished is not None and finished.run == run:
        progress(1.0, "The network is adapted.")
        return finished
    cure = "Free some, or choose a smaller batch_size or image_size; the present features stay in use."
    with threads(options.threads), named_failures("adapt", cure):
        make_folder(folder)
        training = _Training(images, folder / _STATE_NAME, run, options)
        training.complete(progress)
        network = _write(training, folder)
    (folder / _STATE_NAME).unlink(missing_ok=True)
    progress(1.0, "The network is adapted.")
    return network


class _Loop(TrainingLoop):
    # Warm-up, decay and no bound on the gradient are conventions of training from noise. Fine-tuning warms up for
    # longer, as its optimiser must know the gradients before it moves weights that are worth something; they were not
    # compared.
    schedule = Schedule(warm_up=0.05, start=0.02)
    weight_decay = 1e-4
    doing = "Learning"
    noun = "adaptation"
    cure = "Start it again with another seed or a higher temperature; the present features stay in use."


class _Training:
    """A training run: what it learns from, and its state between two steps."""

    def __init__(self, images: NDArray[np.uint8], path: Path, run: str, options: AdaptationOptions) -> None:
        self.images = images
        self.options = options
        self.views = ("radiograph" if are_grey(images) else "general") if options.views == "auto" else options.views
        self._device = torch_device(options.device)
        self._path = path
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(options.seed)
            self.encoder = Encoder(options.image_size, options.width, *_statistics(images))
        self.encoder.to(self._device).to(memory_format=torch.channels_last)
        batch_size = min(options.batch_size, len(images))
        steps_per_epoch = len(images) // batch_size
        self._loop = _Loop(
            images,
            np.arange(len(images)),
            [(self.encoder.parameters(), _LEARNING_RATE)],
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            most_steps=max(options.epochs * steps_per_epoch, _MINIMUM_STEPS),
            device=self._device,
            seed=options.seed,
        )
        restored = TrainingState.restore(path, run, self.encoder, self._loop.optimizer)
        self.state = self._loop.state = restored or TrainingState(run)

    @property
    def share(self) -> float:
        """How much of the training is done, by time or by steps, whichever is more."""
        return min(1.0, max(self.state.seconds / self.options.seconds, self.state.step / self._loop.most_steps))

    def complete(self, progress: Callable[[float, str], None]) -> None:
        """Train to the end of the time or of the epochs."""
        self.encoder.train()
        now = saved = time.monotonic()
        while self.share < 1.0:
            self._step()
            before, now = now, time.monotonic()
            self.state.seconds += min(now - before, _LONGEST_STEP)
            if now - saved >= self.options.checkpoint_seconds:
                self.state.save(self._path, self.encoder, self._loop.optimizer)
                saved = now
            self._loop.report(progress, self.share, now)
        self.encoder.eval()

    def _step(self) -> None:
        _, batch, generator = self._loop.draw()
        views = draw_views(torch.cat([batch, batch]), VIEWS[self.views], generator)
        with mixed_precision(self._device):
            projections = self.encoder.project(views.contiguous(memory_format=torch.channels_last))
        first, second = projections.chunk(2)
        self._loop.learn(contrastive_loss(first, second, temperature=self.options.temperature), self.share)


def _write(training: _Training, folder: Path) -> AdaptedNetwork:
    encoder, state = training.encoder.to("cpu").to(memory_format=torch.contiguous_format), training.state
    weights = safetensors.torch.save({name: value.contiguous() for name, value in encoder.state_dict().items()})
    export = export_network(encoder, encoder.dimension, training.options.image_size, name="adapted")
    network = AdaptedNetwork(
        run=state.run,
        weights_sha256=sha256(weights),
        model_sha256=sha256(export.model),
        image_size=training.options.image_size,
        dimension=encoder.dimension,
        views=training.views,
        images=len(training.images),
        steps=state.step,
        seconds=round(state.seconds, 1),
        loss=state.loss,
        options=asdict(training.options),
        versions=export.versions,
    )
    save_adapted(folder, network, weights, export.model)
    return network


def _statistics(images: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation by channel of values from 0 to 1; of a thousand images at most."""
    sample = images[:: -(-len(images) // 1000)].reshape(-1, 3).astype(np.float32) / 255.0
    return torch.from_numpy(sample.mean(axis=0)), torch.from_numpy(sample.std(axis=0))


def _run(images: NDArray[np.uint8], options: AdaptationOptions) -> str:
    """Return what identifies a run: its images, and the options that its result depends on."""
    chosen = asdict(options)
    for name in ("seconds", "threads", "device", "checkpoint_seconds"):
        del chosen[name]
    digest = hashlib.sha256(json.dumps([len(images), chosen], sort_keys=True).encode())
    for start in range(0, len(images), 1024):
        digest.update(np.ascontiguousarray(images[start : start + 1024]).data)
    return digest.hexdigest()


def _check(images: NDArray[np.uint8], options: AdaptationOptions) -> None:
    check_squares("images", images, options.image_size)
    if len(images) < MINIMUM_IMAGES:
        raise ModelError(
            f"{len(images)} images are too few to adapt to.",
            f"Import at least {MINIMUM_IMAGES} tasks; until then the backbone's own features are used.",
        )
