"""Networks that a name says to download: once, into a folder of ours, with checksums. Importing this imports torch."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import safetensors.torch
from huggingface_hub import hf_hub_download, list_repo_files
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from clinical_backend.errors import ModelError
from clinical_backend.learner.artifact import file_sha256
from clinical_backend.learner.backbones.folders import DESCRIPTIONS, conversion_needed, whole_network
from clinical_backend.learner.backbones.networks import create_body
from clinical_backend.system.files import write_aside
from clinical_backend.system.permissions import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["download_folder", "download_tokenizer", "download_weights"]

logger = logging.getLogger(__name__)

_FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError)
"""Of a hub that cannot be reached, refuses or answers nonsense, and of a disk; the hub's own errors are among them."""


def download_weights(architecture: str, path: Path) -> None:
    """Let timm download the default weights of an architecture, and keep them as a safetensors file.

    Raises
    ------
    ModelError
        When timm does not know the architecture or cannot download it.
    """
    make_folder(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:  # else it stays below the home folder
        body = create_body(architecture, pretrained=True, cache_dir=cache)
    aside = path.with_suffix(f".{os.getpid()}.part")
    safetensors.torch.save_file(body.state_dict(), aside)
    aside.replace(path)


def download_folder(repository: str, folder: Path) -> None:
    """Download the network of a repository of the Hugging Face hub: its descriptions, and its weights as safetensors.

    Parameters
    ----------
    repository
        As ``ORGANISATION/NAME``, with ``@REVISION`` where it is not the newest.
    folder
        Where it is kept. It is there once it is whole.

    Raises
    ------
    ModelError
        When the hub cannot be reached or refuses, or the repository holds no safetensors.
    """
    name, _, revision = repository.partition("@")
    make_folder(folder.parent)
    try:
        files = list_repo_files(name, revision=revision or None)
        wanted = [each for each in DESCRIPTIONS if each in files] + [_weights(name, files)]
        _download(name, revision, wanted, folder, finish=_note)
    except GatedRepoError:
        raise ModelError(
            f"The repository {name} is gated: its owner asks everyone to accept terms.",
            f"Accept them on https://huggingface.co/{name}, set HF_TOKEN to a token of that account, and start again.",
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise ModelError(
            f"The hub knows no repository {repository!r}, or shows it to its members only.",
            "Check the name; for a private one, set HF_TOKEN to a token of a member.",
        ) from None
    except _FAILURES as error:
        raise ModelError(
            f"The repository {repository!r} cannot be downloaded ({type(error).__name__}).",
            "If this machine has no network, copy the repository's config.json and model.safetensors into a folder "
            "here, and set BACKBONE to its path.",
        ) from None


def download_tokenizer(repository: str, folder: Path, names: Sequence[str]) -> None:
    """Download those of some files that tell how a repository's network reads text.

    Parameters
    ----------
    repository
        As for ``download_folder``.
    folder
        Where they are kept. It is there once it is whole.

    Raises
    ------
    ModelError
        When the hub cannot be reached or refuses.
    """
    name, _, revision = repository.partition("@")
    make_folder(folder.parent)
    try:
        files = list_repo_files(name, revision=revision or None)
        _download(name, revision, [each for each in names if each in files], folder)
    except _FAILURES as error:
        raise ModelError(
            f"How {repository!r} reads text cannot be downloaded ({type(error).__name__}).",
            "If this machine has no network, copy the repository into a folder here, and set BACKBONE to its path.",
        ) from None


def _download(
    name: str,
    revision: str,
    wanted: Iterable[str],
    folder: Path,
    finish: Callable[[Path], None] = lambda _whole: None,
) -> None:
    """Download files of a repository into a folder, which takes its place once it is whole, and finished."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
        whole = Path(cache) / "whole"
        whole.mkdir()
        for each in wanted:
            got = hf_hub_download(name, each, revision=revision or None, cache_dir=cache)
            Path(got).resolve().replace(whole / each)
        finish(whole)
        whole.replace(folder)


def _weights(name: str, files: list[str]) -> str:
    found = [each for each in files if each.endswith(".safetensors") and "/" not in each]
    whole = whole_network(found, files)
    if whole is not None:
        return whole
    if found:
        raise ModelError(
            f"The repository {name} holds its weights in {len(found)} files.", "Choose one that has them in one file."
        )
    unsafe = [each for each in files if each.endswith((".bin", ".pth", ".pt"))]
    raise conversion_needed(f"The repository {name}", unsafe[0] if unsafe else "another format")


def _note(folder: Path) -> None:
    digests = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    write_aside(folder / "sha256.json", json.dumps(digests, indent=2).encode())
