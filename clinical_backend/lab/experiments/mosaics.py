"""Images with several findings, made of images with one class each: four cells, and the union of their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["mosaics"]

_SIDE = 2
_TRAINING, _TEST = 5600, 1000
"""Of which 5,000 are a pool, and the rest hold exemplars; the test set has 20 cases of a finding of 2 %."""
_SHARE = 0.0225
"""Of each rare finding: 2 % of a pool of 5,000, and exemplars besides."""
_BOTH = 0.05
"""Of the mosaics with a rare finding, so many have another one as well."""


def mosaics(
    images: Sequence[NDArray[np.uint8]],
    labels: NDArray[np.int64],
    held_out: NDArray[np.bool_],
    rare: Sequence[int],
    *,
    seed: int,
) -> tuple[list[NDArray[np.uint8]], NDArray[np.bool_], NDArray[np.bool_]]:
    """Make images of four others, 2 × 2.

    Cells of classes that are not rare are drawn as they come; in 2.25 % of the mosaics, for each rare class, one cell
    is of it, and seldom another one of another rare class. Cells that are held out make mosaics that are.

    Parameters
    ----------
    images
        Pixels, all of one shape, uint8.
    labels
        Their class indices, shape (n,).
    held_out
        Which of them are held out, shape (n,).
    rare
        Indices of the rare classes.
    seed
        Of the draws.

    Returns
    -------
    tuple
        The mosaics, which classes each shows, shape (m, C), and which are held out, shape (m,).
    """
    generator = np.random.default_rng(seed)
    made: list[NDArray[np.uint8]] = []
    shows: list[NDArray[np.bool_]] = []
    for count, cells in ((_TRAINING, np.flatnonzero(~held_out)), (_TEST, np.flatnonzero(held_out))):
        common = cells[~np.isin(labels[cells], rare)]
        wanted = np.full(count, -1)
        of_each = round(_SHARE * count)
        wanted[: of_each * len(rare)] = np.repeat(rare, of_each)
        for first in generator.permutation(wanted):
            chosen = generator.choice(common, _SIDE * _SIDE, replace=False)
            if first >= 0:
                seldom = generator.random() < _BOTH and len(rare) > 1
                second = [int(generator.choice([code for code in rare if code != first]))] if seldom else []
                for place, code in enumerate([int(first), *second]):
                    chosen[place] = generator.choice(cells[labels[cells] == code])
            shown = np.zeros(int(labels.max()) + 1, dtype=np.bool_)
            shown[labels[chosen]] = True
            tiles = [images[int(cell)] for cell in generator.permutation(chosen)]
            rows = [np.concatenate(tiles[start : start + _SIDE], axis=1) for start in range(0, len(tiles), _SIDE)]
            made.append(np.concatenate(rows))
            shows.append(shown)
    return made, np.stack(shows), np.arange(len(made)) >= _TRAINING
