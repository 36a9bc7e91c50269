"""Vision transformers as the library transformers keeps them: their descriptions and tensors in timm's terms.

The library itself is not needed: ``tests/learner/backbones/test_transformers_models.py`` compares with features that it
gave. A feature is the pooled output of each family: the class token after the last normalisation, but for SigLIP, which
pools by attention.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.base import Normalisation, side_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

__all__ = ["describe_transformers", "to_timm"]

_ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu"}
_REFERENCE = "Choose one of these families, or the same network as timm's hub has it: hf-hub:timm/NAME."


@dataclass(frozen=True, slots=True)
class _Family:
    """A kind of network: how timm's arguments follow from its description."""

    architecture: Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]
    epsilon: float  # of the normalisation layers, where the description leaves the library's default out


def describe_transformers(
    config: Mapping[str, Any], preprocessing: Mapping[str, Any] | None
) -> tuple[str, dict[str, Any], Normalisation | None, int | None]:
    """Return architecture and arguments in timm's terms, what pixels are normalised by, and the size of the input.

    Parameters
    ----------
    config
        What ``config.json`` says.
    preprocessing
        What ``preprocessor_config.json`` says, if there is one.

    Raises
    ------
    ModelError
        When the family is not known, or has a part that timm's has not.
    """
    kind = str(config.get("model_type"))
    vision = dict(config.get("vision_config") or config)
    family = _FAMILIES.get(kind)
    if family is None:
        known = ", ".join(sorted(_FAMILIES))
        raise ModelError(f"A network of the kind {kind!r} of transformers is not known, only {known}.", _REFERENCE)
    if vision.get("num_channels", 3) != 3:
        raise ModelError("The network does not take RGB images.", "Choose one that does.")
    vision.setdefault("hidden_size", 768)  # what transformers leaves out where it is its default
    vision.setdefault("num_hidden_layers", 12)
    vision.setdefault("num_attention_heads", 12)
    architecture, arguments = family.architecture(vision)
    arguments["norm_eps"] = vision.get("layer_norm_eps", family.epsilon)
    said = preprocessing or {}
    normalisation = Normalisation.of(said.get("image_mean"), said.get("image_std"))
    return architecture, arguments, normalisation, side_of(vision.get("image_size"))


def _common(vision: Mapping[str, Any], patch: int) -> dict[str, Any]:
    activation = vision.get("hidden_act", "gelu")
    if activation not in _ACTIVATIONS:
        raise ModelError(f"The network's activation {activation!r} is not known.", _REFERENCE)
    return {
        "patch_size": vision.get("patch_size", patch),
        "embed_dim": vision["hidden_size"],
        "depth": vision["num_hidden_layers"],
        "num_heads": vision["num_attention_heads"],
        "act_layer": _ACTIVATIONS[activation],
    }


def _ratio(vision: Mapping[str, Any]) -> float:
    hidden = vision["hidden_size"]
    return float(vision.get("intermediate_size", 4 * hidden)) / float(hidden)


