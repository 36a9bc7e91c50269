"""A child process that embeds texts by the library that a network is of.

``python -m clinical_backend.learner.backbones.text_child LAYOUT FOLDER``, with the texts as JSON at its input. It
writes ``embeddings.npy`` into the folder, or what went wrong as JSON into ``problem.json``.

The libraries are large, and look for what they lack on the network: a process of its own, which is told to stay off it
(``text_tower.py``), gives their memory back and keeps what they do to a process away from rounds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

__all__ = ["main"]

_BATCH = 64
"""Texts that are read at once: their values between layers take 100 MB in the text tower of SigLIP's largest network
(64 tokens, 4304 values in its widest layer, float32, and some copies)."""


def main(layout: str, folder: Path, texts: Sequence[str]) -> None:
    """Embed texts with the text tower of a folder, and write what came of it there."""
    embed = _open_clip if layout == "open_clip" else _transformers
    try:
        np.save(folder / "embeddings.npy", embed(folder, texts))
    except Exception as error:  # noqa: BLE001 - libraries fail in many ways at folders that are not whole
        first = next(iter(str(error).splitlines()), "")
        (folder / "problem.json").write_text(json.dumps([type(error).__name__, first]))


def _transformers(folder: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return what CLIP or SigLIP of transformers makes of texts, shape (n, p)."""
    import torch  # noqa: PLC0415 - a child that cannot import it says so
    from transformers import AutoConfig, AutoTokenizer, CLIPTextModelWithProjection, SiglipTextModel  # noqa: PLC0415

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    is_siglip = config.model_type == "siglip"
    family = SiglipTextModel if is_siglip else CLIPTextModelWithProjection
    if not is_siglip:  # the whole model's holds for both towers, whatever the text tower's own description says
        config.text_config.projection_dim = config.projection_dim
    tower, read = family.from_pretrained(
        folder, config=config.text_config, local_files_only=True, dtype=torch.float32, output_loading_info=True
    )
    if read["missing_keys"]:  # the library puts random values in their place
        raise ValueError(f"{len(read['missing_keys'])} tensors are missing, as {min(read['missing_keys'])}")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    limit = tower.config.max_position_embeddings
    # SigLIP was trained with texts that are padded to the end, without a mask, and pools the last token.
    padding = "max_length" if is_siglip else True

    def embed(some: list[str]) -> torch.Tensor:
        tokens = tokenizer(some, padding=padding, truncation=True, max_length=limit, return_tensors="pt")
        mask = {} if is_siglip else {"attention_mask": tokens["attention_mask"]}
        output = tower(input_ids=tokens["input_ids"], **mask)
        embeddings: torch.Tensor = output.pooler_output if is_siglip else output.text_embeds
        return embeddings

    tower.eval()
    return _in_batches(embed, texts)


def _open_clip(folder: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return what a model of open_clip makes of texts, shape (n, p)."""
    import open_clip  # noqa: PLC0415

    _localise(folder)
    model = open_clip.create_model(f"local-dir:{folder}", device="cpu").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return _in_batches(lambda some: model.encode_text(tokenizer(some)), texts)


def _localise(folder: Path) -> None:
    """Let a text tower of another library's, such as BiomedCLIP's BERT, be built of what the folder holds.

    open_clip would read that network's description from the hub. The shapes of its tensors tell it all, but for the
    number of heads, which has been one for each 64 values in every BERT (Devlin et al., NAACL 2019, section 3).
    """
    from safetensors import safe_open  # noqa: PLC0415

    path = folder / "open_clip_config.json"
    config = json.loads(path.read_bytes())
    text = config["model_cfg"]["text_cfg"]
    if "hf_model_name" not in text:
        return
    tower = "text.transformer."
    with safe_open(next(folder.glob("*.safetensors")), framework="numpy") as file:
        shapes = {
            name.removeprefix(tower): file.get_slice(name).get_shape()
            for name in file.keys()  # noqa: SIM118 - no mapping
            if name.startswith(tower)
        }
    vocabulary, width = shapes["embeddings.word_embeddings.weight"]
    described: dict[str, Any] = {
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_attention_heads": max(1, width // 64),
        "num_hidden_layers": len([name for name in shapes if name.endswith("attention.self.query.weight")]),
        "intermediate_size": shapes["encoder.layer.0.intermediate.dense.weight"][0],
        "max_position_embeddings": shapes["embeddings.position_embeddings.weight"][0],
        "type_vocab_size": shapes["embeddings.token_type_embeddings.weight"][0],
    }
    beside = folder / "text"
    beside.mkdir()
    (beside / "config.json").write_text(json.dumps(described))
    text["hf_model_name"] = str(beside)
    path.unlink()  # a link to what is the user's
    path.write_text(json.dumps(config))


def _in_batches(embed: Callable[[list[str]], torch.Tensor], texts: Sequence[str]) -> NDArray[np.float32]:
    """Return what a text tower makes of texts, shape (n, p)."""
    import torch  # noqa: PLC0415

    batches = [list(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
    with torch.inference_mode():
        return np.concatenate([embed(one).float().cpu().numpy() for one in batches])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.load(sys.stdin))
