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

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch

from clinical_backend.errors import InvalidArgumentError, ModelError
from clinical_backend.learner.augmentation import VIEWS, are_grey, draw_views
from clinical_backend.learner.backbones.networks import build_network
from clinical_backend.learner.backbones.onnx_export import export_network
from clinical_backend.learner.backbones.preprocessing import power_normalised
from clinical_backend.learner.classifier import linear
from clinical_backend.learner.classifier.calibration import fit_temperature, tempered
from clinical_backend.learner.devices import mixed_precision, named_failures, threads, torch_device
from clinical_backend.learner.evaluation.network_gain import class_mean, cross_fitted, hold_out, losses
from clinical_backend.learner.finetuning.network import FinetunedNetwork, FinetuningReport
from clinical_backend.learner.finetuning.trainable import Head, TrainableNetwork, unfreeze
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from clinical_backend.learner.backbones.base import BackboneSpec, Device
    from clinical_backend.learner.backbones.networks import FeatureNetwork

__all__ = ["finetune"]

_BATCH = 32
_EPOCHS = 30
_BODY_RATE = 3e-4
_HEAD_RATE = 1e-3
_WEIGHT_DECAY = 1e-2
_WARM_UP = 0.1
_LEAD = 0.1
_LARGEST_GRADIENT = 1.0
_PATIENCE = 8
_REPORT_SECONDS = 1.0
_VIEWS = {
    name: replace(ranges, magnification=(0.95, 1.25), shift=0.05, brightness=0.1, contrast=0.2)
    for name, ranges in VIEWS.items()
}