def _dinov2(vision: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = {**_common(vision, 14), "init_values": 1.0, "qkv_bias": vision.get("qkv_bias", True)}
    hidden, ratio = vision["hidden_size"], float(vision.get("mlp_ratio", 4))
    registers = vision.get("num_register_tokens", 4) if vision["model_type"] == "dinov2_with_registers" else 0
    if registers:
        arguments |= {"reg_tokens": registers, "no_embed_class": True}
    if not vision.get("use_swiglu_ffn", False):
        return "vit_base_patch14_dinov2", {**arguments, "mlp_ratio": ratio}
    gated = (int(int(hidden * ratio) * 2 / 3) + 7) // 8 * 8  # as DINOv2 sizes it; timm counts both halves
    del arguments["act_layer"]
    return "vit_giant_patch14_dinov2", {**arguments, "mlp_ratio": (2 * gated + 0.5) / hidden}


def _dinov3(vision: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    gated = bool(vision.get("use_gated_mlp", False))
    usual = {"query_bias": True, "key_bias": False, "value_bias": True, "hidden_act": "silu" if gated else "gelu"}
    odd = sorted(name for name, value in usual.items() if vision.get(name, value) != value)
    if odd:
        raise ModelError(f"The network differs from the published DINOv3 networks in {', '.join(odd)}.", _REFERENCE)
    arguments = _common(vision, 16)
    del arguments["act_layer"]
    arguments |= {
        "init_values": 1.0,
        "global_pool": "token",
        "mlp_ratio": _ratio(vision),
        "num_reg_tokens": vision.get("num_register_tokens", 0),
        "rope_temperature": vision.get("rope_theta", 100.0),
    }
    if gated:
        return "vit_small_plus_patch16_dinov3_qkvb", {**arguments, "swiglu_align_to": 1}
    return "vit_base_patch16_dinov3_qkvb", arguments


def _vit(vision: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "vit_base_patch16_224", {
        **_common(vision, 16),
        "mlp_ratio": _ratio(vision),
        "qkv_bias": vision.get("qkv_bias", True),
    }


def _clip(vision: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    described = {"hidden_act": "quick_gelu", **vision}
    return "vit_base_patch16_clip_224", {**_common(described, 32), "mlp_ratio": _ratio(described)}


def _siglip(vision: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    described = {"hidden_act": "gelu_pytorch_tanh", **vision}
    return "vit_base_patch16_siglip_224", {**_common(described, 16), "mlp_ratio": _ratio(described)}


_FAMILIES = {
    "dinov2": _Family(_dinov2, 1e-6),
    "dinov2_with_registers": _Family(_dinov2, 1e-6),
    "dinov3_vit": _Family(_dinov3, 1e-5),
    "vit": _Family(_vit, 1e-12),
    "clip": _Family(_clip, 1e-5),
    "clip_vision_model": _Family(_clip, 1e-5),
    "siglip": _Family(_siglip, 1e-6),
    "siglip_vision_model": _Family(_siglip, 1e-6),
}

# From the names of transformers to timm's, one after the other. The first are those of whole models, whose image tower
# is taken; then come those of each family, old and new releases of the library together.
_NAMES = [
    (r"^(?:dinov2|dinov2_with_registers|dinov3_vit|vit|base_model|model)\.(?=embeddings|encoder|layer|norm)", ""),
    (r"^vision_model\.", ""),
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding(?:s|\.weight)$", "pos_embed"),
    (r"^embeddings\.(?:cls_token|class_embedding)$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^(?:encoder\.)?(?:layers?)\.(\d+)\.", r"blocks.\1."),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^(?:layernorm|post_layernorm)\.", "norm."),
    (r"\.(?:layernorm_before|layer_norm1)\.", ".norm1."),
    (r"\.(?:layernorm_after|layer_norm2)\.", ".norm2."),
    (r"\.(?:attention\.attention|attention|self_attn)\.(query|key|value)\.", r".attn.\1."),
    (r"\.(?:attention|self_attn)\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.(?:attention\.output\.dense|attention\.o_proj|attention\.out_proj|self_attn\.out_proj)\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
]
# Parts of whole models that make no feature: text towers, heads, what only training uses.
_LEFT_OUT = re.compile(
    r"^(text_model|text_projection|visual_projection|logit_|classifier|pooler|lm_head)|mask_token$|position_ids$"
    r"|^(vit\.)?pooler|rope_embeddings"
)
_QUERY = re.compile(r"^(blocks\.\d+\.attn)\.(?:query|q)\.(weight|bias)$")


def to_timm(tensors: Mapping[str, torch.Tensor], architecture: str) -> dict[str, torch.Tensor]:
    """Return tensors of transformers with timm's names and shapes."""
    named = {_timm_name(name): tensor for name, tensor in tensors.items() if not _LEFT_OUT.search(name)}
    if "dinov3" in architecture:
        return _joined_dinov3(named)
    return _with_registers(_shaped(_joined(named)))


def _timm_name(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _taken_out(named: dict[str, torch.Tensor]) -> list[tuple[str, str, list[torch.Tensor | None]]]:
    """Take query, key and value of each block out, and return them with the block's name and their kind."""
    blocks = [found.groups() for name in named if (found := _QUERY.match(name))]
    spellings = (("query", "q"), ("key", "k"), ("value", "v"))
    return [
        (
            block,
            kind,
            [
                next((named.pop(name) for each in both if (name := f"{block}.{each}.{kind}") in named), None)
                for both in spellings
            ],
        )
        for block, kind in blocks
    ]


def _joined(named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Join query, key and value of each block into one, and those of SigLIP's pooling as timm has them."""
    import torch  # noqa: PLC0415 - a description is read without it

    for attention, kind, parts in _taken_out(named):
        named[f"{attention}.qkv.{kind}"] = torch.cat([part for part in parts if part is not None])
    for name in [name for name in named if re.search(r"\.mlp\.gate_proj\.", name)]:
        up = named.pop(name.replace("gate_proj", "up_proj"))
        named[name.replace("gate_proj", "fc1")] = torch.cat([named.pop(name), up])
        named[name.replace("gate_proj", "fc2")] = named.pop(name.replace("gate_proj", "down_proj"))
    for kind in ("weight", "bias"):
        if f"head.attention.in_proj_{kind}" in named:
            query, key, value = named.pop(f"head.attention.in_proj_{kind}").chunk(3)
            named[f"attn_pool.q.{kind}"], named[f"attn_pool.kv.{kind}"] = query, torch.cat([key, value])
    return {re.sub(r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma", name): tensor for name, tensor in named.items()}


def _joined_dinov3(named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Join query, key and value as timm has them in DINOv3, where keys have no bias."""
    import torch  # noqa: PLC0415 - a description is read without it

    for attention, kind, (query, key, value) in _taken_out(named):
        assert query is not None
        assert value is not None
        if key is None:
            named[f"{attention}.q_bias"], named[f"{attention}.v_bias"] = query, value
        else:
            named[f"{attention}.qkv.{kind}"] = torch.cat([query, key, value])
    gated = any(".mlp.gate_proj." in name for name in named)
    linear = {"gate_proj": "fc1_g", "up_proj": "fc1_x" if gated else "fc1", "down_proj": "fc2"}
    renamed = {}
    for name, tensor in named.items():
        new = re.sub(r"\.layer_scale([12])\.lambda1$", r".gamma_\1", name)
        renamed[re.sub(r"\.mlp\.(\w+_proj)\.", lambda found: f".mlp.{linear[found[1]]}.", new)] = tensor
    return renamed


def _shaped(named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give class token and positions of CLIP and SigLIP the leading axes that timm's have."""
    leading = {"cls_token": 3, "pos_embed": 3, "attn_pool.latent": 3}
    for name, axes in leading.items():
        while name in named and named[name].ndim < axes:
            named[name] = named[name].unsqueeze(0)
    return named


def _with_registers(named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add to the class token the position that timm keeps apart where there are registers."""
    if "reg_token" in named:
        positions = named["pos_embed"]
        named["cls_token"] = named["cls_token"] + positions[:, :1]
        named["pos_embed"] = positions[:, 1:]
    return named
