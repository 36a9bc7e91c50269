"""Small versions of a project's images for its pages, made when one is looked at."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from contextlib import contextmanager
from enum import IntEnum
from functools import cached_property, partial
from html import escape
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.decoding import may_be_deep
from clinical_backend.images.decoders.process_pool import DecoderProcesses
from clinical_backend.images.sources import ImageSource
from clinical_backend.system.permissions import file_mode, make_folder
from clinical_backend.workspace.components import open_source
from clinical_backend.workspace.known_images import may_try

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from clinical_backend.images.decoders.levels import Window
    from clinical_backend.storage.stores.images import KnownImage
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["Previews", "Size", "placeholder", "within"]

logger = logging.getLogger(__name__)

_QUALITY = 82  # by eye, near Pillow's default of 80; not measured
_DIGEST_BYTES = 32  # before each preview: a changed byte of a WebP shows another image
_CACHE_BYTES = 256 * 2**20  # of the order of 10,000 previews; not measured
_WRITES_BETWEEN_LOOKS = 200  # a look lists the folder; in between it grows by some MB
_FAILURE_SECONDS = 60.0  # a page that is loaded again asks no host again for what just failed
_FAILURES_KEPT = 1000  # some 100 kB at most, one message each
_IMAGE_SECONDS = 20.0  # a person waits: a sixth of what a round gives an image


class Size(IntEnum):
    """Pixels of the longer side, at most."""

    SMALL = 256
    """By eye: a case and its nearest exemplar stand side by side."""
    LARGE = 1024
    """For reading: a screen shows hardly more beside the buttons."""
    WHOLE = 4096
    """To look into: a mammogram has 4,096 × 3,328 pixels."""


def within(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Return the whole image, its longer side at most ``side`` pixels: shape (height, width, 3), uint8."""
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(image)


class Previews:
    """Fetches, decodes and keeps small versions of images, under the same guards as rounds.

    The latest ones are kept under MODEL_DIR, within 256 MiB; safe to call from several threads.

    Parameters
    ----------
    workspace
        Where images come from.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._decoders = {
            size: DecoderProcesses(partial(within, side=int(size)), processes=1, seconds=_IMAGE_SECONDS)
            for size in Size
        }
        self._folder = workspace.settings.model_dir / "previews"
        self._failures: dict[str, tuple[float, ImageError]] = {}
        self._writes = 0

    def close(self) -> None:
        """End the decoders."""
        for decoders in self._decoders.values():
            decoders.close()

    def read(self, image: KnownImage, size: Size = Size.SMALL) -> bytes:
        """Return a preview of a task's image as WebP.

        Raises
        ------
        ImageError
            When it cannot be had. One that failed is not tried again within a minute.
        """
        key = _key(image, size)
        with self._once(image, key):
            kept = self._kept(key)
            if kept is not None:
                return kept
            pixels = self._decoders[size].decode(self.source.fetch(image.uri, image.task_id))
        encoded = _encoded(pixels)
        self._keep(key, encoded)
        return encoded

    def windowed(self, image: KnownImage, window: Window, size: Size) -> bytes | None:
        """Return what a window shows of an image as WebP; ``None`` where the file holds 8 bits, as the preview does.

        It is not kept: there are as many of an image as somebody tries.

        Raises
        ------
        ImageError
            When it cannot be had. One that failed is not tried again within a minute.
        """
        with self._once(image, _key(image, size)):
            data = self.source.fetch(image.uri, image.task_id)
            return _encoded(self._decoders[size].decode(data, window=window)) if may_be_deep(data) else None

    @cached_property
    def source(self) -> ImageSource:
        """Images by address; less patient than that of rounds: a person waits."""
        return open_source(self._workspace.settings, self._workspace.client, _IMAGE_SECONDS)

    @contextmanager
    def _once(self, image: KnownImage, key: str) -> Iterator[None]:
        """Refuse what a round could not read or what just failed here, and remember what fails now."""
        if image.problem is not None and not may_try(image, time.time()):
            raise ImageError(image.problem, "")
        failed = self._failures.get(key)
        if failed is not None and time.monotonic() - failed[0] < _FAILURE_SECONDS:
            raise failed[1]
        try:
            yield
        except ImageError as error:
            if len(self._failures) >= _FAILURES_KEPT:
                self._failures.clear()
            self._failures[key] = time.monotonic(), error
            raise

    def _kept(self, key: str) -> bytes | None:
        path = self._folder / f"{key}.webp"
        try:
            kept = path.read_bytes()
            os.utime(path)
        except OSError:  # not there, or another process just made room
            return None
        digest, content = kept[:_DIGEST_BYTES], kept[_DIGEST_BYTES:]
        return content if hashlib.sha256(content).digest() == digest else None  # else it is made anew

    def _keep(self, key: str, content: bytes) -> None:
        try:
            make_folder(self._folder)
            with NamedTemporaryFile(dir=self._folder, delete=False) as file:
                file.write(hashlib.sha256(content).digest() + content)
            Path(file.name).chmod(file_mode(self._folder))
            Path(file.name).replace(self._folder / f"{key}.webp")
        except OSError as error:
            logger.warning("A preview is not kept: %s. Free some space, or make MODEL_DIR writable.", error.strerror)
            return
        if self._writes % _WRITES_BETWEEN_LOOKS == 0:
            make_room(self._folder, _CACHE_BYTES)
        self._writes += 1


def _key(image: KnownImage, size: Size) -> str:
    content = image.digest or f"{image.task_id} {image.uri}"
    return hashlib.sha256(f"{int(size)} {content}".encode()).hexdigest()


def _encoded(pixels: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=_QUALITY)
    return stream.getvalue()


def make_room(folder: Path, most: int) -> None:
    """Delete the files that were looked at longest ago until the rest has at most so many bytes."""
    files = []
    for path in folder.iterdir():
        try:
            state = path.stat()
        except FileNotFoundError:  # another process makes room as well
            continue
        files.append((state.st_mtime, state.st_size, path))
    together = 0
    for _, size, path in sorted(files, reverse=True):
        together += size
        if together > most:
            path.unlink(missing_ok=True)


def placeholder(reason: str) -> str:
    """Return an SVG that stands for an image that cannot be shown, with the reason in it."""
    lines, side = wrap(reason, 34)[:7], int(Size.SMALL)
    text = "".join(f'<tspan x="16" dy="22">{escape(line)}</tspan>' for line in lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" width="{side}" height="{side}">'
        f'<rect width="{side}" height="{side}" fill="#26232a"/>'
        '<text x="16" y="40" font-family="system-ui, sans-serif" font-size="15" font-weight="600" fill="#fff">'
        'No image</text><text y="46" font-family="system-ui, sans-serif" font-size="12.5" fill="#d5d0da">'
        f"{text}</text></svg>"
    )
