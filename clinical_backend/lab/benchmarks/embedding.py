"""Images per second through the default backbone: engines side by side, by input size and batch.

``python -m clinical_backend.lab.benchmarks.embedding``
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from clinical_backend.images.decoders.decoding import decode
from clinical_backend.learner.backbones.base import DEFAULT_BACKBONE, BackboneSpec, available_cpus
from clinical_backend.learner.backbones.embedder import Embedder
from clinical_backend.learner.backbones.loading import load_backbone, parse_backbone
from clinical_backend.learner.classifier.linear import fit, out_of_fold_probabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Run = Callable[[NDArray[np.uint8]], object]

__all__ = ["main"]

_SIZES = (64, 128, 224)
_BATCHES = (1, 32, 64)
_FITS = ((100, 8), (300, 8), (1000, 2), (1000, 8), (5000, 8))
"""Sizes and batches around the defaults, 128 pixels and 32; labels and classes of small and large projects."""


def main(arguments: Sequence[str] = ()) -> None:
    """Measure and print the tables.

    Parameters
    ----------
    arguments
        Of the command line; see ``--help``.
    """
    parser = argparse.ArgumentParser(description="Images per second through the default backbone.")
    parser.add_argument("--sizes", type=int, nargs="+", default=_SIZES, help="input sizes in pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=_BATCHES, help="images in a batch")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each figure")
    parser.add_argument("--folder", type=Path, help="folder to keep exported backbones in")
    options = parser.parse_args(list(arguments))
    console = Console()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        console.print(_network_table(folder, options.sizes, options.batches, options.seconds))
        console.print(_pipeline_table(folder, options.sizes, options.seconds))
    console.print(_fit_table())


def _network_table(folder: Path, sizes: Sequence[int], batches: Sequence[int], seconds: float) -> Table:
    """Return images per second in the network alone, the engines taking turns at each batch."""
    table = Table(title=f"{DEFAULT_BACKBONE}: images per second in the network ({available_cpus()} CPUs)")
    table.add_column("pixels", justify="right")
    table.add_column("batch", justify="right")
    for size in sizes:
        spec = parse_backbone(DEFAULT_BACKBONE, image_size=size, folder=folder)
        runs = _engines(spec, folder)
        if len(table.columns) == 2:
            for name in runs:
                table.add_column(name, justify="right")
        for count in batches:
            batch = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
            rates = _rates(list(runs.values()), batch, seconds)
            table.add_row(str(size), str(count), *(f"{rate:.0f}" for rate in rates))
    return table


def _engines(spec: BackboneSpec, folder: Path) -> dict[str, Run]:
    import torch  # noqa: PLC0415 (slow to import)

    from clinical_backend.learner.backbones.networks import build_network  # noqa: PLC0415

    network, _ = build_network(spec)
    example = torch.zeros((1, spec.image_size, spec.image_size, 3), dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch is giving TorchScript up; here it is a rival
        traced = torch.jit.trace(network, example)  # type: ignore[no-untyped-call]
        frozen = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
    channels_last, _ = build_network(spec)
    channels_last = channels_last.to(memory_format=torch.channels_last)
    exported = load_backbone(folder=folder, image_size=spec.image_size, device="cpu")
    runs: dict[str, Run] = {
        "torch eager": _torch_run(network),
        "torch channels last": _torch_run(channels_last),
        "torch frozen": _torch_run(frozen),
        "ONNX Runtime": exported.embed,
    }
    if torch.cuda.is_available():
        runs["torch CUDA"] = load_backbone(folder=folder, image_size=spec.image_size, device="cuda").embed
    return runs


def _torch_run(network: Callable[..., object]) -> Run:
    import torch  # noqa: PLC0415

    def run(batch: NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(batch))

    return run


def _rates(runs: Sequence[Run], batch: NDArray[np.uint8], seconds: float) -> list[float]:
    """Return images per second by the median; the runs take turns, so that all meet the same load."""
    for run in runs:
        run(batch)
        run(batch)
    times: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end or len(times[0]) < 3:
        for run, taken in zip(runs, times, strict=True):
            start = time.perf_counter()
            run(batch)
            taken.append(time.perf_counter() - start)
    return [len(batch) / statistics.median(taken) for taken in times]


def _pipeline_table(folder: Path, sizes: Sequence[int], seconds: float) -> Table:
    """Return images per second from encoded bytes to features."""
    table = Table(title=f"{DEFAULT_BACKBONE}: images per second from encoded bytes to features")
    table.add_column("image")
    for size in sizes:
        table.add_column(f"at {size} pixels", justify="right")
    random = np.random.default_rng(0)
    for name, side, kind in (
        ("28 × 28 PNG", 28, "PNG"),
        ("512 × 512 JPEG", 512, "JPEG"),
        ("2048 × 2048 JPEG", 2048, "JPEG"),
    ):
        noise = Image.fromarray(random.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8))
        file = io.BytesIO()
        noise.resize((side, side), Image.Resampling.BICUBIC).save(file, kind)
        rates = []
        for size in sizes:
            embedder = Embedder(load_backbone(folder=folder, image_size=size, device="cpu"), decode)
            count, start = 0, time.perf_counter()
            for _ in embedder.embed(file.getvalue() for _ in range(1_000_000)):
                count += 1
                if count >= 64 and time.perf_counter() - start > seconds:
                    break
            rates.append(count / (time.perf_counter() - start))
        table.add_row(name, *(f"{rate:.0f}" for rate in rates))
    return table


def _fit_table() -> Table:
    """Return seconds to fit a classifier on 1280 features."""
    table = Table(title="Classifier on 1280 features: seconds")
    for name in ("labels", "classes", "fit", "5-fold probabilities"):
        table.add_column(name, justify="right")
    random = np.random.default_rng(0)
    fit(random.normal(size=(8, 4)), np.arange(8) % 2, ("a", "b"))  # imports scikit-learn
    for count, classes in _FITS:
        labels = random.integers(0, classes, count)
        latent = random.normal(size=(count, 60)) + random.normal(size=(classes, 60))[labels]
        features = np.maximum(latent @ random.normal(size=(60, 1280)), 0.0).astype(np.float32)
        names = [str(index) for index in range(classes)]
        start = time.perf_counter()
        fit(features, labels, names)
        fitted = time.perf_counter()
        out_of_fold_probabilities(features, labels, names)
        done = time.perf_counter()
        table.add_row(str(count), str(classes), f"{fitted - start:.2f}", f"{done - fitted:.2f}")
    return table


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
