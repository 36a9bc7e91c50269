"""Networks as their publishers keep them, tiny and with weights that follow from their names.

``published.json`` holds for each kind what its files say, the shapes of its tensors, and the features that the
publisher's own library gives of ``images``. It is written by

    python -m tests.learner.backbones.published

where transformers and open_clip_torch are installed, which the tests themselves do not need.
"""

import json
import tempfile
import zlib
from pathlib import Path

import numpy as np
import safetensors.numpy
import safetensors.torch
import timm
import torch

CAPTURED = Path(__file__).with_name("published.json")
MEAN, STD = [0.53, 0.5, 0.47], [0.26, 0.25, 0.24]


def images(size):
    return np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8)


def normalised(pixels, mean=MEAN, std=STD):
    """Return what a library's own preprocessing makes of pixels of the right size."""
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return (scaled - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)


def weights_of(shapes):
    """Return tensors that look random and are the same everywhere."""
    return {name: _values(name, tuple(shape)) for name, shape in shapes.items()}


def _values(name, shape):
    places = np.arange(int(np.prod(shape)), dtype=np.float64) + zlib.crc32(name.encode()) % 9973
    share = np.modf(np.abs(np.sin(places) * 43758.5453))[0]
    is_scale = ("norm" in name or "layrnorm" in name or "ln_" in name) and name.endswith("weight")
    spread = 0.3 if is_scale or "lambda" in name or "gamma" in name else 0.5
    values = spread * (share - 0.5) + (1.0 if is_scale or "lambda" in name or "gamma" in name else 0.0)
    return values.reshape(shape).astype(np.float32)


def write_published(folder, kind):
    """Write a folder as a publisher has it, and return what was captured of it."""
    captured = json.loads(CAPTURED.read_text())[kind]
    for name, content in captured["files"].items():
        (folder / name).write_text(json.dumps(content))
    safetensors.numpy.save_file(weights_of(captured["shapes"]), folder / captured["weights"])
    return captured


def write_timm(folder, architecture, size, **arguments):
    """Write a folder as timm's hub has it, and return the network."""
    model = timm.create_model(architecture, num_classes=0, img_size=size, **arguments)
    tensors = {name: torch.from_numpy(values) for name, values in weights_of(_shapes(model.state_dict())).items()}
    model.load_state_dict(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    pretrained = {"mean": MEAN, "std": STD, "input_size": [3, size, size], "fixed_input_size": True, "num_classes": 0}
    config = {"architecture": architecture, "model_args": arguments, "pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(config))
    return model


def _shapes(tensors):
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


_SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
_SMALLER = {**_SMALL, "intermediate_size": 48, "image_size": 64, "patch_size": 16}
_TEXT = {**_SMALL, "intermediate_size": 48, "vocab_size": 9, "max_position_embeddings": 8}
_TEXT |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def _capture():
    import transformers as published  # noqa: PLC0415

    def token(output):
        return output.last_hidden_state[:, 0]

    def pooled(output):
        return output.pooler_output

    dinov2 = {**_SMALL, "image_size": 56, "patch_size": 14}
    dinov3 = {**_SMALLER, "num_register_tokens": 4}
    both = {"vision_config": _SMALLER, "text_config": _TEXT}
    gated = {"use_gated_mlp": True, "hidden_act": "silu"}
    kinds = {
        "dinov2": (published.Dinov2Model(published.Dinov2Config(**dinov2)), pooled),
        "dinov2 gated": (published.Dinov2Model(published.Dinov2Config(**dinov2, use_swiglu_ffn=True)), pooled),
        "dinov2_with_registers": (
            published.Dinov2WithRegistersModel(published.Dinov2WithRegistersConfig(**dinov2, num_register_tokens=3)),
            pooled,
        ),
        "dinov3_vit": (published.DINOv3ViTModel(published.DINOv3ViTConfig(**dinov3)), pooled),
        "dinov3_vit gated": (published.DINOv3ViTModel(published.DINOv3ViTConfig(**dinov3, **gated)), pooled),
        "vit": (published.ViTForImageClassification(published.ViTConfig(**_SMALLER)), token),
        "clip": (published.CLIPModel(published.CLIPConfig(**both)), pooled),
        "siglip": (published.SiglipModel(published.SiglipConfig(**both)), pooled),
    }
    captured = {kind: _of_transformers(model, pool) for kind, (model, pool) in kinds.items()}
    text = {"context_length": 8, "vocab_size": 9, "width": 16, "heads": 2, "layers": 1}
    plain = {"layers": 2, "width": 24, "head_width": 12, "patch_size": 16, "image_size": 64}
    trunk = {"timm_model_name": "test_vit", "image_size": 160}
    towers: dict[str, dict[str, object]] = {
        "plain": {"vision_cfg": plain},
        "quick": {"vision_cfg": plain, "quick_gelu": True},
        "trunk": {"vision_cfg": {**trunk, "timm_pool": ""}},
        "trunk averaged": {"vision_cfg": trunk},
    }
    for kind, config in towers.items():
        captured[f"open_clip {kind}"] = _of_open_clip({"embed_dim": 16, "text_cfg": text, **config})
    lines = (f"{json.dumps(kind)}: {json.dumps(content)}" for kind, content in captured.items())
    CAPTURED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _of_transformers(model, pool):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder)
        shapes = _shapes(safetensors.torch.load_file(folder / "model.safetensors"))
        tensors = {name: torch.from_numpy(values) for name, values in weights_of(shapes).items()}
        safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        model = type(model).from_pretrained(folder).eval()
        config = json.loads((folder / "config.json").read_text())
    preprocessing = {"image_mean": MEAN, "image_std": STD}
    files = {"config.json": config, "preprocessor_config.json": preprocessing}
    size = config.get("vision_config", config)["image_size"]
    tower = next((getattr(model, name) for name in ("vision_model", "vit") if hasattr(model, name)), model)
    with torch.inference_mode():
        features = pool(tower(normalised(images(size))))
    return _captured(files, "model.safetensors", shapes, size, features)


def _of_open_clip(config):
    import open_clip  # noqa: PLC0415

    model = open_clip.CLIP(**json.loads(json.dumps(config))).eval()
    shapes = _shapes(model.state_dict())
    model.load_state_dict({name: torch.from_numpy(values) for name, values in weights_of(shapes).items()})
    model.visual.proj, model.visual.head = None, torch.nn.Identity()
    size = config["vision_cfg"]["image_size"]
    with torch.inference_mode():
        features = model.visual(normalised(images(size)))
    files = {"open_clip_config.json": {"model_cfg": config, "preprocess_cfg": {"mean": MEAN, "std": STD}}}
    return _captured(files, "open_clip_model.safetensors", shapes, size, features)


def _captured(files, weights, shapes, size, features):
    rows = [[float(f"{value:.7g}") for value in row] for row in features.tolist()]
    return {"files": files, "weights": weights, "shapes": shapes, "size": size, "features": rows}


if __name__ == "__main__":
    _capture()
