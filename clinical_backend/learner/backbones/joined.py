"""Several networks as one backbone, each described by more than the mean of its last layer.

A finding on an image of clinical size is small: the mean over all places drowns it, the spread over places (the
standard deviation) shows it. So each network gives means and spreads of its last layer, and the spreads of its earlier
stages, which see texture. Each network's values are power-normalised by themselves and count the same. What comes of
it is long, and goes through one fixed random projection (Achlioptas, "Database-friendly random projections", JCSS 2003)
to the length of one network's last layer: inner products stay, so storage and rounds cost as much as for one network.

Importing this imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["JoinedNetwork", "StageStatistics", "random_signs"]

_STAGES = 4
"""The last ones of timm's five: the first sees edges at half the resolution, of every image alike."""
_DIMENSION = 1280
"""Of a joined feature, as of Lite0's last layer alone; see docs/features.md."""
_LEAST = 1e-12


class StageStatistics(torch.nn.Module):
    """Mean and spread of a convolutional network's last layer, and the spreads of its last stages.

    Input: float32, normalised, shape (n, 3, s, s). Output: float32, shape (n, d), power-normalised.

    Parameters
    ----------
    body
        A network of timm with ``forward_intermediates``, as its convolutional ones have it.
    """

    def __init__(self, body: torch.nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the statistics of images."""
        last, stages = cast("Any", self.body).forward_intermediates(images, indices=_STAGES)
        values = torch.cat([last.mean((2, 3)), _spread(last), *map(_spread, stages)], dim=1)
        roots = values.sign() * values.abs().clamp(min=_LEAST).sqrt()
        return normalize(roots, dim=1)


class JoinedNetwork(torch.nn.Module):
    """Networks of equal weight, projected to one length.

    Input: float32, normalised, shape (n, 3, s, s). Output: float32, shape (n, 1280). The cosine of two features is
    about the mean of the networks' cosines.

    Parameters
    ----------
    members
        The networks.
    """

    projection: torch.Tensor

    def __init__(self, members: Sequence[StageStatistics]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(members).eval()  # else the probe would change their running means
        with torch.inference_mode():
            probe = torch.zeros((1, 3, 64, 64))
            length = sum(member(probe).shape[1] for member in members)
        signs = torch.from_numpy(random_signs(length, _DIMENSION))
        self.register_buffer("projection", signs / (_DIMENSION * len(members)) ** 0.5, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of images."""
        joined = torch.cat([member(images) for member in self.members], dim=1)
        features: torch.Tensor = joined @ self.projection
        return features


def random_signs(rows: int, columns: int) -> NDArray[np.float32]:
    """Return a fixed random matrix of −1 and 1, shape (rows, columns), float32.

    It is made of a generator's bare bits, which NumPy promises to keep: features of one key must stay comparable.
    """
    words = np.random.PCG64(0).random_raw((rows * columns + 63) // 64)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8))[: rows * columns]
    return (2.0 * bits.astype(np.float32) - 1.0).reshape(rows, columns)


def _spread(maps: torch.Tensor) -> torch.Tensor:
    centred = maps - maps.mean((2, 3), keepdim=True)
    return (centred * centred).mean((2, 3)).clamp(min=_LEAST).sqrt()
