"""Parts of a pool that are read where the shard is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.embedding import Embedding
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Part: TypeAlias = Callable[[], Embedding]

__all__ = ["Rows"]


@dataclass(frozen=True)
class Rows:
    """Some rows of a file of float32 features, as the feature store writes it, mapped and not read at once.

    Attributes
    ----------
    path
        The file, on every machine that may hold the shard.
    dimension
        Length of a feature.
    start, stop
        The rows.
    """

    path: str | Path
    dimension: int
    start: int
    stop: int

    def __call__(self) -> Embedding:
        """Return the features.

        Raises
        ------
        InvalidArgumentError
            Where the file is missing or too short.
        """
        path = Path(self.path)
        size = path.stat().st_size // (4 * self.dimension) if path.is_file() else 0
        if not 0 <= self.start <= self.stop <= size:
            raise InvalidArgumentError(
                "parts",
                f"rows {self.start} to {self.stop} are wanted of a file that has {size} on this machine.",
                "Put the file where every node reads it, and give the length of its features.",
            )
        if self.start == self.stop:
            return Embedding(np.empty((0, self.dimension), np.float32))
        return Embedding(
            np.memmap(
                path,
                np.float32,
                mode="r",
                offset=4 * self.dimension * self.start,
                shape=(self.stop - self.start, self.dimension),
            )
        )
