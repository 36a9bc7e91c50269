"""The small network that adaptation trains from scratch, and its loss. Importing this imports torch."""

from __future__ import annotations

import torch

__all__ = ["Encoder", "contrastive_loss"]

_PROJECTION = 128  # as in Chen et al. 2020; from 32 to 2048 it made no difference there (section 4.2)
# About the side of the map after the first layer, whatever the image's side: the two layers that halve it leave 4 × 4.
_STEM_GRID = 16


class Encoder(torch.nn.Module):
    """Five convolutions that turn pixels into a feature, small enough to train on a CPU in minutes.

    Parameters
    ----------
    image_size
        Side of the square input in pixels. The first layer's stride grows with it, so the cost hardly does.
    width
        Channels of the first layer; the later ones have two and four times as many.
    mean, std
        Of the images' values from 0 to 1, by channel.

    Attributes
    ----------
    dimension
        Length of a feature, the mean of the last maps: 4 · width. (With the middle maps' mean beside it no
        average precision was better.)
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, image_size: int, width: int, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        stride = max(1, round(image_size / _STEM_GRID))
        self.dimension = 4 * width
        self.body = torch.nn.Sequential(
            _convolution(3, width, size=2 * stride + 1, stride=stride),
            _convolution(width, 2 * width, stride=2),
            _Residual(2 * width),
            _convolution(2 * width, 4 * width, stride=2),
            _Residual(4 * width),
        )
        # Only training needs it; features are taken before it (Chen et al. 2020, section 4.2).
        self.projector = torch.nn.Sequential(
            torch.nn.Linear(self.dimension, self.dimension, bias=False),
            torch.nn.BatchNorm1d(self.dimension),
            torch.nn.ReLU(inplace=True),
            torch.nn.Linear(self.dimension, _PROJECTION),
        )
        self.register_buffer("shift", mean.reshape(1, 3, 1, 1).clone())
        self.register_buffer("scale", 1.0 / std.reshape(1, 3, 1, 1).clamp(min=1e-3))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features, shape (n, dimension), of images of shape (n, 3, s, s) with values from 0 to 1."""
        maps: torch.Tensor = self.body((images - self.shift) * self.scale)
        return maps.mean(dim=(2, 3))

    def project(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the contrastive loss compares, shape (n, 128)."""
        projections: torch.Tensor = self.projector(self.features(images))
        return projections

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features of uint8 pixels of shape (n, s, s, 3), as a backbone does."""
        return self.features(pixels.permute(0, 3, 1, 2).to(torch.float32) / 255.0)


def contrastive_loss(first: torch.Tensor, second: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """Return the normalised-temperature cross-entropy of two views of each image.

    NT-Xent, Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    equation 1: of the 2n − 1 other views in a batch, a view has to find the one of the same image. One
    2n × 2n matrix is all it needs; the general loss of pytorch-metric-learning 2.9 builds 2n × 2n(2n − 2),
    half a gigabyte at n = 256.

    Parameters
    ----------
    first, second
        Projections of shape (n, d), n of at least 2; row i of both belongs to image i. Any length.
    temperature
        Divides the cosine similarities.

    Returns
    -------
    torch.Tensor
        The mean over the 2n views, float32.
    """
    count = len(first)
    rows = torch.nn.functional.normalize(torch.cat([first, second]).float(), dim=1)
    logits = (rows @ rows.T) / temperature
    logits.fill_diagonal_(-torch.inf)
    partners = torch.arange(2 * count, device=rows.device).roll(count)
    return torch.nn.functional.cross_entropy(logits, partners)


class _Residual(torch.nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.change = _convolution(channels, channels)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = maps + self.change(maps)
        return changed


def _convolution(before: int, after: int, *, size: int = 3, stride: int = 1) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv2d(before, after, size, stride, size // 2, bias=False),
        torch.nn.BatchNorm2d(after),
        torch.nn.ReLU(inplace=True),
    )
