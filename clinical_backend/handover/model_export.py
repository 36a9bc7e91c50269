"""A project's published model, written into one file that needs neither the project nor this backend's state."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.errors import ModelError
from clinical_backend.learner.artifact import sha256
from clinical_backend.learner.backbones.exported import exported_model
from clinical_backend.learner.backbones.loading import LARGEST_EXPORT, load_backbone
from clinical_backend.learner.backbones.preprocessing import to_fitting_square
from clinical_backend.learner.finetuning.network import FinetunedBackbone, load_finetuned
from clinical_backend.learner.portable.model_file import sealed, write_model
from clinical_backend.learner.portable.portable_graph import AdaptedPart, PortableParts, portable_graph
from clinical_backend.learner.portable.portable_model import PortableModel
from clinical_backend.multilabel import LIKELY
from clinical_backend.storage.trail import TrailAction
from clinical_backend.workspace.controls import scheme_of
from clinical_backend.workspace.features import ADAPTED_WEIGHT, THUMBNAIL, Representation, join, thumbnail
from clinical_backend.workspace.finetuned import finetuned_in_use
from clinical_backend.workspace.project_options import named_classes
from clinical_backend.workspace.witness_files import load_image_classifier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical_backend.learner.classifier.linear import LinearClassifier
    from clinical_backend.workspace.workspace import ProjectWorkspace, Workspace

__all__ = ["ExportedFile", "export_model"]

_TOLERANCE = 1e-5
"""Of a probability; what float32 rounds differently in another order was below 3e-7 (docs/handover.md)."""
_PROBES = ((28, 28), (100, 140), (300, 420), (900, 60), (2000, 1500))
"""Heights and widths of what both are asked: enlarged, for the smaller and for the larger square, tall, and so large
that whole boxes of pixels are averaged first."""
_PACKAGES = ("clinical-backend", "onnx", "onnxruntime", "pillow", "torch")


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """What was written.

    Attributes
    ----------
    sha256
        Of the whole file.
    size
        Its bytes.
    description
        What its metadata say.
    difference
        Largest difference of a probability from the backend's, over the probes.
    """

    sha256: str
    size: int
    description: dict[str, Any]
    difference: float


@dataclass(frozen=True, slots=True)
class _Published:
    """What answers for a project: its parts, what the file says of them, and the same by the backend's own way."""

    parts: PortableParts
    about: dict[str, Any]
    probabilities: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def export_model(project: ProjectWorkspace, path: Path) -> ExportedFile:
    """Write the model that *Retrieve predictions* is answered by into one file.

    Before it is written, it is compared with the backend's own way on images of noise.

    Raises
    ------
    ModelError
        When nothing is published that one image alone can be predicted by, a network is missing, changed or too large,
        the file predicts otherwise than the backend, or cannot be written.
    """
    row = project.row
    version = row.published_version if row else None
    found = None if version is None else project.published_model(version)
    if row is None or version is None or found is None:
        raise ModelError(
            f"Project {project.id} has no published model that can be used.",
            "Label two classes, wait for the next round, and export then; `clinical status` says when it is due.",
        )
    classifier, representation = found
    workspace = project.workspace_that_made(representation.key)
    scheme = scheme_of(project)
    of_images = load_image_classifier(project.checkpoint_folder(version), workspace.spec.key)
    by_image = of_images is not None if scheme is None else scheme.per_item
    if by_image and of_images is not None:
        published = _by_head(project, workspace, of_images, adapted=False)
    elif by_image:
        raise ModelError(
            f"The published model of project {project.id} has not learnt from answers about single images.",
            "Answer some image by image, wait for the next round, and export then.",
        )
    elif not isinstance(representation, Representation):
        raise ModelError(
            f"The model of project {project.id} predicts tasks of several images together, which no file of one model "
            "does.",
            "Have readers answer image by image (perItem, see docs/labeling.md): what is learnt from these answers is "
            "exported.",
        )
    else:
        finetuned = None if classifier.independent else finetuned_in_use(project, classifier.classes)
        if finetuned is None:
            published = _by_head(project, workspace, classifier, adapted=representation.adapted is not None)
        else:
            published = _by_finetuned(project, workspace, finetuned.name)
    learnt = published.parts.classifier
    description = {
        "classes": list(learnt.classes),
        "several_findings": learnt.independent,
        "threshold": LIKELY if learnt.independent else None,
        "looked_for": [name for name in named_classes(project.workspace.settings, row) if name in learnt.classes],
        "input": "pixels: uint8, (height, width, 3), RGB from 0 to 255, upright",
        "output": "probabilities: float32, in the order of the classes",
        "squares": list(published.parts.sizes),
        "project": project.id,
        "model_version": version,
        **published.about,
        "versions": {name: version_of(name) for name in _PACKAGES},
    }
    content = sealed(portable_graph(published.parts), description)
    difference = _difference(PortableModel(content), published)
    if not difference <= _TOLERANCE:  # so that a NaN is refused, too
        raise ModelError(
            f"The exported model predicts otherwise than the backend (difference {difference:.1e}).",
            "Report this with the versions of torch, onnx, onnxruntime and Pillow.",
        )
    digest = sha256(content)
    # Before the file, so that none is handed over of which the trail does not tell.
    project.stores.trail.append(TrailAction.MODEL_EXPORTED, project.id, version=version, sha256=digest)
    write_model(path, content)
    return ExportedFile(digest, len(content), description, difference)


