"""Features of exemplars from outside: made of their pixels, and represented as a project's tasks are."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clinical_backend.errors import ImageError
from clinical_backend.strategy.instances import Instances
from clinical_backend.strategy.outside import OutsideExemplars, exemplar_of, standing_id
from clinical_backend.text import amount
from clinical_backend.workspace.features import Representation, join, thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from clinical_backend.workspace.features import AdaptedFeatures
    from clinical_backend.workspace.workspace import ProjectWorkspace, Represented

__all__ = ["as_png", "embed_outside", "notes_on_outside", "outside_findings", "outside_in"]

logger = logging.getLogger(__name__)


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image, shape (height, width, 3), uint8, as PNG."""
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def outside_findings(project: ProjectWorkspace) -> dict[int, str]:
    """Return the finding of each exemplar from outside, by what stands for it among tasks."""
    return {standing_id(one.id): one.finding for one in project.stores.outside_exemplars.all(project.id)}


def embed_outside(project: ProjectWorkspace) -> None:
    """Make the features of a project's exemplars from outside that lack one of the backbone.

    Raises
    ------
    ModelError
        When the network fails.
    """
    store, workspace = project.stores.outside_exemplars, project.workspace
    known = store.all(project.id)
    if not known:
        return
    key = workspace.backbone.key
    made = store.features(project.id, key, workspace.backbone.dimension)
    pictures = _pictures(project, [one.id for one in known if one.has_pixels and one.id not in made])
    for number, feature in zip(pictures, workspace.features.embedder.embed(pictures.values()), strict=True):
        if not isinstance(feature, ImageError):
            store.keep_feature(number, key, feature)


def notes_on_outside(project: ProjectWorkspace) -> list[str]:
    """Say how many exemplars from outside lost their features to another backbone, if any did."""
    known = project.stores.outside_exemplars.all(project.id)
    lost = sum(not one.steers_with(project.workspace.backbone.key) for one in known)
    if not lost:
        return []
    what = amount(lost, "exemplar from outside steers", "exemplars from outside steer")
    return [f"{what} no more: the backbone was changed, and no pixels were kept. Remove and add again what is wanted."]


def outside_in(
    project: ProjectWorkspace, representation: Represented, outside: Mapping[str, Iterable[int]]
) -> OutsideExemplars | None:
    """Return exemplars from outside as tasks of one image are represented; those without all parts are left out.

    Parameters
    ----------
    outside
        By finding what stands for them, as a target has it.
    """
    findings = {exemplar_of(one) or 0: name for name, ids in outside.items() for one in ids}
    if not findings:
        return None
    backbone = project.workspace.backbone
    kept = project.stores.outside_exemplars.features(project.id, backbone.key, backbone.dimension)
    frozen = {number: feature for number, feature in kept.items() if number in findings}
    adapted = representation.images.adapted
    found = frozen if adapted is None else _joined(project, adapted, frozen)
    if not isinstance(representation, Representation):
        nothing = np.zeros(1, dtype=np.int64)
        found = {
            number: representation.represent(Instances(nothing, feature[None], nothing, nothing))[0]
            for number, feature in found.items()
        }
    if not found:
        return None
    ids = np.array([standing_id(number) for number in found], dtype=np.int64)
    return OutsideExemplars(ids, np.stack(list(found.values())), tuple(findings[number] for number in found))


def _joined(
    project: ProjectWorkspace, adapted: AdaptedFeatures, frozen: Mapping[int, NDArray[np.float32]]
) -> dict[int, NDArray[np.float32]]:
    """Return the features of those that have pixels, joined with the adapted network's."""
    pictures = _pictures(project, frozen)
    if not pictures:
        return {}
    small = np.stack([thumbnail(np.asarray(picture)) for picture in pictures.values()])
    rows = join(np.stack([frozen[number] for number in pictures]), adapted.backbone.embed(small))
    return dict(zip(pictures, rows, strict=True))


def _pictures(project: ProjectWorkspace, numbers: Iterable[int]) -> dict[int, Image.Image]:
    """Return the pixels of those that have some, of which one may just have been removed."""
    pictures = {}
    for number in numbers:
        content = project.stores.outside_exemplars.pixels(project.id, number)
        if content is None:
            continue
        try:  # as we wrote it, and no stranger's file; but disks fail
            with Image.open(BytesIO(content), formats=["PNG"]) as image:
                pictures[number] = image.convert("RGB")
        except (OSError, SyntaxError, ValueError):
            logger.warning("Project %d: the pixels of exemplar %d from outside are damaged", project.id, number)
    return pictures
