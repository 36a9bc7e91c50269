"""The learner of the papers, for comparison: ResNet-18 from scratch, as DISTIL trains it.

DISTIL is the authors' library (decile-team/distil). Its recipe: ResNet-18 for small images (He et al., CVPR
2016, with a first layer of 3 × 3 and stride 1), stochastic gradient descent with learning rate 0.01, momentum
0.9 and weight decay 5e-4, batches of 20, cosine schedule over at most 300 passes, ended when a pass reaches a
training accuracy of 0.99. It weighs classes as they come. Importing this imports torch.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.backbones.devices import threads, torch_device
from clinical_backend.learner.classifier.examples import checked_features
from clinical_backend.learner.classifier.linear import LinearClassifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from clinical_backend.learner.backbones.base import Device

__all__ = ["TrainedResNet", "train_resnet18"]

_BATCH = 20
_RATE = 0.01
_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
_EPOCHS = 300
_ACCURACY = 0.99
_LEAST_OF_A_BATCH = 2  # one image alone has no variance to normalise by
_EMBEDDED = 128


@dataclass(frozen=True, slots=True)
class TrainedResNet:
    """A trained ResNet-18.

    Attributes
    ----------
    classes
        Names of its classes.
    epochs, accuracy, seconds
        Passes done, training accuracy of the last, and time on the clock.
    """

    classes: tuple[str, ...]
    epochs: int
    accuracy: float
    seconds: float
    _network: _ResNet

    def last_layer(self, counts: NDArray[np.int64]) -> LinearClassifier:
        """Return the last layer as the classifier of ``features``, which it takes as they are.

        Parameters
        ----------
        counts
            Examples by class that the network learnt from, shape (C,).
        """
        weights, bias = (value.detach().cpu().numpy().copy() for value in self._network.linear.parameters())
        return _LastLayer(self.classes, np.ascontiguousarray(weights.T), bias, counts)

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the last layer sees of images of shape (n, s, s, 3), uint8: shape (n, 512), float32."""
        rows = [np.empty((0, self._network.linear.in_features), dtype=np.float32)]
        with torch.inference_mode():
            for first in range(0, len(images), _EMBEDDED):
                pixels = torch.from_numpy(images[first : first + _EMBEDDED]).to(self._network.linear.weight.device)
                rows.append(self._network.features(pixels).cpu().numpy())
        return np.concatenate(rows)


def train_resnet18(
    images: NDArray[np.uint8],
    labels: ArrayLike,
    classes: Sequence[str],
    seed: int = 0,
    seconds: float = math.inf,
    *,
    device: Device = "auto",
    cpu_threads: int | None = None,
) -> TrainedResNet:
    """Train a ResNet-18 from scratch.

    Parameters
    ----------
    images
        Shape (n, s, s, 3), uint8, with s from 28 to 32 as in the papers; n ≥ 2.
    labels
        Class indices, shape (n,).
    classes
        Names of all C classes.
    seed
        Of the weights and the order.
    seconds
        Most time on the clock; the pass in which it ends is not completed.
    device
        ``auto`` takes CUDA where it is present.
    cpu_threads
        CPU threads; ``None`` leaves torch's own choice.

    Raises
    ------
    InvalidArgumentError
        When images or labels have another shape or type.
    ModelError
        When the device is missing.
    """
    codes = np.asarray(labels, dtype=np.int64)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(images) < _LEAST_OF_A_BATCH:
        raise InvalidArgumentError(
            "images",
            f"they have shape {images.shape} and type {images.dtype}.",
            "Give at least two images as uint8 pixels of shape (n, s, s, 3).",
        )
    if codes.shape != (len(images),) or codes.min() < 0 or codes.max() >= len(classes):
        raise InvalidArgumentError("labels", f"they have shape {codes.shape}.", "Give a class index for each image.")
    start = time.monotonic()
    with threads(cpu_threads), torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        chosen_device = torch_device(device)
        network = _ResNet(len(classes), *_statistics(images)).to(chosen_device).to(memory_format=torch.channels_last)
        pixels, targets = torch.from_numpy(images).to(chosen_device), torch.from_numpy(codes).to(chosen_device)
        optimizer = torch.optim.SGD(network.parameters(), lr=_RATE, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=_EPOCHS)
        epoch, accuracy = 0, 0.0
        network.train()
        while epoch < _EPOCHS and accuracy < _ACCURACY and time.monotonic() - start < seconds:
            right = torch.zeros((), dtype=torch.int64, device=chosen_device)
            order = torch.randperm(len(pixels)).to(chosen_device)
            for first in range(0, len(order), _BATCH):
                chosen = order[first : first + _BATCH]
                if len(chosen) < _LEAST_OF_A_BATCH or time.monotonic() - start >= seconds:
                    continue
                optimizer.zero_grad(set_to_none=True)
                logits = network(pixels[chosen])
                torch.nn.functional.cross_entropy(logits, targets[chosen]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                right += (logits.argmax(dim=1) == targets[chosen]).sum()
            schedule.step()
            epoch, accuracy = epoch + 1, int(right) / len(pixels)
    spent = time.monotonic() - start
    return TrainedResNet(tuple(classes), epoch, accuracy, spent, network.eval())


class _LastLayer(LinearClassifier):
    def logits(self, features: ArrayLike) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = checked_features(features, self.dimension) @ self.weights + self.bias
        return logits


class _ResNet(torch.nn.Module):
    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, classes: int, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        widths = (64, 128, 256, 512)
        layers: list[torch.nn.Module] = [_convolution(3, widths[0]), torch.nn.ReLU()]
        before = widths[0]
        for width in widths:
            layers += [_Block(before, width, stride=1 if before == width else 2), _Block(width, width)]
            before = width
        self.body = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        self.linear = torch.nn.Linear(before, classes)
        self.register_buffer("shift", mean.reshape(1, 3, 1, 1))
        self.register_buffer("scale", 1.0 / std.reshape(1, 3, 1, 1).clamp(min=1e-3))

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        images = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        features: torch.Tensor = self.body((images - self.shift) * self.scale)
        return features

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(self.features(pixels))
        return logits


class _Block(torch.nn.Module):
    def __init__(self, before: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.change = torch.nn.Sequential(
            _convolution(before, width, stride=stride), torch.nn.ReLU(), _convolution(width, width)
        )
        same = before == width and stride == 1
        self.shortcut = torch.nn.Identity() if same else _convolution(before, width, size=1, stride=stride)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = torch.relu(self.change(maps) + self.shortcut(maps))
        return summed


def _convolution(before: int, width: int, *, size: int = 3, stride: int = 1) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv2d(before, width, size, stride, size // 2, bias=False), torch.nn.BatchNorm2d(width)
    )


def _statistics(images: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation by channel of values from 0 to 1."""
    values = torch.from_numpy(images).reshape(-1, 3).to(torch.float32) / 255.0
    return values.mean(dim=0), values.std(dim=0)
