"""What right words are worth on day one, and what wrong ones cost, in a simulated joint space of images and texts.

No network made the space: classes lie around directions of their own, a text lies off its class by noise, and all texts
off all images by one gap, as in the spaces of published networks (Liang et al., NeurIPS 2022).

``clinical bench words``
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from clinical_backend.lab.benchmarks.outside_exemplars import labels_until_first, with_error
from clinical_backend.lab.experiments.datasets import LabelledImages
from clinical_backend.lab.experiments.learners import FixedFeatures
from clinical_backend.lab.experiments.phrasings import SetWords
from clinical_backend.lab.experiments.protocol import Protocol, draw
from clinical_backend.lab.experiments.simulation import simulate
from clinical_backend.lab.experiments.strategies import BY_WORDS
from clinical_backend.learner.backbones.joint_space import JointSpace
from clinical_backend.learner.backbones.preprocessing import power_normalised, unit
from clinical_backend.strategy.words import EmbeddedWords

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CLASSES", "SPACE", "found_by", "main", "simulated_set", "words_for_rare"]

CLASSES: Final = ("rare", "second", "third", "fourth", "fifth", "sixth")
SPACE: Final = JointSpace(None, 100.0)
"""The scale at which CLIP's training ends: it is clipped there (Radford et al., ICML 2021, section 2.5)."""
_WIDTH = 64
_SHARED, _GAP, _TEXT_NOISE = 2.0, 2.0, 0.7
"""Lengths beside a class's own direction: of what all images share, of the gap, and of what puts a text off its class.
Chosen so that a text tells its class well, and not perfectly."""
_SPREADS = (2.0, 2.5)
"""Noise of an image: with these, five exemplars' worth of cases are found by features soon, and late."""
_IMAGES, _RARE = 2000, 44
_PROTOCOL = Protocol("simulated", rare_classes=("rare",), pool=1900, named=True, labels=100, batch=10)
_FOUND_AT = (10, 20, 50, 100)


def simulated_set(
    seed: int, *, images: int = 1000, rare: int = 30, spread: float = _SPREADS[0]
) -> tuple[LabelledImages, NDArray[np.float32], NDArray[np.float32]]:
    """Return a labelled set, its features as a backbone gives them, (n, d), and the place of each class's name, (C, d).

    The first images are the rare ones.
    """
    generator = np.random.default_rng(seed)

    def normal(count: int, length: float = 1.0) -> NDArray[np.float32]:
        drawn: NDArray[np.float32] = (length / np.sqrt(_WIDTH) * generator.normal(size=(count, _WIDTH))).astype(
            np.float32
        )
        return drawn

    centres, shared, gap = unit(normal(len(CLASSES))), unit(normal(1)), normal(1, _GAP)
    labels = np.concatenate([np.zeros(rare), generator.integers(1, len(CLASSES), images - rare)]).astype(np.int64)
    placed = unit(_SHARED * shared + centres[labels] + normal(images, spread))
    texts = unit(gap + centres + normal(len(CLASSES), _TEXT_NOISE))
    pixels = [np.zeros((2, 2), dtype=np.uint8)] * images
    data = LabelledImages("simulated", CLASSES, pixels, labels, np.zeros(images, dtype=bool))
    return data, power_normalised(placed), texts


def words_for_rare(features: NDArray[np.float32], texts: NDArray[np.float32], said: str = "rare") -> SetWords:
    """Return what the name of a class, against those of the others, tells of each image, as words for ``rare``."""
    place = CLASSES.index(said)
    words = EmbeddedWords("rare", (said,), texts[[place]], np.delete(texts, [0, place], axis=0))
    placed = SPACE.place(features)
    return SetWords(("rare",), ((said,),), words.scores(SPACE, placed)[None], words.nearest(placed)[None])


def found_by(
    said: str, protocol: Protocol, made: tuple[LabelledImages, NDArray[np.float32], NDArray[np.float32]], seed: int
) -> list[int]:
    """Return how many rare cases one project found after each label, by the name of a class as words, or by none."""
    data, features, texts = made
    words = words_for_rare(features, texts, said) if said else None
    drawn = draw(protocol, data, seed)
    return simulate(protocol, drawn, data, FixedFeatures(features), BY_WORDS, seed=seed, words=words).found


def main(seeds: int) -> None:
    """Simulate, and print a table for each spread."""
    console = Console(width=150)
    for spread in _SPREADS:
        results: dict[tuple[int, str], list[list[int]]] = defaultdict(list)
        for seed, exemplars in product(range(seeds), (0, 1, 3)):
            made = simulated_set(seed, images=_IMAGES, rare=_RARE, spread=spread)
            protocol = replace(_PROTOCOL, exemplars=exemplars)
            for said in ("", "rare", "second"):
                results[exemplars, said].append(found_by(said, protocol, made, seed))
        console.print(_table(f"spread {spread}: {seeds} projects, mean ± standard error", results))


def _table(title: str, results: dict[tuple[int, str], list[list[int]]]) -> Table:
    table = Table(title=title)
    for heading in ("exemplars", "words", "labels until the first", *(f"found at {stop}" for stop in _FOUND_AT)):
        table.add_column(heading, justify="right")
    for (exemplars, said), found in sorted(results.items()):
        columns = [list(map(labels_until_first, found)), *([one[stop - 1] for one in found] for stop in _FOUND_AT)]
        kind = {"": "none", "rare": "right"}.get(said, "wrong")
        table.add_row(str(exemplars), kind, *(with_error(values) for values in columns))
    return table
