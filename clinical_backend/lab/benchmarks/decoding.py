"""CPU time per image of decoding in child processes and in threads, side by side.

``clinical bench decoding``
"""

from __future__ import annotations

import io
import resource
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from clinical_backend.images.decoders.decoding import decode
from clinical_backend.images.decoders.process_pool import DecoderProcesses
from clinical_backend.learner.backbones.base import available_cpus
from clinical_backend.learner.backbones.preprocessing import to_square

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

_CASES = ((28, "PNG", 3000), (512, "JPEG", 300))
_SIZE = 128
_THREADS = 3
_DIFFERENT = 50
"""A thumbnail and a photograph, so many that a run takes seconds; at the default IMAGE_SIZE, with as many threads as an
embedder has. So many different ones that no cache holds a decoded one."""


def main() -> None:
    """Measure and print the table."""
    table = Table(title=f"CPU milliseconds per image, children with their parent; {available_cpus()} CPUs")
    for heading in ("image", "threads", "children", "difference"):
        table.add_column(heading, justify="right")
    for side, kind, count in _CASES:
        images = [_encoded(side, kind, seed) for seed in range(_DIFFERENT)]
        threads, children = _per_image(_in_threads, images, count), _per_image(_in_children, images, count)
        cells = (f"{value:.2f}" for value in (threads, children, children - threads))
        table.add_row(f"{side} × {side} {kind}", *cells)
    Console().print(table)


def _per_image(decode_all: Callable[[list[bytes]], None], images: list[bytes], count: int) -> float:
    """Return the milliseconds that one more image takes: what starting takes is measured apart, and left out."""
    before = _cpu_seconds()
    decode_all(images)
    started = _cpu_seconds()
    decode_all(images + images * (count // len(images)))
    return 1000 * (_cpu_seconds() - started - (started - before)) / count


def _in_threads(images: list[bytes]) -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        for _ in threads.map(lambda data: to_square(decode(data), _SIZE), images):
            pass


def _in_children(images: list[bytes]) -> None:
    pool = DecoderProcesses(partial(to_square, size=_SIZE))
    with ThreadPoolExecutor(_THREADS) as threads:
        for _ in threads.map(lambda data: to_square(pool.decode(data), _SIZE), images):
            pass
    pool.close()


def _cpu_seconds() -> float:
    """Return what this process took so far, and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _encoded(side: int, kind: str, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()
