"""Texts in the space that they share with images, as the library that a network is of embeds them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones.joint_space import joint_space_of
from clinical_backend.learner.backbones.preprocessing import unit
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.learner.backbones.base import BackboneSpec

__all__ = ["TOKENIZER_FILES", "embed_texts", "require_text_tower"]

_LIBRARIES = {"transformers": ("transformers",), "open_clip": ("open_clip", "transformers")}
"""Modules that a layout's text tower needs; they come with ``clinical-backend[words]``."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
)
"""Files that tell how text becomes tokens, by their names on the hub; no network needs all of them."""

_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")

_SECONDS = 600.0
"""For loading a tower and a few texts, at most: one of 450 million parameters is read from a slow disk (20 MB a second)
in 90 seconds."""
_LOOK = 1.0
_SECRET = re.compile("KEY|TOKEN|PASS|SECRET|CREDENTIAL|AUTH|URL|PROXY|CONNECTION|DSN", re.IGNORECASE)
"""In the names of variables that hold one: ours, in whichever case, and those of hubs, stores and proxies."""


def embed_texts(spec: BackboneSpec, texts: Sequence[str], *, tokenizer: Path | None = None) -> NDArray[np.float32]:
    """Return texts in the joint space, each of unit length: shape (n, p), float32.

    Parameters
    ----------
    spec
        A backbone with two towers.
    tokenizer
        Folder with the tokenizer's files, where they do not stand beside the weights.

    Raises
    ------
    ModelError
        When it has no text tower, its library is not installed, or its files are not whole.
    """
    require_text_tower(spec)
    assert spec.weights is not None
    folder = spec.weights.parent
    with tempfile.TemporaryDirectory(prefix="clinical-words-") as name:
        own = Path(name)
        name_of_weights = "open_clip_model.safetensors" if spec.layout == "open_clip" else "model.safetensors"
        (own / name_of_weights).symlink_to(spec.weights.resolve())
        for source in (folder, *([tokenizer] if tokenizer else [])):
            for file in ("config.json", "open_clip_config.json", *TOKENIZER_FILES):
                if (source / file).is_file() and not (own / file).exists():
                    (own / file).symlink_to((source / file).resolve())
        _require_tokenizer(spec, own)
        each = list(dict.fromkeys(texts))
        _run(spec, own, each)
        rows = dict(zip(each, _read(spec, own, len(each)), strict=True))
    return np.stack([rows[text] for text in texts])


def require_text_tower(spec: BackboneSpec) -> None:
    """Make sure that a backbone can be asked by words, as far as that is known without loading its text tower.

    Raises
    ------
    ModelError
        When it has no text tower, or its library is not installed.
    """
    joint_space_of(spec)
    for module in _LIBRARIES[spec.layout]:
        if importlib.util.find_spec(module) is None:
            raise ModelError(
                f"Words need the package {module}, which is not installed.",
                "Run `pip install 'clinical-backend[words]'`, and start again.",
            )


def _require_tokenizer(spec: BackboneSpec, folder: Path) -> None:
    """Make sure that there is a vocabulary: where there is none, libraries make one up, and embed nonsense.

    Raises
    ------
    ModelError
        When there is none, or open_clip's description cannot be read.
    """
    if spec.layout == "open_clip":
        try:
            config = json.loads((folder / "open_clip_config.json").read_bytes())
            named = config["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(
                f"The text tower of {spec.architecture} is not described ({type(error).__name__}).",
                "Put its publisher's open_clip_config.json beside the weights.",
            ) from None
        if not named:
            return  # open_clip's own, which comes with it
    if not any((folder / name).exists() for name in _VOCABULARIES):
        raise ModelError(
            f"Nothing beside the weights of {spec.architecture} tells how its text tower reads text.",
            f"Put its publisher's {' or '.join(_VOCABULARIES)}, and tokenizer_config.json, beside them.",
        )


def _run(spec: BackboneSpec, folder: Path, texts: Sequence[str]) -> None:
    """Let a child embed texts with what a folder holds."""
    asked = folder / "texts.json"
    asked.write_text(json.dumps(list(texts)))
    with asked.open("rb") as given:
        child = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "clinical_backend.learner.backbones.text_child", spec.layout, str(folder)],
            stdin=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(folder),
        )
    end = time.monotonic() + _SECONDS
    try:
        while child.poll() is None and time.monotonic() < end:
            with suppress(subprocess.TimeoutExpired):
                child.wait(_LOOK)
            note_progress()
    finally:
        child.kill()
        child.wait()


def _environment(folder: Path) -> dict[str, str]:
    """Return what a child is told: no secret, to ask no network, to keep nothing, and where our own modules are."""
    kept = {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
    caches = dict.fromkeys(("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME"), str(folder / "cache"))
    quiet = dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"), "1")
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(folder)}
    return {**kept, **caches, **quiet, **paths, "TOKENIZERS_PARALLELISM": "false"}


def _read(spec: BackboneSpec, folder: Path, count: int) -> NDArray[np.float32]:
    """Read what a child made."""
    cure = (
        f"Check that the folder of the weights holds its tokenizer ({', '.join(TOKENIZER_FILES[:3])}, vocabulary) as"
        " its publisher has it, and that memory is left for the text tower."
    )
    try:
        kind, said = json.loads((folder / "problem.json").read_bytes())
    except FileNotFoundError:
        pass
    else:
        said = str(said)[:200].replace(str(folder), "the folder")
        raise ModelError(f"The text tower of {spec.architecture} cannot be used ({kind}: {said}).", cure)
    try:
        rows: NDArray[np.float32] = np.load(folder / "embeddings.npy", allow_pickle=False)
    except (OSError, ValueError):
        raise ModelError(f"The text tower of {spec.architecture} came to no end.", cure) from None
    if rows.ndim != 2 or len(rows) != count or not np.isfinite(rows).all():
        raise ModelError(f"The text tower of {spec.architecture} gives values that are no embeddings.", cure)
    return unit(rows)