def _by_head(
    project: ProjectWorkspace, workspace: Workspace, classifier: LinearClassifier, *, adapted: bool
) -> _Published:
    spec, settings = workspace.spec, workspace.settings
    folder = settings.model_dir / "backbones"
    _require_exportable(spec.weights)
    networks = {size: exported_model(spec.at(size), folder) for size in spec.sizes}
    backbone = load_backbone(settings.backbone, folder=folder, image_size=settings.image_size, device="cpu")
    own = project.adapted() if adapted else None
    part = None
    digests = {f"backbone_{size}": sha256(network) for size, network in networks.items()}
    if own is not None:
        model = (project.adaptation_folder / own.backbone.network.model_name).read_bytes()
        part = AdaptedPart(model, THUMBNAIL, ADAPTED_WEIGHT)
        digests["adapted"] = sha256(model)
    parts = PortableParts(spec.sizes, networks, bool(spec.members), part, classifier)

    def probabilities(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        square = to_fitting_square(pixels, spec.sizes)
        features = backbone.embed(square[None])
        if own is not None:
            features = join(features, own.backbone.embed(thumbnail(square)[None]))
        found: NDArray[np.float32] = classifier.probabilities(features)[0]
        return found

    about = {"network": spec.architecture, "features": spec.key, "parts": digests | _digest_of(classifier)}
    return _Published(parts, about, probabilities)


def _by_finetuned(project: ProjectWorkspace, workspace: Workspace, name: str) -> _Published:
    folder, sizes = project.finetuning_folder / name, workspace.spec.sizes
    network, backbone = load_finetuned(folder), FinetunedBackbone(folder)
    parts = PortableParts(
        sizes, {network.image_size: network.model}, normalises=False, adapted=None, classifier=network.head
    )

    def probabilities(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        square = to_fitting_square(to_fitting_square(pixels, sizes), backbone.sizes)
        found: NDArray[np.float32] = network.head.probabilities(backbone.embed(square[None]))[0]
        return found

    digests = {"finetuned": sha256(network.model)} | _digest_of(network.head)
    about = {"network": f"fine-tuned {network.architecture}", "features": network.key, "parts": digests}
    return _Published(parts, about, probabilities)


def _require_exportable(weights: Path | None) -> None:
    if weights is not None and weights.stat().st_size > LARGEST_EXPORT:
        raise ModelError(
            "The backbone is too large for a file of ONNX, which holds 2 GB.",
            "Set BACKBONE to a smaller network, let it take its place, and export then.",
        )


def _digest_of(classifier: LinearClassifier) -> dict[str, str]:
    return {"classifier": classifier.digest}


def _difference(model: PortableModel, published: _Published) -> float:
    """Return the largest difference of a probability between the file and the backend."""
    generator = np.random.default_rng(0)
    differences: Sequence[float] = [
        float(np.abs(model.probabilities(pixels) - published.probabilities(pixels)).max())
        for pixels in (generator.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in _PROBES)
    ]
    return max(differences)
