"""Views of images for self-supervised learning: what may change in an image without changing what it shows.

Whole batches at once: one affine resampling (rotation, flip, scale, shift), then one pass over the colours.
Importing this imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["VIEWS", "ViewRanges", "are_grey", "draw_views"]

# JPEG keeps colours roughly: the channels of a grey picture may differ by this much, of 255.
_GREY_TOLERANCE = 8
_GREY_SHARE = 0.99  # a stray colour picture in a hundred, as a logo or a coloured overlay, changes nothing


@dataclass(frozen=True, slots=True)
class ViewRanges:
    """How far a view may be from its image.

    Attributes
    ----------
    rotation
        Largest angle in degrees, to either side.
    flips
        Whether mirror images, of either axis, show the same.
    magnification
        Least and largest; above 1 the borders leave the view.
    shift
        Largest shift along an axis, as a share of the side.
    brightness
        Largest change, as a share of the full range.
    contrast
        Largest relative change.
    tint
        Largest relative change of one channel by itself.
    saturation
        Largest relative change of the distance to grey.
    """

    rotation: float
    flips: bool
    magnification: tuple[float, float]
    shift: float
    brightness: float
    contrast: float
    tint: float
    saturation: float


# "general" suits cells, tissue and skin, which lie on the slide or in the picture in any direction and whose
# stain or light varies. "radiograph" suits X-rays and other grey pictures of a body in a known position: up and
# down, left and right have a meaning, so no flips and small rotations, and there is no colour; exposure varies. On
# X-rays general views found 60.7 of 79 cases, not 61.7 (docs/earlier-experiments.md); the ranges were not searched for.
VIEWS: Mapping[str, ViewRanges] = {
    "general": ViewRanges(
        rotation=180.0,
        flips=True,
        magnification=(0.9, 1.8),
        shift=0.1,
        brightness=0.15,
        contrast=0.3,
        tint=0.1,
        saturation=0.3,
    ),
    "radiograph": ViewRanges(
        rotation=15.0,
        flips=False,
        magnification=(0.9, 1.8),
        shift=0.1,
        brightness=0.2,
        contrast=0.4,
        tint=0.0,
        saturation=0.0,
    ),
}


def are_grey(images: NDArray[np.uint8]) -> bool:
    """Whether practically all images, of shape (n, s, s, 3), have no colour."""
    grey = 0
    for start in range(0, len(images), 256):
        chunk = images[start : start + 256].astype(np.int16)
        spread = np.abs(chunk - chunk[..., :1]).mean(axis=(1, 2)).max(axis=1)
        grey += int((spread <= _GREY_TOLERANCE).sum())
    return grey >= _GREY_SHARE * len(images)


def draw_views(images: torch.Tensor, ranges: ViewRanges, generator: torch.Generator) -> torch.Tensor:
    """Return a random view of each image.

    Parameters
    ----------
    images
        Shape (n, 3, s, s), float, values from 0 to 1.
    ranges
        How far a view may be from its image.
    generator
        On the CPU, whatever device the images are on, so that a seed means the same views everywhere.

    Returns
    -------
    torch.Tensor
        Of the same shape, type and range. What lies outside an image is its mirror image.
    """
    grid = torch.nn.functional.affine_grid(
        _draw_transforms(len(images), ranges, generator).to(images), list(images.shape), align_corners=False
    )
    views = torch.nn.functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return _draw_colours(views, ranges, generator)


def _draw_transforms(count: int, ranges: ViewRanges, generator: torch.Generator) -> torch.Tensor:
    """Return affine matrices from view to image coordinates, shape (count, 2, 3)."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle = uniform(-1.0, 1.0) * math.radians(ranges.rotation)
    low, high = ranges.magnification
    scale = torch.exp(-uniform(math.log(low), math.log(high)))
    # Where the view is magnified it may come from anywhere in the image, not from its middle alone.
    room = 2.0 * ranges.shift + (1.0 - scale).clamp(min=0.0)
    mirror = torch.where(uniform(0.0, 1.0) < 0.5, -1.0, 1.0) if ranges.flips else torch.ones(count)
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    rows = [cosine * mirror, -sine, room * uniform(-1.0, 1.0), sine * mirror, cosine, room * uniform(-1.0, 1.0)]
    return torch.stack(rows, dim=1).reshape(count, 2, 3)


def _draw_colours(views: torch.Tensor, ranges: ViewRanges, generator: torch.Generator) -> torch.Tensor:
    def symmetric(channels: int, size: float) -> torch.Tensor:
        drawn = size * (2.0 * torch.rand((len(views), channels, 1, 1), generator=generator) - 1.0)
        return drawn.to(views)

    middle = views.mean(dim=(1, 2, 3), keepdim=True)
    gain = 1.0 + symmetric(1, ranges.contrast)
    if ranges.tint:
        gain = gain * (1.0 + symmetric(3, ranges.tint))
    if ranges.saturation:
        grey = views.mean(dim=1, keepdim=True)
        views = torch.lerp(grey, views, 1.0 + symmetric(1, ranges.saturation))
    offset = middle * (1.0 - gain) + symmetric(1, ranges.brightness)
    return torch.addcmul(offset, views, gain).clamp_(0.0, 1.0)
