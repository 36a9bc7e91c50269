"""What exemplars from outside are worth on day one, beside own ones and none, also where they look another way.

``clinical bench outside-exemplars``
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from rich.console import Console
from rich.table import Table

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.decoding import decode
from clinical_backend.lab.experiments.datasets import load_images
from clinical_backend.lab.experiments.features import features_of_set, opened
from clinical_backend.lab.experiments.learners import FixedFeatures
from clinical_backend.lab.experiments.protocol import PROTOCOLS, draw
from clinical_backend.lab.experiments.simulation import simulate
from clinical_backend.lab.experiments.strategies import LIVE
from clinical_backend.learner.backbones.embedder import Embedder
from clinical_backend.learner.backbones.loading import load_backbone
from clinical_backend.strategy.outside import OutsideExemplars, standing_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.lab.experiments.datasets import LabelledImages
    from clinical_backend.lab.experiments.protocol import Draw as Drawn
    from clinical_backend.lab.experiments.protocol import Protocol
    from clinical_backend.learner.backbones.base import Backbone

__all__ = ["ARMS", "Arm", "Start", "labels_until_first", "main", "shifted", "starts", "with_error"]

_CACHE = Path(".cache/experiments")
_PROJECTS = {"blood cells": "blood-named", "chest X-rays": "chest-named", "skin lesions": "skin"}
_LABELS, _BATCH = 50, 10
_FOUND_AT = (20, 50)
_OUTSIDE = 2
"""Tells these random numbers from the others of a seed."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What a project begins with, of each rare class.

    Attributes
    ----------
    own, outside
        Exemplars of the project, and from outside.
    shift
        How these look another way, as :func:`shifted` names it.
    twins
        Whether these are the very images that as many own exemplars would be, in place of held-out ones: what is left
        of a difference then is what it costs to be from outside, and not what the images are.
    """

    own: int = 0
    outside: int = 0
    shift: str = ""
    twins: bool = False

    @property
    def name(self) -> str:
        """In words."""
        if self.own:
            return f"{self.own} own"
        how = ", the own ones" if self.twins else f", {self.shift}" if self.shift else ""
        return f"{self.outside} outside{how}" if self.outside else "none"


ARMS = (
    Arm(),
    *(Arm(own=count) for count in (1, 3)),
    *(Arm(outside=count, shift=shift) for count in (1, 3) for shift in ("", "all")),
    *(Arm(outside=count, twins=True) for count in (1, 3)),
    *(Arm(outside=3, shift=shift) for shift in ("contrast", "blur", "colour")),
)


@dataclass(frozen=True, slots=True)
class Start:
    """What came of one project.

    Attributes
    ----------
    first
        Labels until the first rare case; one more than all that were given where there was none.
    found
        Rare cases found, by number of labels.
    """

    first: int
    found: Mapping[int, int]


def shifted(image: Image.Image, shift: str) -> Image.Image:
    """Return an image as another device or another stain may show it.

    ``contrast`` halves the contrast, ``blur`` softens with a standard deviation of a hundredth of the longer side, and
    ``colour`` scales red by 1.25 and blue by 0.75; ``all`` does all three.
    """
    if shift in {"contrast", "all"}:
        image = ImageEnhance.Contrast(image).enhance(0.5)
    if shift in {"blur", "all"}:
        image = image.filter(ImageFilter.GaussianBlur(max(image.size) / 100))
    if shift in {"colour", "all"}:
        scaled = np.asarray(image, dtype=np.float32) * np.array([1.25, 1.0, 0.75], dtype=np.float32)
        image = Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))
    return image


def starts(
    protocol: Protocol, data: LabelledImages, features: NDArray[np.float32], backbone: Backbone, seed: int
) -> Iterator[tuple[Arm, Start]]:
    """Simulate one project with each of ``ARMS``: all have the same pool."""
    protocol = replace(protocol, labels=_LABELS, batch=_BATCH, named=True)
    for arm in ARMS:
        begun = replace(protocol, exemplars=arm.own)
        drawn = draw(begun, data, seed)
        outside = None
        if arm.outside:
            cases = _twins(begun, data, arm, seed) if arm.twins else _held_out(data, drawn, arm, seed)
            outside = _outside(data, cases, arm, backbone)
        found = simulate(begun, drawn, data, FixedFeatures(features), LIVE, seed=seed, outside=outside).found
        yield arm, Start(labels_until_first(found), {stop: found[stop - 1] for stop in _FOUND_AT})


def _held_out(data: LabelledImages, drawn: Drawn, arm: Arm, seed: int) -> list[tuple[int, str]]:
    """Return images that no pool holds, of each rare class; the same ones for each shift."""
    generator = np.random.default_rng([seed, _OUTSIDE])
    chosen = []
    for name in drawn.rare_classes:
        cases = generator.permutation(np.flatnonzero(data.members(name) & data.held_out))[: arm.outside]
        chosen += [(int(index), name) for index in cases]
    return chosen


def _twins(protocol: Protocol, data: LabelledImages, arm: Arm, seed: int) -> list[tuple[int, str]]:
    """Return the images that as many own exemplars would be, which come on top of the pool."""
    drawn = draw(replace(protocol, exemplars=arm.outside), data, seed)
    return [(int(index), data.label(int(index))) for index in drawn.exemplars]


def _outside(data: LabelledImages, cases: Sequence[tuple[int, str]], arm: Arm, backbone: Backbone) -> OutsideExemplars:
    """Return images, shifted, as exemplars of their classes."""
    pictures = [shifted(opened(data, index), arm.shift) for index, _ in cases]
    rows = [row for row in Embedder(backbone, decode).embed(pictures) if not isinstance(row, ImageError)]
    ids = np.array([standing_id(place) for place in range(1, len(rows) + 1)], dtype=np.int64)
    return OutsideExemplars(ids, np.stack(rows), tuple(name for _, name in cases))


def main(seeds: int) -> None:
    """Simulate, and print a table of each set."""
    console = Console(width=150)
    backbone = load_backbone(folder=_CACHE / "backbones", device="auto")
    for title, name in _PROJECTS.items():
        data = load_images(PROTOCOLS[name].dataset, cache=_CACHE)
        features = np.load(features_of_set(data, backbone, _CACHE / "features", lambda *_: None))
        results: dict[Arm, list[Start]] = {arm: [] for arm in ARMS}
        for seed in range(seeds):
            for arm, start in starts(PROTOCOLS[name], data, features, backbone, seed):
                results[arm].append(start)
        console.print(_table(f"{title}: {seeds} projects each, mean ± standard error", results))


def _table(title: str, results: Mapping[Arm, Sequence[Start]]) -> Table:
    table = Table(title=title)
    for heading in ("exemplars of each finding", "labels until the first", *(f"found at {stop}" for stop in _FOUND_AT)):
        table.add_column(heading, justify="right")
    for arm, of_arm in results.items():
        columns = [[one.first for one in of_arm], *([one.found[stop] for one in of_arm] for stop in _FOUND_AT)]
        table.add_row(arm.name, *(with_error(values) for values in columns))
    return table


def labels_until_first(found: Sequence[int]) -> int:
    """Return which label was the first of a rare case, by how many were found after each; one more where none was."""
    return next((place for place, count in enumerate(found, start=1) if count), len(found) + 1)


def with_error(values: Sequence[int]) -> str:
    """Return a mean with its standard error."""
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.1f}"
