"""Weights from files into timm's networks: renamed, resampled and checked. Importing this imports torch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import safetensors.torch
from safetensors import SafetensorError

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.transformers_models import to_timm

if TYPE_CHECKING:
    import torch

    from clinical_backend.learner.backbones.base import BackboneSpec

__all__ = ["fill", "read_tensors"]


def read_tensors(spec: BackboneSpec) -> dict[str, torch.Tensor]:
    """Return the tensors of a backbone's file, with names as timm's networks or their converters know them.

    Raises
    ------
    ModelError
        When the file cannot be read, or is not what the layout says.
    """
    assert spec.weights is not None
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(spec.weights)
        if spec.layout == "transformers":
            return to_timm(tensors, spec.architecture)
    except (SafetensorError, OSError, RuntimeError, LookupError, ValueError) as error:
        raise _misfit(error) from None
    if spec.layout == "open_clip":
        return _image_tower(tensors)
    return {name.removeprefix("timm_model."): tensor for name, tensor in tensors.items()}  # as transformers wraps timm


def fill(body: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Put tensors into a timm network, by timm's own converter for it, which also resamples positions.

    Raises
    ------
    ModelError
        When they are of another network.
    """
    convert = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    try:
        converted = tensors if convert is None else convert(tensors, body)
        loaded = body.load_state_dict(converted, strict=False)
    except Exception as error:  # noqa: BLE001 - converters fail in many ways at what is not theirs
        raise _misfit(error) from None
    classifier = cast("dict[str, Any]", body.pretrained_cfg).get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    missing = [name for name in loaded.missing_keys if not name.endswith("num_batches_tracked")]
    surplus = [name for name in loaded.unexpected_keys if not name.startswith(heads)]
    if missing or surplus:
        example = (missing or surplus)[0]
        raise ModelError(
            f"The weights are of another network: {len(missing)} tensors are missing and {len(surplus)} have no place "
            f"({example}).",
            "Check that the file belongs to the architecture that BACKBONE or its config.json names.",
        )


def _image_tower(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what belongs to the image tower of an open_clip model, without its projection."""
    trunk = "visual.trunk."
    if any(name.startswith(trunk) for name in tensors):
        return {name.removeprefix(trunk): tensor for name, tensor in tensors.items() if name.startswith(trunk)}
    return {name: tensor for name, tensor in tensors.items() if name.startswith("visual.") and name != "visual.proj"}


def _misfit(error: Exception) -> ModelError:
    return ModelError(
        f"The weights do not fit the architecture, or cannot be read ({type(error).__name__}).",
        "Check that the file belongs to the architecture that BACKBONE or its config.json names, and is whole: "
        "what is cloned without Git LFS are pointers to files.",
    )
