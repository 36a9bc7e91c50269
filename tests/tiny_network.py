"""A tiny network of timm's, whose weights are the same in every run."""

from pathlib import Path

import safetensors.torch
import timm
import torch

TINY = "test_efficientnet"


def save_tiny_weights(path: Path) -> None:
    """Write its weights, classifier included, as timm's own files have them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = timm.create_model(TINY)
    safetensors.torch.save_file(network.state_dict(), path)
