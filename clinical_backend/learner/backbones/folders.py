"""Networks in folders: what ``config.json`` beside the weights says of a network, told in timm's terms.

Three formats are known: timm's own, that of open_clip (the image tower is taken) and that of transformers for the
families in ``transformers_models.py``. Nothing but JSON is read here, and torch is not imported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.base import Layout, Normalisation, side_of
from clinical_backend.learner.backbones.transformers_models import describe_transformers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["DESCRIPTIONS", "NetworkFolder", "conversion_needed", "read_folder", "whole_network"]

DESCRIPTIONS = ("config.json", "open_clip_config.json", "preprocessor_config.json")
"""Files that describe a network, by their names on the hub."""

_WEIGHTS = ("model.safetensors", "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
"""Files that hold one, by their names on the hub. A repository may hold the same network as both libraries keep it."""

_UNSAFE = {".bin", ".pt", ".pth", ".ckpt", ".tar", ".pkl", ".npz", ".h5", ".msgpack"}
_USUAL_SIZE = 224  # where nothing tells: what most networks were trained with
# Arguments of timm that are about the classifier or the size of the input, which are chosen here.
_OURS = {"num_classes", "img_size", "in_chans", "dynamic_img_size", "dynamic_img_pad", "strict_img_size", "use_naflex"}


@dataclass(frozen=True, slots=True)
class NetworkFolder:
    """What a folder holds.

    Attributes
    ----------
    architecture, arguments, normalisation, layout
        As ``BackboneSpec`` has them.
    image_size
        The size that the network was trained with.
    weights
        The file that holds its weights.
    """

    architecture: str
    arguments: dict[str, Any]
    normalisation: Normalisation | None
    layout: Layout
    image_size: int
    weights: Path


def read_folder(folder: Path) -> NetworkFolder:
    """Return what a folder holds.

    Raises
    ------
    ModelError
        When it is no such folder, its description is of a network that is not known, or it holds no safetensors.
    """
    if folder.is_file():
        raise ModelError(
            f"{folder} is a file.",
            "Give the folder that holds it beside its config.json, or name the architecture too: "
            "timm:ARCHITECTURE?weights=/path/of/file.safetensors.",
        )
    if not folder.is_dir():
        raise ModelError(
            f"There is no folder {folder}.", "Give the full path of a folder with config.json and weights."
        )
    clip, config = _json(folder / "open_clip_config.json"), _json(folder / "config.json")
    try:
        if clip is not None and (config is None or _is_of_open_clip(_weights(folder))):
            architecture, arguments, normalisation, size = _open_clip(clip)
            layout: Layout = "open_clip"
        elif config is None:
            raise ModelError(
                f"The folder {folder} has neither config.json nor open_clip_config.json.",
                "Name the architecture and the file instead: timm:ARCHITECTURE?weights=/path/of/file.safetensors.",
            )
        elif "architecture" in config:
            architecture, arguments, normalisation, size = _timm(config)
            layout = "timm"
        else:
            described = describe_transformers(config, _json(folder / "preprocessor_config.json"))
            architecture, arguments, normalisation, size = described
            layout = "transformers"
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"The description in {folder} cannot be understood ({type(error).__name__}: {error}).",
            "Save the model anew with timm, transformers or open_clip, or fetch its folder again.",
        ) from None
    return NetworkFolder(architecture, arguments, normalisation, layout, size or _USUAL_SIZE, _weights(folder))


def conversion_needed(where: str, file: str) -> ModelError:
    """Return the refusal of weights that are not safetensors, which says how to convert them."""
    return ModelError(
        f"{where} has its weights in {file} only, a format that can hold programs and is not read.",
        "Convert it where you trust it: python -c \"import torch, safetensors.torch as s; t = torch.load('"
        f"{file}', map_location='cpu', weights_only=True); s.save_file({{n: v.contiguous().clone() for n, v in "
        "t.get('state_dict', t).items()}, 'model.safetensors')\", and give the folder of that file and config.json.",
    )


def whole_network(weights: Sequence[str], files: Sequence[str]) -> str | None:
    """Return which of some safetensors files holds a whole network; ``None`` where that cannot be told.

    Parameters
    ----------
    weights
        Their names.
    files
        Those of all files beside them: where open_clip describes the network, its own weights come first.
    """
    names = sorted(_WEIGHTS, key=lambda name: "open_clip" not in name) if "open_clip_config.json" in files else _WEIGHTS
    return next((name for name in names if name in weights), weights[0] if len(weights) == 1 else None)


def _is_of_open_clip(weights: Path) -> bool:
    """Tell whether a file names its tensors as open_clip does; one that cannot be read is refused when loaded."""
    try:
        with safe_open(weights, framework="numpy") as file:
            return any(name.startswith("visual.") for name in file.keys())  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError):
        return True


def _weights(folder: Path) -> Path:
    found = [path.name for path in sorted(folder.glob("*.safetensors"))]
    whole = whole_network(found, [path.name for path in folder.iterdir()])
    if whole is not None:
        return folder / whole
    if found:
        raise ModelError(
            f"The folder {folder} holds {len(found)} safetensors files.",
            "Name the one with the whole network model.safetensors; weights in several parts are not read.",
        )
    for path in sorted(folder.iterdir()):
        if path.suffix in _UNSAFE:
            raise conversion_needed(f"The folder {folder}", path.name)
    raise ModelError(f"The folder {folder} holds no weights.", "Put model.safetensors beside config.json.")


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The file {path} cannot be read ({type(error).__name__}).", "Fetch it again; it has to be JSON."
        ) from None
    if not isinstance(content, dict):
        raise ModelError(f"The file {path} does not describe a network.", "Fetch it again; it has to be a JSON object.")
    return content


_Described = tuple[str, dict[str, Any], Normalisation | None, int | None]


def _timm(config: dict[str, Any]) -> _Described:
    pretrained = config.get("pretrained_cfg") or config
    arguments = config.get("model_args") or {}
    channels = arguments.get("in_chans") or (pretrained.get("input_size") or (3,))[0]
    if channels != 3:
        raise ModelError(f"The network takes images of {channels} channels.", "Choose one that takes RGB images.")
    own = arguments.get("img_size") or (pretrained.get("input_size") or (3, None))[-1]
    return (
        str(config["architecture"]),
        {name: value for name, value in arguments.items() if name not in _OURS},
        Normalisation.of(pretrained.get("mean"), pretrained.get("std")),
        side_of(own),
    )


def _open_clip(config: dict[str, Any]) -> _Described:
    model = config.get("model_cfg", config)
    vision, preprocessing = model["vision_cfg"], config.get("preprocess_cfg", {})
    # Where nothing is said, open_clip takes these, OpenAI's.
    mean = preprocessing.get("mean") or (0.48145466, 0.4578275, 0.40821073)
    std = preprocessing.get("std") or (0.26862954, 0.26130258, 0.27577711)
    arguments: dict[str, Any]
    if "timm_model_name" in vision:
        architecture, pool = str(vision["timm_model_name"]), vision.get("timm_pool", "avg")
        if "attn" in pool:
            raise _unknown_tower(f"timm_pool={pool}")
        arguments = {"global_pool": pool} if pool else {}
    else:
        architecture, arguments = "vit_base_patch16_clip_224", _clip_tower(model, vision)
    return architecture, arguments, Normalisation.of(mean, std), side_of(vision.get("image_size"))


def _clip_tower(model: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    """Return timm's arguments of a vision transformer as CLIP's authors built it."""
    odd = {
        "attentional_pool",
        "attn_pooler_queries",
        "ls_init_value",
        "no_ln_pre",
        "final_ln_after_pool",
        "norm_kwargs",
    }
    used = sorted(name for name in odd if vision.get(name))
    if used or isinstance(vision["layers"], list) or vision.get("pool_type", "tok") != "tok":
        raise _unknown_tower(", ".join(used) or "no vision transformer with a class token")
    return {
        "patch_size": vision["patch_size"],
        "embed_dim": vision["width"],
        "depth": vision["layers"],
        "num_heads": vision["width"] // vision.get("head_width", 64),
        "mlp_ratio": vision.get("mlp_ratio", 4.0),
        "act_layer": "quick_gelu" if model.get("quick_gelu") else "gelu",
    }


def _unknown_tower(what: str) -> ModelError:
    return ModelError(
        f"The image tower of this open_clip model is not one that is known ({what}).",
        "Choose one whose tower timm has, or a plain vision transformer.",
    )
