"""Backbones that are worth a try, by what the images are. Sources and published figures: docs/backbones.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["MODALITIES", "PRESETS", "Preset"]


@dataclass(frozen=True, slots=True)
class Preset:
    """A network that can be named.

    Attributes
    ----------
    backbone
        What BACKBONE is set to. ``FOLDER`` stands for a folder that its weights were converted into.
    modalities
        What images it is for; ``any`` for all.
    architecture
        Its name in timm.
    parameters
        Millions of them, in the part that makes features.
    dimension
        Length of a feature.
    image_size
        Side of the images that it was trained with.
    megabytes
        Of the file that is downloaded.
    licence
        As its publisher states it.
    gated
        Whether an account has to accept terms first.
    needs
        What is to be done before, besides that.
    note
        What it was trained on, or what is known of it.
    """

    backbone: str
    modalities: tuple[str, ...]
    architecture: str
    parameters: float
    dimension: int
    image_size: int
    megabytes: int
    licence: str
    gated: bool
    needs: str
    note: str


MODALITIES: Final = {
    "any": "whatever the images are",
    "xray": "chest X-rays and other radiographs",
    "ct": "single slices of CT or MRI",
    "skin": "photographs and dermoscopy of skin",
    "fundus": "photographs of the retina",
    "histology": "tiles of stained tissue",
}
"""Kinds of images, by the words that the command takes."""

_CONVERSION = "convert its .bin to safetensors"

PRESETS: Final = (
    Preset(
        "efficientnet_lite", ("any",), "efficientnet_lite", 8.2, 1280, 224, 0, "Apache-2.0", False, "",
        "ImageNet; the default, in the installation: Lite0 and Lite2 joined; small images at 128 px",
    ),
    Preset(
        "efficientnet_lite0", ("any",), "tf_efficientnet_lite0", 3.4, 1280, 128, 0, "Apache-2.0", False, "",
        "ImageNet; in the installation; the quickest on a CPU",
    ),
    Preset(
        "vit_small_patch14_dinov2.lvd142m", ("any",), "vit_small_patch14_dinov2", 22.1, 384, 518, 88, "Apache-2.0",
        False, "", "DINOv2, natural images; with IMAGE_SIZE=224 quick enough for a CPU",
    ),
    Preset(
        "vit_base_patch14_dinov2.lvd142m", ("any",), "vit_base_patch14_dinov2", 86.6, 768, 518, 346, "Apache-2.0",
        False, "", "DINOv2, natural images",
    ),
    Preset(
        "vit_small_patch16_dinov3.lvd1689m", ("any", "xray", "ct", "skin", "fundus"), "vit_small_patch16_dinov3",
        21.6, 384, 256, 86, "DINOv3 licence", False, "", "DINOv3, natural images; the first to try beside the default",
    ),
    Preset(
        "vit_base_patch16_dinov3.lvd1689m", ("any", "xray", "ct", "skin", "fundus"), "vit_base_patch16_dinov3", 85.6,
        768, 256, 343, "DINOv3 licence", False, "", "DINOv3, natural images",
    ),
    Preset(
        "convnext_tiny.dinov3_lvd1689m", ("any",), "convnext_tiny", 27.8, 768, 224, 111, "DINOv3 licence", False, "",
        "DINOv3 in a convolutional network",
    ),
    Preset(
        "hf-hub:microsoft/rad-dino", ("xray",), "vit_base_patch14_dinov2", 86.6, 768, 518, 346, "MIT", False, "",
        "chest X-rays, self-supervised; for research",
    ),
    Preset(
        "hf-hub:google/medsiglip-448", ("xray", "ct", "skin", "fundus", "histology"), "vit_so400m_patch14_siglip_384",
        428.6, 1152, 448, 3500, "HAI-DEF terms", True, "a GPU, or patience",
        "X-rays, skin, eyes, tissue, slices of CT and MRI, with their reports; can be asked by words",
    ),
    Preset(
        "FOLDER of microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224", ("any", "xray", "histology"),
        "vit_base_patch16_224", 85.8, 768, 224, 784, "MIT", False, _CONVERSION,
        "figures and captions of 15 million figures of articles; can be asked by words",
    ),
    Preset(
        "FOLDER of MahmoodLab/UNI", ("histology",), "vit_large_patch16_224", 303.4, 1024, 224, 1213,
        "CC-BY-NC-ND-4.0", True, _CONVERSION, "100 million tiles",
    ),
    Preset(
        "FOLDER of MahmoodLab/UNI2-h", ("histology",), "vit_giant_patch14_224", 681.4, 1536, 224, 2726,
        "CC-BY-NC-ND-4.0", True, f"{_CONVERSION}; a GPU", "200 million tiles, H&E and IHC",
    ),
    Preset(
        "FOLDER of bioptimus/H-optimus-0", ("histology",), "vit_giant_patch14_reg4_dinov2", 1134.8, 1536, 224, 4540,
        "Apache-2.0", False, f"{_CONVERSION}; a GPU", "slides, H&E",
    ),
)  # fmt: skip
"""Each was tried with random weights in this form; only those of the default come with the installation."""