def finetune(
    images: NDArray[np.uint8],
    labels: ArrayLike,
    classes: Sequence[str],
    *,
    spec: BackboneSpec,
    blocks: int | None = 2,
    seconds: float = 300.0,
    seed: int = 0,
    warm_start: FinetunedNetwork | None = None,
    held_out: NDArray[np.bool_] | None = None,
    device: Device = "auto",
    cpu_threads: int | None = None,
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
    blocks
        How many of the network's last blocks learn; ``None`` for all.
    seconds
        Its time on the clock. Writing the result takes some seconds more.
    seed
        Of the order and the views. On a CPU the same seed and number of threads give the same network, where
        steps end the training, not the time.
    warm_start
        A network that was fine-tuned from the same backbone before, to go on from.
    held_out
        Which examples are held out, shape (n,), as ``hold_out`` chooses them; ``None`` lets it choose. A network
        that is gone on with must not have learnt from them.
    device
        ``auto`` takes CUDA where it is present; there the training is of mixed precision.
    cpu_threads
        CPU threads; ``None`` leaves torch's own choice.
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
    codes = _checked(images, labels, classes, spec, seconds)
    chosen = hold_out(codes, seed) if held_out is None else held_out
    cure = "Free some, or choose a smaller IMAGE_SIZE, or TRAINING=head."
    with threads(cpu_threads), named_failures("fine-tune", cure):
        training = _Training(images, codes, tuple(classes), spec, blocks, seconds, seed, warm_start, chosen, device)
        training.complete(progress)
        network = training.result()
    progress(1.0, "The network is fine-tuned.")
    return network


class _Training:
    """A training run: what it learns from, and where it stands."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        codes: NDArray[np.intp],
        classes: tuple[str, ...],
        spec: BackboneSpec,
        blocks: int | None,
        seconds: float,
        seed: int,
        warm_start: FinetunedNetwork | None,
        held_out: NDArray[np.bool_],
        device: Device,
    ) -> None:
        self._start = time.monotonic()
        self._images, self._codes, self._spec, self._seed, self._seconds = images, codes, spec, seed, seconds
        self._device = torch_device(device)
        self._warm = warm_start is not None
        self._ranges = _VIEWS["radiograph" if are_grey(images) else "general"]
        self._learned, self._judged = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        body, self._dimension = build_network(spec)
        if warm_start is not None:
            _load(body, warm_start, spec)
        self._of_blocks = unfreeze(body, blocks)
        self._blocks = blocks or self._of_blocks
        body.to(self._device).to(memory_format=torch.channels_last)
        features = _features(body, images[self._learned], self._device)
        start = linear.fit(features, codes[self._learned], classes)
        self._network = TrainableNetwork(body, Head(start, features)).to(self._device).eval()
        present = np.flatnonzero(start.counts)
        self._columns = np.searchsorted(present, codes)
        shares = torch.from_numpy(start.counts[present] / start.counts.sum()).to(torch.float32)
        self._adjustment = shares.log().to(self._device)
        self._rates = (_BODY_RATE, _HEAD_RATE)
        self._parameters = (list(self._network.learning()), list(self._network.head.parameters()))
        self._optimizer = torch.optim.AdamW(
            [{"params": parameters} for parameters in self._parameters], weight_decay=_WEIGHT_DECAY, fused=True
        )
        self._steps_per_epoch = -(-len(self._learned) // _BATCH)
        self._most_steps = _EPOCHS * self._steps_per_epoch
        self._step = 0
        self._loss = 0.0
        self._best_step = self._best_pass = 0
        self._passes: list[NDArray[np.float32]] = []
        self._before = self._best = self._judge()
        self._kept = self._state()

    @property
    def _share(self) -> float:
        """How much of the training is done, by time or by steps, whichever is more.

        The time counts from its first tenth on. So where the steps end a training, they alone set its learning
        rates, and the same seed gives the same network on a machine that is busier.
        """
        spent = (time.monotonic() - self._start) / self._seconds
        by_time = (spent - _LEAD) / (1.0 - _LEAD)
        return min(1.0, max(by_time, self._step / self._most_steps))

    def complete(self, progress: Callable[[float, str], None]) -> None:
        """Train to the end of the time or of the passes, or until nothing is gained any more."""
        reported = -math.inf
        patience = _PATIENCE * self._steps_per_epoch
        while (
            self._step < self._most_steps
            and (share := self._share) < 1.0
            and (self._best is None or self._step - self._best_step < patience)
        ):
            self._take_step(share)
            note_progress()
            if self._best is not None and (self._step % self._steps_per_epoch == 0 or self._share >= 1.0):
                loss = self._judge()
                if loss is not None and loss < self._best:
                    self._best, self._best_step, self._kept = loss, self._step, self._state()
                    self._best_pass = len(self._passes) - 1
            if time.monotonic() - reported >= _REPORT_SECONDS:
                progress(share, self._message())
                reported = time.monotonic()
        if self._best is None:
            self._best_step, self._kept = self._step, self._state()
        self._seconds_spent = time.monotonic() - self._start

    def result(self) -> FinetunedNetwork:
        """Return the network with the weights that were kept."""
        self._network.load_state_dict(self._kept)
        network = self._network.to("cpu").to(memory_format=torch.contiguous_format)
        body, spec = network.body, self._spec
        weights = {name: value.contiguous() for name, value in body.state_dict().items()}
        export = export_network(body, self._dimension, spec.image_size, name=spec.architecture)
        head, temperature, logits = network.head.classifier(), 1.0, None
        if self._passes:
            columns = self._columns[self._judged]
            temperature = fit_temperature(self._passes[self._best_pass], columns)
            head = tempered(head, temperature)
            logits = np.full((len(columns), len(head.classes)), -np.inf, dtype=np.float32)
            logits[:, np.flatnonzero(np.isfinite(head.bias))] = cross_fitted(self._passes, columns)
        report = FinetuningReport(
            blocks=self._blocks,
            of_blocks=self._of_blocks,
            images=len(self._learned),
            held_out=len(self._judged),
            steps=self._step,
            epochs=round(self._step / self._steps_per_epoch, 2),
            seconds=round(self._seconds_spent, 1),
            loss=self._loss,
            held_out_loss=self._best,
            held_out_loss_before=self._before,
            best_epoch=round(self._best_step / self._steps_per_epoch, 2),
            temperature=temperature,
            warm=self._warm,
            device=self._device.type,
            seed=self._seed,
        )
        return FinetunedNetwork(
            architecture=spec.architecture,
            image_size=spec.image_size,
            backbone=spec.key,
            dimension=self._dimension,
            head=head,
            report=report,
            versions=export.versions,
            weights=safetensors.torch.save(weights),
            model=export.model,
            held_out_logits=logits,
        )

    def _take_step(self, share: float) -> None:
        epoch, place = divmod(self._step, self._steps_per_epoch)
        order = np.random.default_rng([self._seed, 0, epoch]).permutation(self._learned)
        chosen = np.sort(order[place * _BATCH : (place + 1) * _BATCH])
        drawn = int(np.random.default_rng([self._seed, 1, self._step]).integers(2**62))
        pixels = torch.from_numpy(self._images[chosen]).to(self._device)
        batch = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        views = 255.0 * draw_views(batch, self._ranges, torch.Generator().manual_seed(drawn))
        target = torch.from_numpy(self._columns[chosen]).to(self._device)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * _schedule(share)
        with mixed_precision(self._device):
            logits = self._network(views.permute(0, 2, 3, 1))
        loss = torch.nn.functional.cross_entropy(logits + self._adjustment, target)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([*self._parameters[0], *self._parameters[1]], _LARGEST_GRADIENT)
        self._optimizer.step()
        self._step += 1
        self._loss += max(1.0 / self._steps_per_epoch, 1.0 / self._step) * (loss.item() - self._loss)
        if not math.isfinite(self._loss):
            raise ModelError(
                "The fine-tuning's loss is no longer a finite number.",
                "Start the round again with another SEED, or with TRAINING=head.",
            )

    def _judge(self) -> float | None:
        """Return the mean over the classes of the loss of the images held out, and keep their logits."""
        if not len(self._judged):
            return None
        rows = []
        with torch.inference_mode(), mixed_precision(self._device):
            for first in range(0, len(self._judged), _BATCH):
                pixels = torch.from_numpy(self._images[self._judged[first : first + _BATCH]]).to(self._device)
                rows.append(self._network(pixels).float().cpu().numpy())
        self._passes.append(np.concatenate(rows))
        columns = self._columns[self._judged]
        return class_mean(losses(self._passes[-1], columns), columns)

    def _state(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self._network.state_dict().items()}

    def _message(self) -> str:
        epoch = min(_EPOCHS, self._step // self._steps_per_epoch + 1)
        return f"Fine-tuning on {len(self._learned)} images: pass {epoch} of at most {_EPOCHS}, loss {self._loss:.2f}."


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


def _schedule(share: float) -> float:
    """Return the learning rate at a share of the training, as a share of the highest."""
    if share < _WARM_UP:
        return 0.05 + 0.95 * share / _WARM_UP
    return 0.5 * (1.0 + math.cos(math.pi * (share - _WARM_UP) / (1.0 - _WARM_UP)))


def _checked(
    images: NDArray[np.uint8], labels: ArrayLike, classes: Sequence[str], spec: BackboneSpec, seconds: float
) -> NDArray[np.intp]:
    size = spec.image_size
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
        raise InvalidArgumentError(
            "images",
            f"they have shape {images.shape} and type {images.dtype}.",
            f"Give uint8 pixels of shape (n, {size}, {size}, 3).",
        )
    if not seconds > 0:
        raise InvalidArgumentError("seconds", f"it is {seconds!r}.", "Give a positive number.")
    return linear.checked_labels(labels, len(images), len(classes))
