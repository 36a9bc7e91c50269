"""Which backbone a name means, and the network that is ready to embed."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from urllib.parse import parse_qs

from clinical_backend.errors import ModelError
from clinical_backend.learner.artifact import file_sha256, sha256
from clinical_backend.learner.backbones.base import (
    DEFAULT_BACKBONE,
    PACKAGED,
    Backbone,
    BackboneSpec,
    Device,
    available_cpus,
)
from clinical_backend.learner.backbones.sized import SizedBackbone
from clinical_backend.system.files import write_aside

__all__ = ["load_backbone", "parse_backbone", "trainable_spec"]

logger = logging.getLogger(__name__)

_JOINED = ("tf_efficientnet_lite0", "tf_efficientnet_lite2")
_JOINED_SIZES = (128, 224)
"""Small images, as cells cut out of a slide, gain nothing above 128 pixels; 224 is what both networks do well at, and a
third cheaper than the 260 that Lite2 was trained with (docs/features.md)."""
_IMAGE_SIZE = 128
"""Of one network, where IMAGE_SIZE does not say."""

_CURE_NAME = (
    "Use efficientnet_lite, efficientnet_lite0, timm:ARCHITECTURE?weights=/path/of/file.safetensors, or "
    "timm:ARCHITECTURE?weights=pretrained where timm may download."
)


def load_backbone(
    name: str = DEFAULT_BACKBONE,
    *,
    folder: Path,
    image_size: int | None = None,
    device: Device = "auto",
    threads: int | None = None,
) -> Backbone:
    """Return a backbone that is ready to embed.

    On a CPU the network runs in ONNX Runtime. The first call exports it into the folder (some ten seconds,
    and torch is imported); later ones, in any process, read that file. Where a CUDA device is used, torch
    runs it.

    Parameters
    ----------
    name
        Which backbone; see the module.
    folder
        Where exported networks and downloaded weights are kept; made if it is missing.
    image_size
        Side of the square input in pixels; by default the backbone's own, of which it may have several.
    device
        ``auto`` takes CUDA where it is present.
    threads
        CPU threads of the network; by default one for each CPU that this process may use.

    Raises
    ------
    ModelError
        When the name is unknown, weights are missing, changed or of another network, the architecture does
        not take this image size, or CUDA is asked for and not there.
    """
    spec = parse_backbone(name, image_size=image_size, folder=folder)
    if len(spec.sizes) > 1:
        return SizedBackbone(spec, lambda one: _load(one, folder, device, threads))
    return _load(spec, folder, device, threads)


def _load(spec: BackboneSpec, folder: Path, device: Device, threads: int | None) -> Backbone:
    if device == "cuda" or (device == "auto" and _may_have_cuda()):
        from clinical_backend.learner.backbones.networks import cuda_backbone  # noqa: PLC0415 (imports torch)

        backbone = cuda_backbone(spec, required=device == "cuda")
        if backbone is not None:
            return backbone
    from clinical_backend.learner.backbones.exported import exported_backbone  # noqa: PLC0415

    return exported_backbone(spec, folder, threads=threads or available_cpus())


def parse_backbone(name: str, *, image_size: int | None = None, folder: Path) -> BackboneSpec:
    """Return which network a name means, with the hash of its weights; downloads them if the name says so.

    Raises
    ------
    ModelError
        When the name cannot be understood, or the weights are not there.
    """
    if name == DEFAULT_BACKBONE:
        weights_sha256 = sha256("".join(PACKAGED[member].sha256 for member in _JOINED).encode())
        sizes = _JOINED_SIZES if image_size is None else (image_size,)
        return BackboneSpec(name, None, weights_sha256, sizes[-1], sizes, _JOINED)
    image_size = image_size or _IMAGE_SIZE
    if f"tf_{name}" in PACKAGED:
        return BackboneSpec(f"tf_{name}", None, PACKAGED[f"tf_{name}"].sha256, image_size)
    prefix, _, rest = name.partition(":")
    architecture, _, query = rest.partition("?")
    weights = parse_qs(query).get("weights", [""])[0]
    if prefix != "timm" or not architecture:
        raise ModelError(f"The backbone {name!r} is not known.", _CURE_NAME)
    if not weights:
        raise ModelError(f"The backbone {name!r} does not say where its weights are.", _CURE_NAME)
    if weights == "pretrained":
        from clinical_backend.learner.backbones.networks import download_weights  # noqa: PLC0415 (imports torch)

        path = folder / f"{architecture}.safetensors"
        if not _is_as_downloaded(path):
            download_weights(architecture, path)
            _note_download(path)
    else:
        path = Path(weights).expanduser()
    if path.suffix != ".safetensors" or not path.is_file():
        raise ModelError(
            f"The weights of the backbone {architecture} are not a safetensors file that exists.",
            "Give the full path of a .safetensors file; other formats can hold programs and are not read.",
        )
    return BackboneSpec(architecture, path, file_sha256(path), image_size)


def trainable_spec(spec: BackboneSpec) -> BackboneSpec:
    """Return the network that fine-tuning goes on from: of joined ones the first, for the smallest squares."""
    if not spec.members:
        return spec
    architecture = spec.members[0]
    return BackboneSpec(architecture, None, PACKAGED[architecture].sha256, spec.sizes[0])


def _is_as_downloaded(path: Path) -> bool:
    """Tell whether downloaded weights are there and unchanged: other ones would silently be another backbone."""
    if not path.is_file():
        return False
    note = path.with_suffix(".sha256")
    if not note.is_file():  # an earlier version kept none
        _note_download(path)
        return True
    if note.read_text().strip() == file_sha256(path):
        return True
    logger.warning("The weights in %s were changed on disk and are downloaded again", path)
    return False


def _note_download(path: Path) -> None:
    try:
        write_aside(path.with_suffix(".sha256"), f"{file_sha256(path)}\n".encode())
    except OSError as error:
        logger.warning("The checksum of %s is not kept: %s", path, error.strerror)


def _may_have_cuda() -> bool:
    """Whether it is worth importing torch to look for a CUDA device."""
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
