"""What stands for a network where the features of all images are there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.learner.backbones.base import Backbone
from clinical_backend.learner.backbones.loading import parse_backbone

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["NoNetwork"]


class NoNetwork(Backbone):
    """Makes no features.

    Parameters
    ----------
    folder
        Where backbones are kept.
    dimension
        Length of the features that are there.
    """

    engine = "none"

    def __init__(self, folder: Path, dimension: int) -> None:
        super().__init__(parse_backbone("efficientnet_lite0", image_size=32, folder=folder), dimension)

    def _forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise NotImplementedError
