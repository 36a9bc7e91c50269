"""A backbone that can learn: its last layers, and a head that is the classifier. Importing this imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from timm.models import group_parameters

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.classifier.linear import LinearClassifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from clinical_backend.learner.backbones.networks import FeatureNetwork

__all__ = ["Head", "TrainableNetwork", "unfreeze"]

_LEAST = 1e-3  # below it the root is replaced by a line, since its slope has no bound at 0


class Head(torch.nn.Module):
    """A linear classifier of power-normalised features, in coordinates in which its weights are about one.

    Parameters
    ----------
    classifier
        Where it starts.
    features
        Of the images that it will learn from, power-normalised, shape (n, d): they give centre and scale.
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, classifier: LinearClassifier, features: NDArray[np.float32]) -> None:
        super().__init__()
        self._start = classifier
        self._present = np.flatnonzero(np.isfinite(classifier.bias))
        centre = features.mean(axis=0)
        scale = float(np.sqrt(np.mean((features - centre) ** 2))) or 1.0
        weights, bias = classifier.weights[:, self._present], classifier.bias[self._present]
        self.register_buffer("centre", torch.from_numpy(centre))
        self.register_buffer("scale", torch.tensor(scale))
        self.weights = torch.nn.Parameter(torch.from_numpy(weights * np.float32(scale)))
        self.bias = torch.nn.Parameter(torch.from_numpy(bias + centre @ weights))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits of the present classes, from the pooled features as the network gives them."""
        features = features.float()
        roots = features * features.abs().clamp(min=_LEAST).rsqrt()
        rows = torch.nn.functional.normalize(roots, dim=1)
        return (rows - self.centre) / self.scale @ self.weights + self.bias

    def classifier(self) -> LinearClassifier:
        """Return the classifier as it stands, of all classes."""
        start, present = self._start, self._present
        found = (self.weights / self.scale).detach().cpu().numpy()
        weights, bias = np.zeros_like(start.weights), np.full_like(start.bias, -np.inf)
        weights[:, present] = found
        bias[present] = self.bias.detach().cpu().numpy() - self.centre.cpu().numpy() @ found
        return LinearClassifier(start.classes, weights, bias, start.counts)


class TrainableNetwork(torch.nn.Module):
    """A backbone with a head. Its normalisation layers keep the statistics that they came with.

    A batch of some ten images of one pool says little of the means and variances that these layers need.
    """

    def __init__(self, body: FeatureNetwork, head: Head) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the logits of pixels, values from 0 to 255, shape (n, size, size, 3)."""
        logits: torch.Tensor = self.head(self.body(pixels))
        return logits

    def learning(self) -> Iterator[torch.nn.Parameter]:
        """Yield the parameters of the body that learn."""
        return (parameter for parameter in self.body.parameters() if parameter.requires_grad)


def unfreeze(body: FeatureNetwork, blocks: int | None) -> int:
    """Let the last blocks of a network learn and freeze the rest; return the number of its blocks.

    What a block is, timm says for each architecture: the stem and each stage count as one.

    Raises
    ------
    InvalidArgumentError
        When the network has not so many.
    """
    groups = _blocks(body)
    if blocks is not None and not 1 <= blocks <= len(groups):
        raise InvalidArgumentError(
            "blocks", f"it is {blocks!r}.", f"Give a number from 1 to {len(groups)}, or None for all."
        )
    body.requires_grad_(requires_grad=False)
    parameters = dict(body.body.named_parameters())
    for names in groups[len(groups) - (blocks or len(groups)) :]:
        for name in names:
            parameters[name].requires_grad = True
    return len(groups)


def _blocks(body: FeatureNetwork) -> list[list[str]]:
    """Return the names of the parameters of each block, from input to output."""
    matcher = getattr(body.body, "group_matcher", None)
    if matcher is None:
        return [[name for name, _ in body.body.named_parameters()]]
    groups = cast("dict[int, list[str]]", group_parameters(body.body, matcher(coarse=True)))
    return [groups[index] for index in sorted(groups)]
