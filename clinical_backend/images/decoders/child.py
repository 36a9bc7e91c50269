"""A child process that decodes images: ``python -m clinical_backend.images.decoders.child PIPE MEMORY``."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import struct
import sys
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.decoding import count_images, decode
from clinical_backend.images.decoders.levels import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL import Image

    Prepare: TypeAlias = Callable[[Image.Image], NDArray[np.uint8]]

__all__ = ["COUNT", "FRAME", "HEAD", "READ", "REFUSED", "serve"]

FRAME = struct.Struct(">iii")
"""What comes before each image: the number of the frame, -1 for the one that stands for all, or COUNT; and centre and
width of the window that is shown, the latter 0 for none."""

COUNT = -2
"""Asks how many images a file has: the reply names the number in place of the height, and holds no pixels."""

HEAD = struct.Struct(">BII")
"""What a reply begins with: whether the image was read, and its height and width."""

READ, REFUSED = 0, 1
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def serve(pipe: Connection, memory: int) -> None:
    """Decode until the pipe ends. This is the whole life of a child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to end
    prepare: Prepare | None = pipe.recv()  # comes from the parent; nothing is unpickled there
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what libraries print of a file may be a patient's
        os.dup2(silence, stream)
    with contextlib.suppress(ValueError, OSError):  # not every system can
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's image
    _keep_memory()
    pipe.send_bytes(b"")  # ready
    while True:
        try:
            frame, *window = FRAME.unpack(pipe.recv_bytes())
            data = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        if frame == COUNT:
            pipe.send_bytes(_counted(data))
        else:
            shown = Window(*window) if window[1] else None
            pipe.send_bytes(_reply(data, None if frame < 0 else frame, shown, prepare))


def _keep_memory() -> None:
    """Keep freed memory for the next image, where the C library can: fresh pages cost a fifth of the time."""
    with contextlib.suppress(AttributeError, OSError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_MMAP_THRESHOLD, 64 * 2**20)
        allocator.mallopt(_TRIM_THRESHOLD, 128 * 2**20)


def _counted(data: bytes) -> bytes:
    try:
        return HEAD.pack(READ, count_images(data), 0)
    except Exception:  # noqa: BLE001 - decoding says what is wrong
        return HEAD.pack(READ, 1, 0)


def _reply(data: bytes, frame: int | None, window: Window | None, prepare: Prepare | None) -> bytes:
    try:
        image = decode(data, frame=frame, window=window)
        pixels = np.asarray(image) if prepare is None else prepare(image)
    except ImageError as error:
        return _refusal(error)
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises costs one image
        return _refusal(
            ImageError(
                f"The image cannot be decoded ({type(error).__name__}).",
                "Open it in an image viewer and save it again as PNG.",
            )
        )
    return HEAD.pack(READ, *pixels.shape[:2]) + pixels.tobytes()


def _refusal(error: ImageError) -> bytes:
    return HEAD.pack(REFUSED, 0, 0) + json.dumps([error.problem, error.cure]).encode()


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
