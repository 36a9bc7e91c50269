"""What is listed is so: timm's networks have the sizes that are told, and the page names each."""

from pathlib import Path

import pytest
import timm
import torch
from timm.layers import SwiGLUPacked

from clinical_backend.learner.backbones.base import DEFAULT_BACKBONE
from clinical_backend.learner.backbones.packaged import PACKAGED
from clinical_backend.learner.backbones.presets import MODALITIES, PRESETS

PAGE = (Path(__file__).parents[3] / "docs" / "backbones.md").read_text()
# What these networks' own descriptions say beyond the architecture.
ARGUMENTS = {
    "MahmoodLab/UNI": {"init_values": 1.0},
    "MahmoodLab/UNI2-h": {
        "embed_dim": 1536,
        "depth": 24,
        "num_heads": 24,
        "mlp_ratio": 2.66667 * 2,
        "init_values": 1e-5,
        "reg_tokens": 8,
        "no_embed_class": True,
        "mlp_layer": SwiGLUPacked,
    },
}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.backbone)
def test_a_network_has_the_parameters_and_features_that_are_told(preset):
    arguments = ARGUMENTS.get(preset.backbone.removeprefix("FOLDER of "), {})
    if preset.architecture.startswith("vit_"):
        arguments = {**arguments, "img_size": preset.image_size}
    try:
        with torch.device("meta"):
            names = PACKAGED if preset.backbone == DEFAULT_BACKBONE else [preset.architecture]
            networks = [timm.create_model(name, num_classes=0, **arguments) for name in names]
    except RuntimeError:
        pytest.skip("this release of timm looks at numbers as it builds, which takes gigabytes")
    parameters = sum(each.numel() for network in networks for each in network.parameters())
    assert parameters / 1e6 == pytest.approx(preset.parameters, abs=0.1)
    assert networks[0].num_features == preset.dimension
    assert preset.megabytes == 0 or preset.megabytes > 3.9 * preset.parameters


@pytest.mark.parametrize("preset", [each for each in PRESETS if "." in each.backbone], ids=lambda each: each.backbone)
def test_a_name_of_timms_has_weights_of_the_size_and_licence_that_are_told(preset):
    configuration = timm.models.get_pretrained_cfg(preset.backbone)
    assert configuration.hf_hub_id
    assert configuration.input_size[-1] == preset.image_size
    licence = configuration.license or preset.licence  # earlier releases of timm do not tell that of DINOv3
    assert licence.lower().replace(" licence", "-license") == preset.licence.lower().replace(" licence", "-license")


def test_there_is_something_for_each_kind_of_images():
    named = {modality for preset in PRESETS for modality in preset.modalities}
    assert named == set(MODALITIES)


@pytest.mark.parametrize("name", ["RAD-DINO", "MedSigLIP", "BiomedCLIP", "UNI 2", "H-optimus-0", "DINOv2", "DINOv3"])
def test_the_page_tells_the_licence_of_each(name):
    (paragraph,) = (part for part in PAGE.split("\n\n") if part.startswith("Licences bind you"))
    assert name in paragraph
