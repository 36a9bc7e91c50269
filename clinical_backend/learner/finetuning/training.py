"""Fine-tuning: the last blocks of a backbone, or all of it, learn from the labels at hand.

It starts where the linear classifier of the frozen features stands, as the head of the network, so that it
begins with what is known and cannot distort the features before the head makes sense (Kumar et al.,
"Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022).

The classes weigh the same by the logit-adjusted loss of Menon et al. ("Long-tail learning via logit
adjustment", ICLR 2021, equation 10 with τ = 1): the cross-entropy of z_y + log π_y, where π_y is the share of
a class among the labels. The raw logits z then rank as if all classes were equally frequent, which is what the
linear classifier's do. Nothing is weighted, so that five exemplars among four hundred labels make no steps of
eighty times the size; the other variant of the paper, adjustment after training, would give a rare class no
more room in the features than its share.

Importing this imports torch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.augmentation import VIEWS, are_grey, draw_views
from clinical_backend.learner.backbones.devices import mixed_precision, named_failures, threads, torch_device
from clinical_backend.learner.backbones.networks import build_network
from clinical_backend.learner.backbones.onnx_export import export_network
from clinical_backend.learner.backbones.preprocessing import check_squares, power_normalised
from clinical_backend.learner.classifier.calibration import fit_temperature, tempered
from clinical_backend.learner.classifier.examples import checked_labels
from clinical_backend.learner.classifier.linear import fit
from clinical_backend.learner.evaluation.network_gain import class_mean, cross_fitted, hold_out, losses
from clinical_backend.learner.finetuning.network import FinetunedNetwork, FinetuningReport
from clinical_backend.learner.finetuning.trainable import Head, TrainableNetwork, unfreeze
from clinical_backend.learner.schedule import Schedule
from clinical_backend.learner.training_loop import TrainingLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from clinical_backend.learner.backbones.base import BackboneSpec
    from clinical_backend.learner.backbones.networks import FeatureNetwork
    from clinical_backend.learner.finetuning.options import FinetuningOptions

__all__ = ["finetune"]

# Conventions of fine-tuning with AdamW, with which docs/finetuning.md was measured; none was searched for.
_BATCH = 32
_EPOCHS = 30  # 100 labels had enough after 21; at 300 the time ended it (docs/finetuning.md)
_BODY_RATE = 3e-4
_HEAD_RATE = 1e-3  # more than the body's, which is to keep what it knows
_PATIENCE = 8  # the loss of a handful of held-out images wavers for some passes
_LEAD = 0.1  # the share of the time that a busy machine may lose before the time has a say in the learning rate
# Nearer to the image than in adaptation: a label must hold for the view as well.
_VIEWS = {
    name: replace(ranges, magnification=(0.95, 1.25), shift=0.05, brightness=0.1, contrast=0.2)
    for name, ranges in VIEWS.items()
}


def finetune(
    images: NDArray[np.uint8],
    labels: ArrayLike,
    classes: Sequence[str],
    spec: BackboneSpec,
    options: FinetuningOptions,
    *,
    warm_start: FinetunedNetwork | None = None,
    held_out: NDArray[np.bool_] | None = None,
    progress: Callable[[float, str], None],
) -> FinetunedNetwork:
    """Fine-tune a backbone and its classifier.

    Where each labelled class has ten examples, a fifth of each is held out, the weights are kept with which
    these fare best, and the training ends when they have fared no better for eight passes; the logits are then
    divided by the temperature that is likeliest for them. Otherwise it ends after thirty passes. Either way it
    ends with its time.

    Parameters
    ----------
    images
        Shape (n, image_size, image_size, 3), uint8, RGB, made as ``to_square`` makes them.
    labels
        Class indices, shape (n,).
    classes
        Names of all C classes; at least two need examples.
    spec
        The backbone, with the size of its input.
    options
        How to fine-tune.
    warm_start
        A network that was fine-tuned from the same backbone before, to go on from.
    held_out
        Which examples are held out, shape (n,), as ``hold_out`` chooses them; ``None`` lets it choose. A network
        that is gone on with must not have learnt from them.
    progress
        Is called about once a second with the share done, from 0 to 1, and a sentence. What it raises ends
        the training.

    Returns
    -------
    FinetunedNetwork
        For ``save_finetuned``; nothing is written.

    Raises
    ------
    InvalidArgumentError
        When an argument has another shape or holds values that cannot be.
    ModelError
        When fewer than two classes have examples, the backbone cannot be built, memory does not suffice, the
        device is missing, or the loss is not finite.
    """
    check_squares("images", images, spec.image_size)
    indices = checked_labels(labels, len(images), len(classes))
    chosen = hold_out(indices, options.seed) if held_out is None else held_out
    examples = _Examples(images, indices, tuple(classes), np.flatnonzero(~chosen), np.flatnonzero(chosen))
    cure = "Free some, or choose a smaller IMAGE_SIZE, or TRAINING=head."
    with threads(options.threads), named_failures("fine-tune", cure):
        training = _Training(examples, spec, options, warm_start)
        training.complete(progress)
        network = training.result()
    progress(1.0, "The network is fine-tuned.")
    return network


@dataclass(frozen=True, slots=True)
class _Examples:
    """Labelled images, and which rows of them are learnt from and held out."""

    images: NDArray[np.uint8]
    labels: NDArray[np.intp]
    classes: tuple[str, ...]
    learnt: NDArray[np.intp]
    held_out: NDArray[np.intp]


class _Loop(TrainingLoop):
    # The longer warm-up, beside adaptation's, lets the optimiser know the gradients before it moves weights that are
    # worth something; so does the bound on the gradient. They were not compared with others.
    schedule = Schedule(warm_up=0.1, start=0.05)
    weight_decay = 1e-2
    largest_gradient = 1.0
    doing = "Fine-tuning on"
    noun = "fine-tuning"
    cure = "Start the round again with another SEED, or with TRAINING=head."


class _Training:
    """A training run: what it learns from, and where it stands."""

    def __init__(
        self, examples: _Examples, spec: BackboneSpec, options: FinetuningOptions, warm_start: FinetunedNetwork | None
    ) -> None:
        self._start = time.monotonic()
        self._examples, self._spec, self._options = examples, spec, options
        self._device = torch_device(options.device)
        self._warm = warm_start is not None
        self._ranges = _VIEWS["radiograph" if are_grey(examples.images) else "general"]
        body, self._dimension = build_network(spec)
        if warm_start is not None:
            _load(body, warm_start, spec)
        self._of_blocks = unfreeze(body, options.blocks)
        body.to(self._device).to(memory_format=torch.channels_last)
        features = _features(body, examples.images[examples.learnt], self._device)
        start = fit(features, examples.labels[examples.learnt], examples.classes)
        self._network = TrainableNetwork(body, Head(start, features)).to(self._device).eval()
        present = np.flatnonzero(start.counts)
        self._columns = np.searchsorted(present, examples.labels)
        shares = torch.from_numpy(start.counts[present] / start.counts.sum()).to(torch.float32)
        self._adjustment = shares.log().to(self._device)
        steps_per_epoch = -(-len(examples.learnt) // _BATCH)
        self._loop = _Loop(
            examples.images,
            examples.learnt,
            [(self._network.learning(), _BODY_RATE), (self._network.head.parameters(), _HEAD_RATE)],
            batch_size=_BATCH,
            steps_per_epoch=steps_per_epoch,
            most_steps=_EPOCHS * steps_per_epoch,
            device=self._device,
            seed=options.seed,
        )
        self._state = self._loop.state
        self._best_step = self._best_pass = 0
        self._passes: list[NDArray[np.float32]] = []
        self._before = self._best = self._validate()
        self._kept = self._weights()

    @property
    def _share(self) -> float:
        """How much of the training is done, by time or by steps, whichever is more.

        The time counts from its first tenth on. So where the steps end a training, they alone set its learning
        rates, and the same seed gives the same network on a machine that is busier.
        """
        spent = (time.monotonic() - self._start) / self._options.seconds
        by_time = (spent - _LEAD) / (1.0 - _LEAD)
        return min(1.0, max(by_time, self._state.step / self._loop.most_steps))

    def complete(self, progress: Callable[[float, str], None]) -> None:
        """Train to the end of the time or of the passes, or until nothing is gained any more."""
        while self._gains() and (share := self._share) < 1.0:
            self._step(share)
            if self._state.step % self._loop.steps_per_epoch == 0 or self._share >= 1.0:
                self._keep_if_better()
            self._loop.report(progress, share, time.monotonic())
        if self._best is None:
            self._best_step, self._kept = self._state.step, self._weights()
        self._state.seconds = time.monotonic() - self._start

    def _gains(self) -> bool:
        """Whether steps are left, and one of the last passes was the best."""
        waited = self._state.step - self._best_step
        patient = self._best is None or waited < _PATIENCE * self._loop.steps_per_epoch
        return patient and self._state.step < self._loop.most_steps

    def _step(self, share: float) -> None:
        chosen, batch, generator = self._loop.draw()
        views = 255.0 * draw_views(batch, self._ranges, generator)
        target = torch.from_numpy(self._columns[chosen]).to(self._device)
        with mixed_precision(self._device):
            logits = self._network(views.permute(0, 2, 3, 1))
        self._loop.learn(torch.nn.functional.cross_entropy(logits + self._adjustment, target), share)

    def _keep_if_better(self) -> None:
        if self._best is None:
            return
        loss = self._validate()
        if loss is not None and loss < self._best:
            self._best, self._best_step, self._kept = loss, self._state.step, self._weights()
            self._best_pass = len(self._passes) - 1

    def _validate(self) -> float | None:
        """Return the mean over the classes of the loss of the images held out, and keep their logits."""
        held_out = self._examples.held_out
        if not len(held_out):
            return None
        rows = []
        with torch.inference_mode(), mixed_precision(self._device):
            for first in range(0, len(held_out), _BATCH):
                pixels = torch.from_numpy(self._examples.images[held_out[first : first + _BATCH]]).to(self._device)
                rows.append(self._network(pixels).float().cpu().numpy())
        self._passes.append(np.concatenate(rows))
        columns = self._columns[held_out]
        return class_mean(losses(self._passes[-1], columns), columns)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self._network.state_dict().items()}

    def result(self) -> FinetunedNetwork:
        """Return the network with the weights that were kept."""
        self._network.load_state_dict(self._kept)
        network = self._network.to("cpu").to(memory_format=torch.contiguous_format)
        body, spec = network.body, self._spec
        weights = {name: value.contiguous() for name, value in body.state_dict().items()}
        export = export_network(body, self._dimension, spec.image_size, name=spec.architecture)
        head, temperature, logits = network.head.classifier(), 1.0, None
        if self._passes:
            columns = self._columns[self._examples.held_out]
            temperature = fit_temperature(self._passes[self._best_pass], columns)
            head = tempered(head, temperature)
            logits = np.full((len(columns), len(head.classes)), -np.inf, dtype=np.float32)
            logits[:, np.flatnonzero(np.isfinite(head.bias))] = cross_fitted(self._passes, columns)
        return FinetunedNetwork(
            architecture=spec.architecture,
            image_size=spec.image_size,
            backbone=spec.key,
            dimension=self._dimension,
            head=head,
            report=self._report(temperature),
            versions=export.versions,
            weights=safetensors.torch.save(weights),
            model=export.model,
            held_out_logits=logits,
        )

    def _report(self, temperature: float) -> FinetuningReport:
        state, steps_per_epoch = self._state, self._loop.steps_per_epoch
        return FinetuningReport(
            blocks=self._options.blocks or self._of_blocks,
            of_blocks=self._of_blocks,
            images=len(self._examples.learnt),
            held_out=len(self._examples.held_out),
            steps=state.step,
            epochs=round(state.step / steps_per_epoch, 2),
            seconds=round(state.seconds, 1),
            loss=state.loss,
            held_out_loss=self._best,
            held_out_loss_before=self._before,
            best_epoch=round(self._best_step / steps_per_epoch, 2),
            temperature=temperature,
            warm=self._warm,
            device=self._device.type,
            seed=self._options.seed,
        )


def _features(body: FeatureNetwork, images: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    rows = []
    with torch.inference_mode():
        for first in range(0, len(images), _BATCH):
            pixels = torch.from_numpy(images[first : first + _BATCH]).to(device)
            rows.append(body(pixels).float().cpu().numpy())
    return power_normalised(np.concatenate(rows))


def _load(body: FeatureNetwork, network: FinetunedNetwork, spec: BackboneSpec) -> None:
    if network.backbone != spec.key:
        raise InvalidArgumentError(
            "warm_start", "it was fine-tuned from another backbone.", "Give None, to start from the backbone itself."
        )
    tensors: Mapping[str, torch.Tensor] = safetensors.torch.load(network.weights)
    body.load_state_dict(dict(tensors))
