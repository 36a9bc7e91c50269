"""A backbone that takes squares of several sizes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from clinical_backend.learner.backbones.base import Backbone

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from clinical_backend.learner.backbones.base import BackboneSpec

__all__ = ["SizedBackbone"]


class SizedBackbone(Backbone):
    """One network, made ready for several sizes of squares; for each when the first square of that size comes.

    Parameters
    ----------
    spec
        The network, with its sizes.
    load
        Returns it for one of them.
    """

    def __init__(self, spec: BackboneSpec, load: Callable[[BackboneSpec], Backbone]) -> None:
        self._of_size = cache(lambda size: load(spec.at(size)))
        smallest = self._of_size(spec.sizes[0])
        super().__init__(spec, smallest.dimension)
        self.engine, self.batch_size = smallest.engine, smallest.batch_size
        self._normalises = True  # as the backbone of each size does

    def _forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._of_size(batch.shape[1]).embed(batch)
